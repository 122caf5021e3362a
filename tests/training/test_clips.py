"""Clips: exact lengths, the same from the same seed, silence with a closed mouth, sentences kept for testing."""

from __future__ import annotations

from dataclasses import fields
from itertools import product

import numpy as np
import pytest

from training import clips
from training.clips import make_clip, split_of
from training.faces import mouth_opening
from training.speech import VOICES, WORDS
from uniavgen_core.geometry import ClipLength

pytest.importorskip("espeakng_loader")


@pytest.mark.parametrize("frames", [17, 33, 81])
@pytest.mark.parametrize("split", clips.SPLITS)
def test_everything_has_its_length(frames: int, split: str) -> None:
    clip = make_clip(1, frames, split)
    assert clip.frames.shape == (frames, 128, 128, 3) and clip.frames.dtype == np.uint8
    assert clip.waveform.shape == (ClipLength(frames).samples,) and clip.waveform.dtype == np.float32
    assert clip.opening.shape == clip.width.shape == (frames,)
    assert clip.mask.shape == (4, 4)
    assert 0.8 * 24_000 <= len(clip.reference_waveform) <= 1.5 * 24_000 + 240
    assert len(clip.reference_waveform) % 240 == 0
    assert len(clip.word_starts) == len(clip.text.split()) >= 1
    for start, (begin, end) in zip(clip.word_starts, clip.word_times, strict=True):
        assert start == begin < end <= clip.phonemes[-1].end
    assert clip.phonemes[0].start == pytest.approx(clip.word_starts[0])
    assert clip.phonemes[-1].end <= frames / 16


def test_a_clip_follows_from_its_seed_alone() -> None:
    first = make_clip(5, 33)
    make_clip(6, 33)
    again = make_clip(5, 33)
    for field in fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert first.text != make_clip(6, 33).text
    assert first.caption != make_clip(5, 33, "test").caption


def test_the_splits_share_no_sentence() -> None:
    texts = {}
    for split in clips.SPLITS:
        made = [make_clip(seed, 33, split) for seed in range(12)]
        texts[split] = {text for clip in made for text in (clip.text, clip.reference_text)}
        assert all(split_of(text.split()) == split for text in texts[split])
    assert not texts["train"] & texts["test"]


def test_one_sentence_in_ten_is_kept_for_testing() -> None:
    kept = sum(split_of(words) == "test" for words in product(WORDS, repeat=3))
    assert kept == pytest.approx(len(WORDS) ** 3 / 10, rel=0.1)  # four deviations of chance are 0.09
    assert any(split_of([word]) == "test" for word in WORDS)


def test_speech_is_where_the_phonemes_say_and_the_mouth_is_shut_elsewhere() -> None:
    for seed in range(4):
        clip = make_clip(seed)
        speaking = np.zeros(len(clip.waveform), bool)
        for sound in clip.phonemes:
            speaking[int(sound.start * 24_000) : int(sound.end * 24_000) + 24] = True
        loud = np.sqrt(np.square(clip.waveform[speaking]).mean())
        assert 0 < np.sqrt(np.square(clip.waveform[~speaking]).mean()) < 0.02 * loud
        times = np.arange(81) / 16
        far = np.array([min(max(sound.start - t, t - sound.end) for sound in clip.phonemes) > 0.12 for t in times])
        assert far.any() and clip.opening[far].max() < 1e-3
        assert clip.opening.max() > 0.5


def test_the_pictures_show_the_curve_and_the_speaker() -> None:
    for seed in range(4):
        clip = make_clip(seed)
        assert np.corrcoef(mouth_opening(clip.frames), clip.opening)[0, 1] > 0.98
        assert clip.caption.startswith("A woman" if VOICES[clip.voice].woman else "A man")


def test_the_text_does_not_tell_the_pace() -> None:
    """Words of the same clip follow each other at many intervals, and speech begins anywhere."""
    made = [make_clip(seed, 81) for seed in range(8)]
    intervals = np.concatenate([np.diff(clip.word_starts) for clip in made])
    assert intervals.min() < 0.45 and intervals.max() > 0.8
    leads = [clip.word_starts[0] for clip in made]
    assert all(0.05 <= lead <= 0.5 for lead in leads) and max(leads) - min(leads) > 0.2


def test_blinks_leave_the_first_frame_open() -> None:
    blinks = clips._blinks(np.random.default_rng(0), 161)
    assert blinks[0] == 0 and blinks.max() == 1
    assert set(np.unique(blinks)) == {0, *clips.BLINK}


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match="4n \\+ 1"):
        make_clip(0, 80)
    with pytest.raises(ValueError, match="no room"):
        make_clip(0, 13)
    with pytest.raises(ValueError, match="train, test"):
        make_clip(0, 81, "dev")
