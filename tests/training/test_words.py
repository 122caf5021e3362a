"""What is heard is what was said, by whom and how high; also after the tiny model's vocoder."""

from __future__ import annotations

import sys
from importlib import import_module

import numpy as np
import pytest
import torch

from training.speech import VOICES, say
from training.voices import pitch, which_voice
from training.words import copy_synthesis, heard, utterances, word_error_rate
from uniavgen_core.audio.mel import log_mel, peak_normalize
from uniavgen_core.geometry import SAMPLE_RATE


@pytest.fixture(scope="module", params=["original", "copy"])
def spoken(request) -> list[tuple[int, str, np.ndarray]]:
    """Voice, text and sound of eight utterances of each voice."""
    change = copy_synthesis() if request.param == "copy" else np.asarray
    made = [(index, one) for index, voice in enumerate(VOICES) for one in utterances(voice, 8, seed=5)]
    return [(index, one.text, change(one.waveform)) for index, one in made]


def test_words_are_heard(spoken):
    heard_texts = [" ".join(heard(sound)) for _, _, sound in spoken]
    assert word_error_rate([text for _, text, _ in spoken], heard_texts) < 0.10


def test_voices_are_told_apart(spoken):
    assert [which_voice(sound) for _, _, sound in spoken] == [index for index, _, _ in spoken]


def test_the_vocoder_keeps_mel_and_pitch():
    copy = copy_synthesis()
    for voice in VOICES:
        errors, distances = [], []
        for one in utterances(voice, 8, seed=5):
            real, made = peak_normalize(torch.from_numpy(one.waveform)), torch.from_numpy(copy(one.waveform))
            spoken = log_mel(real[None]) > -8  # above the noise
            distances.append((log_mel(made[None]) - log_mel(real[None])).abs()[spoken].mean())
            errors.append(abs(pitch(made.numpy()) / pitch(one.waveform) - 1))
        assert np.mean(distances) < 0.35 and np.median(errors) < 0.05, voice.name


def test_what_is_heard_does_not_depend_on_what_was_heard_before():
    sounds = [one.waveform for voice in VOICES for one in utterances(voice, 2, seed=3)]
    assert [heard(sound) for sound in sounds] == [heard(sound) for sound in sounds[::-1]][::-1]
    assert len({tuple(heard(sounds[0])) for _ in range(3)}) == 1


def test_noise_is_no_words():
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE)
    assert len(heard(noise)) <= 3
    assert heard(np.zeros(SAMPLE_RATE)) == []


def test_word_error_rate_counts_words():
    assert word_error_rate(["one two", "six nine"], ["one two", "six nine"]) == 0
    assert word_error_rate(["one two", "six nine"], ["two", "six nine one"]) == 0.5


def test_pitch():
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for height in (80, 130, 280):
        assert pitch(sum(np.sin(2 * np.pi * k * height * time) / k for k in (1, 2, 3))) == pytest.approx(
            height, rel=0.01
        )
    assert np.isnan(pitch(np.zeros(SAMPLE_RATE))) and np.isnan(pitch(np.zeros(10)))
    low, high = (pitch(say(("money", "music"), VOICES[0], 150, shift).waveform) for shift in (-8, 8))
    assert high > 1.1 * low


def test_utterances_are_the_same_each_time():
    one, two = (utterances(VOICES[2], 3, seed=4) for _ in range(2))
    assert [u.text for u in one] == [u.text for u in two]
    assert all(np.array_equal(a.waveform, b.waveform) for a, b in zip(one, two, strict=True))
    assert [u.text for u in utterances(VOICES[2], 3, seed=6)] != [u.text for u in one]


@pytest.mark.parametrize("words", [["training", "words"], ["training", "measure"], ["evaluation", "tiny"]])
@pytest.mark.parametrize(
    ("package", "told"), [("pocketsphinx", "pip install pocketsphinx ("), ("jiwer", "pip install jiwer (")]
)
def test_a_missing_package_is_named_first(monkeypatch, capsys, tmp_path, words, package, told):
    monkeypatch.setitem(sys.modules, package, None)
    program, *rest = words
    output = [] if rest == ["words"] else ["--output", str(tmp_path / "measured")]
    assert import_module(f"{program}.__main__").main([*rest, *output]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and told in said and said.count("\n") == 1
    assert not (tmp_path / "measured").exists()


def test_the_recogniser_is_tried_on_every_voice(capsys):
    assert import_module("training.__main__").main(["words", "--utterances", "2"]) == 0
    rates = [float(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines()]
    assert len(rates) == len(VOICES) and max(rates) < 0.3
