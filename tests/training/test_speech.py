"""Spoken words: the same each time, their sounds where they are said to be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import parselmouth
import pytest

from training.speech import RATES, VOICES, WORDS, say
from uniavgen_core.geometry import SAMPLE_RATE

SENTENCE = ("six", "money", "music")


def test_the_same_arguments_give_the_same_samples():
    first = say(SENTENCE, VOICES[0], 150)
    say(("hello",), VOICES[3], 190, 3)
    again = say(SENTENCE, VOICES[0], 150)
    assert np.array_equal(first.waveform, again.waveform)
    assert (first.phonemes, first.word_starts, first.text) == (again.phonemes, again.word_starts, "six money music")
    assert first.waveform.dtype == np.float32 and 0.2 < abs(first.waveform).max() <= 1


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)
def test_every_word_is_said_in_order_within_the_waveform(voice):
    said = say(WORDS, voice, RATES[-1])
    assert len(said.word_starts) == len(WORDS) == len(set(WORDS)) >= 24
    begins = {phoneme.start for phoneme in said.phonemes}
    assert said.word_starts[0] == 0 and set(said.word_starts) <= begins
    times = [time for phoneme in said.phonemes for time in (phoneme.start, phoneme.end)]
    assert times == sorted(times) and times[-1] == pytest.approx(len(said.waveform) / SAMPLE_RATE, abs=1e-4)
    for phoneme in said.phonemes:
        assert phoneme.start < phoneme.end and not phoneme.name.startswith("_")


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)
def test_pauses_are_exact_and_silent(voice):
    said = say(SENTENCE, voice, 150, pauses=(0.0, 0.5))
    before = max(phoneme.end for phoneme in said.phonemes if phoneme.end < said.word_starts[2])
    assert said.word_starts[2] - before == pytest.approx(0.5, abs=1e-4)
    pause = said.waveform[round(before * SAMPLE_RATE) : round(said.word_starts[2] * SAMPLE_RATE)]
    assert abs(pause[24:-24]).max() < 0.01 < abs(said.waveform).max()
    assert abs(pause[240:-240]).max() == 0
    longer = say(SENTENCE, voice, 150, pauses=(0.1, 0.6))
    assert len(longer.waveform) > len(said.waveform) > len(say(SENTENCE, voice, 190, pauses=(0.0, 0.5)).waveform)


def test_voices_differ_in_pitch_and_follow_a_shift():
    def pitch(*arguments) -> float:
        sound = parselmouth.Sound(say(SENTENCE, *arguments).waveform, SAMPLE_RATE)
        frequency = sound.to_pitch(pitch_floor=50, pitch_ceiling=500).selected_array["frequency"]
        return np.median(frequency[frequency > 0])

    pitches = [pitch(voice, 130) for voice in VOICES]
    assert len(VOICES) >= 4 and all(high > 1.15 * low for low, high in pairwise(pitches))
    for voice, plain in zip(VOICES, pitches, strict=True):
        assert pitch(voice, 130, 8) > 1.02 * plain > 1.04 * pitch(voice, 130, -8)


@pytest.mark.parametrize(
    ("words", "rate", "shift", "pauses", "message"),
    [
        ((), 150, 0, (), "0 words take"),
        (SENTENCE, 150, 0, (0.1,), "3 words take 2 pauses"),
        (SENTENCE, 150, 0, (0.1, -0.1), "none negative"),
        (SENTENCE, 80, 0, (), "rate must be 120 to 190"),
        (SENTENCE, 150, 99, (), "not within 0 to 99"),
        (("hello world", "yes"), 150, 0, (), "3 words for"),
    ],
)
def test_what_cannot_be_said_is_refused(words, rate, shift, pauses, message):
    with pytest.raises(ValueError, match=message):
        say(words, VOICES[0], rate, shift, pauses)
