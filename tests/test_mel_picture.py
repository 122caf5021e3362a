"""The picture of a mel: loud is bright, pitch goes upwards, time to the right, whatever the length."""

from __future__ import annotations

import math

import pytest
import torch

from uniavgen_core.audio.mel import log_mel
from uniavgen_core.audio.picture import BOTTOM, LEFT, RIGHT, TOP, WIDEST, WORDS, mel_picture
from uniavgen_core.audio.places import Place, rough_places
from uniavgen_core.text.speech import spoken_words


def brightness(picture):
    return picture[TOP:-BOTTOM, LEFT:-RIGHT].astype(float).sum(axis=-1)


def test_a_tone_is_a_bright_line_where_its_pitch_is() -> None:
    moments = torch.arange(24_000) / 24_000
    rows = []
    for hertz in (500.0, 2000.0, 8000.0):
        mel = log_mel(0.9 * torch.sin(2 * math.pi * hertz * moments)[None])
        rows.append(int(brightness(mel_picture(mel[0])).sum(axis=1).argmax()))
    assert rows[0] > rows[1] > rows[2]
    # Slaney's scale: 500 Hz is 7.5 of 45.2, 2000 Hz 25.1
    assert rows[0] == pytest.approx(320 * (1 - 7.5 / 45.2), abs=8)
    assert rows[1] == pytest.approx(320 * (1 - 25.1 / 45.2), abs=8)


def test_silence_is_dark_and_sound_after_it_is_to_the_right() -> None:
    mel = torch.full((80, 100), math.log(1e-5))
    mel[:, 50:] = 0.0
    shades = brightness(mel_picture(mel))
    half = shades.shape[1] // 2
    assert shades[:, :half].max() < shades[:, half:].min()


@pytest.mark.parametrize("tokens", [1, 506, 30_000])
def test_any_length(tokens: int) -> None:
    picture = mel_picture(torch.zeros(80, tokens))
    assert picture.shape[0] == TOP + 320 + BOTTOM
    assert picture.shape[1] <= LEFT + WIDEST + RIGHT


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        mel_picture(torch.zeros(80, 0))


def two_sounds() -> torch.Tensor:
    """Silence, sound for 40 tokens, silence, sound for 40 tokens, silence."""
    mel = torch.full((80, 200), math.log(1e-5))
    mel[:, 20:60] = mel[:, 120:160] = 0.0
    return mel


def test_words_lie_where_there_is_sound() -> None:
    """Each for as long as it has letters, in their order, none in the silence."""
    places = rough_places(["banana", "six", "garden", "one"], two_sounds())
    assert [place.text for place in places] == ["banana", "six", "garden", "one"]
    assert [(place.start, place.end) for place in places[:1] + places[3:]] == [(20, 47), (147, 160)]
    assert places[1].end <= 60 and places[2].start >= 120


def test_more_words_than_moments_and_none_at_all() -> None:
    mel = two_sounds()[:, :22]
    assert [place.start for place in rough_places(list("abcdef"), mel)] == [20, 20, 21, 21, 21, 21]
    assert rough_places(["a"], torch.full((80, 50), math.log(1e-5))) == []
    assert rough_places([], two_sounds()) == []


def test_words_are_written_above_the_mel() -> None:
    mel = two_sounds()
    plain, written = mel_picture(mel), mel_picture(mel, [Place("banana", 20, 60), Place("six", 120, 160)])
    assert written.shape == (plain.shape[0] + WORDS, *plain.shape[1:])
    line = written[:WORDS].astype(int).sum(axis=-1) > 300  # ink
    starts = [LEFT + round(token * (plain.shape[1] - LEFT - RIGHT) / 200) for token in (20, 120)]
    assert not line[:, : starts[0] - 2].any()
    assert all(line[:, start : start + 12].any() for start in starts)


def test_a_word_that_would_cover_another_is_left_out() -> None:
    mel = two_sounds()
    apart, close = [Place("banana", 20, 60)], [Place("banana", 20, 60), Place("banana", 22, 60)]
    first, second = (mel_picture(mel, words)[:WORDS] for words in (apart, close))
    assert (first == second).all()


def test_words_as_they_are_spoken() -> None:
    assert spoken_words("Hello, doctor -- 2 coffees!\n---\nBye.") == ["Hello,", "doctor", "2", "coffees!", "Bye."]
    assert spoken_words("  ") == []
    pytest.importorskip("pypinyin")
    assert spoken_words("你好 Tom") == ["ni2", "hao3", "Tom"]
