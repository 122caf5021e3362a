"""Long clips: time runs on over the seams, for pictures and for sound, and the speech is divided sensibly."""

from __future__ import annotations

import pytest
import torch
from clock import go_on
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from uniavgen_core.geometry import ClipLength
from uniavgen_core.text.script import check_fits, divide, last_words, seconds_of
from uniavgen_core.types import AVLatent
from uniavgen_core.windows import continued, cut, first_frame, last_latents, paste, plan_windows, texts


class ClockVae:
    """A latent holds the number of its last frame; decoding counts back to its first."""

    def encode(self, pixels: Tensor) -> Tensor:
        return pixels[:, :1, ::4]

    def decode(self, latents: Tensor) -> Tensor:
        first, rest = latents[:, :, :1], latents[:, :, 1:]
        counted = rest.repeat_interleave(4, dim=2) + torch.tensor([-3.0, -2, -1, 0]).repeat(rest.shape[2]).view(
            -1, 1, 1
        )
        return torch.cat((first, counted), dim=2)


def run(whole: AVLatent, windows) -> AVLatent:
    vae = ClockVae()
    for window in windows:
        part = cut(whole, window, first_frame(vae, whole, window))
        whole = paste(whole, window, go_on(part).with_clean_from(part))
    return whole


def blank(length: ClipLength, **clean: int) -> AVLatent:
    return AVLatent(torch.full((1, 1, length.latents, 2, 2), -7.0), torch.full((1, 2, length.tokens), -7.0), **clean)


@given(st.integers(1, 120), st.integers(2, 21), st.integers(1, 20))
def test_time_runs_on_without_a_jump(latents: int, window: int, overlap: int) -> None:
    length = ClipLength.from_latents(latents)
    windows = plan_windows(length, ClipLength.from_latents(window).frames, min(overlap, window - 1))
    whole = run(blank(length), windows)
    frames = ClockVae().decode(whole.video)[0, 0, :, 0, 0]
    assert frames.tolist() == list(range(length.frames))
    assert whole.audio[0, 0].tolist() == list(range(length.tokens))


@given(st.integers(22, 100))
def test_what_is_given_for_the_whole_clip_is_given_to_every_window(latents: int) -> None:
    length = ClipLength.from_latents(latents)
    whole = blank(length, clean_video=latents)
    whole.video[:] = (torch.arange(latents) * 4.0).view(1, 1, -1, 1, 1)
    for window in plan_windows(length):
        part = cut(whole, window, first_frame(ClockVae(), whole, window))
        assert part.clean_video == window.latents
        assert part.clean_audio == window.overlap_tokens
        assert ClockVae().decode(part.video)[0, 0, 0, 0, 0] == 4 * window.start


def test_windows_of_the_trained_length() -> None:
    windows = plan_windows(ClipLength(241))  # 61 latents
    assert [(w.start, w.latents, w.overlap) for w in windows] == [(0, 21, 0), (15, 21, 6), (30, 21, 6), (40, 21, 11)]
    assert [w.overlap_tokens for w in windows] == [0, 131, 131, 256]
    assert windows[1].tokens == slice(375, 881)
    assert plan_windows(ClipLength(33)) == [type(windows[0])(0, 9, 0)]


@pytest.mark.parametrize("overlap", [0, 21, -1])
def test_an_overlap_that_cannot_be(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap by 1 to 20 latents"):
        plan_windows(ClipLength(161), overlap=overlap)


def test_speech_is_cut_at_sentences_then_pauses_then_words() -> None:
    assert divide("One two three. Four five six seven.", [1, 1]) == ["One two three.", "Four five six seven."]
    assert divide("Here it goes on and on, with a pause in it", [1, 1]) == [
        "Here it goes on and on,",
        "with a pause in it",
    ]
    assert divide("alpha beta gamma delta", [1, 1]) == ["alpha beta", "gamma delta"]
    assert divide("今天天气真好。我们去公园散步吧。", [1, 1]) == ["今天天气真好。", "我们去公园散步吧。"]
    assert divide("One. Two. Three. Four.", [3, 1]) == ["One. Two. Three.", "Four."]
    assert divide("Short.", [1, 1, 1]).count("Short.") == 1


@given(st.text(max_size=200), st.lists(st.floats(0.1, 10), min_size=1, max_size=6))
def test_dividing_loses_nothing(text: str, shares: list[float]) -> None:
    text = text.replace("-", "")
    parts = divide(text, shares)
    assert len(parts) == len(shares)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_lines_of_dashes_say_where() -> None:
    assert divide("a. b.\n---\nc", [1, 1]) == ["a. b.", "c"]
    assert divide("a.\n---\nb.", [1]) == ["a. b."]
    with pytest.raises(ValueError, match="2 parts between lines of dashes, the clip has 3 windows"):
        divide("a\n---\nb", [1, 1, 1])


def test_a_window_hears_the_words_it_repeats() -> None:
    windows = plan_windows(ClipLength(141))  # 21 and 15 new latents, 6 repeated
    first, second = texts("one two three four five six seven. eight nine ten eleven twelve.", windows)
    assert first == "one two three four five six seven."
    assert second == "six seven. eight nine ten eleven twelve."
    assert last_words("one two three four", 0.5) == "three four"


def test_a_long_overlap_repeats_words_of_several_windows() -> None:
    """One word a latent: a window hears all words of the latents it repeats, and then its own."""
    words = [f"w{i:02}" for i in range(37)]
    windows = plan_windows(ClipLength(145))
    assert [(window.start, window.overlap) for window in windows] == [(0, 0), (15, 6), (16, 20)]
    for window, said in zip(windows, texts(" ".join(words), windows), strict=True):
        assert said.split() == words[window.start : window.end]


def test_speech_that_is_far_too_long_says_how_long_it_takes() -> None:
    assert seconds_of("x" * 150) == 10
    assert seconds_of("12" * 15) == 8
    check_fits("x" * 150, 5.1)
    with pytest.raises(ValueError, match=r"takes about 20 s to say and the clip lasts 5.1 s: .* ask for 321 frames"):
        check_fits("x" * 300, 5.0625)


@pytest.mark.parametrize("latents", [1, 3, 8])
def test_the_end_of_a_clip_is_the_beginning_of_the_next(latents: int) -> None:
    length = ClipLength.from_latents(8)
    whole = run(blank(length), plan_windows(length))
    video, audio = last_latents(ClockVae(), whole, latents)
    frames = ClockVae().decode(video)[0, 0, :, 0, 0]
    assert frames.tolist() == list(range(length.frames - (4 * latents - 3), length.frames))
    assert audio[0, 0].tolist() == list(range(25 * (8 - latents), length.tokens))


@pytest.mark.parametrize("latents", [0, 9])
def test_more_than_there_is_cannot_be_continued(latents: int) -> None:
    with pytest.raises(ValueError, match=f"has 8 latents, so one can go on from 1 to 8 of them, not {latents}"):
        last_latents(ClockVae(), blank(ClipLength.from_latents(8)), latents)


@given(st.integers(2, 60), st.integers(2, 21), st.data())
def test_a_clip_goes_on_from_an_earlier_one(latents: int, window: int, data) -> None:
    """The first window goes on from what is given, the next ones from the windows before."""
    given = data.draw(st.integers(1, min(latents, window) - 1))
    length = ClipLength.from_latents(latents)
    tokens = ClipLength.from_latents(given).tokens
    whole = blank(length, clean_video=given, clean_audio=tokens)
    whole.video[:, :, :given] = 4 * torch.arange(given).view(-1, 1, 1)
    whole.audio[..., :tokens] = torch.arange(tokens)
    assert continued(whole) == given
    windows = plan_windows(length, ClipLength.from_latents(window).frames, 1, given)
    assert (windows[0].overlap, windows[0].repeated) == (given, 0)
    whole = run(whole, windows)
    assert ClockVae().decode(whole.video)[0, 0, :, 0, 0].tolist() == list(range(length.frames))
    assert whole.audio[0, 0].tolist() == list(range(length.tokens))


def test_what_is_given_takes_no_part_of_the_speech() -> None:
    """20 new latents, then 10: two thirds of the words, then one, after those that are repeated."""
    windows = plan_windows(ClipLength.from_latents(36), ClipLength.from_latents(26).frames, 2, given=6)
    assert [window.latents - window.overlap for window in windows] == [20, 10]
    first, second = texts("one two three. four five six. seven eight nine.", windows)
    assert first == "one two three. four five six."
    assert second.endswith("seven eight nine.")


@pytest.mark.parametrize(("clean", "latents"), [((1, 0), 0), ((21, 0), 0), ((1, 506), 0), ((1, 6), 1), ((6, 131), 6)])
def test_what_comes_from_an_earlier_clip(clean: tuple[int, int], latents: int) -> None:
    whole = blank(ClipLength(), clean_video=clean[0], clean_audio=clean[1])
    assert continued(whole) == latents
