"""From phonemes to mouths: the steps, their smoothing, what is not known."""

from __future__ import annotations

import numpy as np
import pytest

from training.mouths import REST, SHAPES, SMOOTHING, curves, shape
from training.speech import VOICES, WORDS, Phoneme, say


def test_a_held_sound_is_its_shape_and_silence_is_rest() -> None:
    sounds = [Phoneme(1.0, 1.5, "'a"), Phoneme(1.5, 2.0, "m"), Phoneme(2.5, 3.0, "u:")]
    found = curves(sounds, np.array([0.5, 1.25, 1.75, 2.25, 2.75, 3.5]))
    expected = [REST, SHAPES["a"], SHAPES["m"], REST, SHAPES["u:"], REST]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_change_is_half_done_when_the_sound_begins() -> None:
    found = curves([Phoneme(1.0, 2.0, "a")], np.array([1 - SMOOTHING[0], 1.0, 1 + SMOOTHING[0]]))
    shares = np.array([0.158655, 0.5, 0.841345])  # of the normal distribution below -1, 0 and 1
    np.testing.assert_allclose(found[:, 0], SHAPES["a"][0] * shares, atol=1e-5)


def test_no_speech_is_rest() -> None:
    np.testing.assert_array_equal(curves([], np.arange(3.0)), np.array([REST] * 3, np.float32))


def test_stress_does_not_count_and_unknown_sounds_are_refused() -> None:
    assert shape("'aI") == shape(",aI") == shape("aI")
    with pytest.raises(ValueError, match="'Q'"):
        shape("Q")


def test_every_sound_of_the_vocabulary_has_a_mouth() -> None:
    pytest.importorskip("espeakng_loader")
    firsts = ("eight", "music", "money", "paper")  # words run into each other: sounds come about between them
    pairs = [(first, second) for word in WORDS for other in firsts for first, second in ((word, other), (other, word))]
    names = {sound.name for voice in VOICES for pair in pairs for sound in say(pair, voice, 150).phonemes}
    assert all(len(shape(name)) == 2 for name in names)
