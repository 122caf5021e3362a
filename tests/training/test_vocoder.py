"""The vocoder's training: the same numbers each time, also when it is interrupted, and better with every step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import training.vocoder as vocoder
from uniavgen_core.audio.mel import log_mel
from uniavgen_core.checkpoint import load_state_dict
from uniavgen_core.tiny.load import WEIGHTS


@pytest.fixture(autouse=True)
def short(monkeypatch):
    for name, value in {"UTTERANCES": 3, "BATCH": 2, "FRAMES": 16}.items():
        monkeypatch.setattr(vocoder, name, value)


def test_the_result_is_what_the_tiny_model_loads():
    ours, (shipped, _) = vocoder.parameters(vocoder.build()), load_state_dict(WEIGHTS / "vocoder.safetensors")
    assert {name: t.shape for name, t in ours.items()} == {name: t.shape for name, t in shipped.items()}


def test_a_batch_is_sound_and_its_mel():
    speech = [vocoder.utterance(np.random.default_rng(index)) for index in range(3)]
    for one in speech:
        assert abs(one).max() == pytest.approx(0.999146) and not one[:6000].any() and not one[-6000:].any()
    waveform, mel = vocoder.batch(speech, np.random.default_rng(0))
    assert waveform.shape == (2, 16 * 240) and mel.shape == (2, 80, 16)
    assert (mel - log_mel(waveform)).abs().mean(dim=(1, 2)).max() < 0.15
    assert vocoder.distance(waveform, waveform) == 0 < vocoder.distance(waveform, 0.9 * waveform)


def test_steps_bring_it_nearer(tmp_path):
    torch.manual_seed(0)
    network = vocoder.build()
    speech = [vocoder.utterance(np.random.default_rng(0))]
    waveform, mel = vocoder.batch(speech, np.random.default_rng(3))
    optimizer, distances = torch.optim.AdamW(network.parameters(), 1e-3), []
    for _ in range(20):
        loss = vocoder.distance(network(mel), waveform)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        distances.append(loss.item())
    assert distances[-1] < 0.8 * distances[0]
