"""The log-mel: the release's numbers, lengths, loudness."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from uniavgen_core.audio.mel import MIN_SAMPLES, PEAK, denormalize, log_mel, normalize, peak_normalize

GOLDEN = load_file(Path(__file__).parent / "data" / "mel.safetensors")


@pytest.mark.parametrize("name", ["chirp", "silence"])
def test_log_mel_is_the_release_s(name: str) -> None:
    found = log_mel(GOLDEN[f"{name}.waveform"][None])[0]
    torch.testing.assert_close(found, GOLDEN[f"{name}.log_mel"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("samples", [MIN_SAMPLES, 479, 480, 24_000, 121_500])
def test_one_frame_every_240_samples(samples: int) -> None:
    assert log_mel(torch.zeros(2, samples)).shape == (2, 80, samples // 240)


def test_a_batch_is_its_members() -> None:
    waveforms = torch.randn(3, 4800, generator=torch.Generator().manual_seed(0))
    together = log_mel(waveforms)
    for index in range(3):
        torch.testing.assert_close(together[index], log_mel(waveforms[index : index + 1])[0])


def test_a_tone_is_loudest_in_its_bin() -> None:
    time = torch.arange(24_000) / 24_000
    loudest = [log_mel(torch.sin(2 * math.pi * hertz * time)[None])[0, :, 50].argmax() for hertz in (200, 1000, 4000)]
    assert loudest == sorted(loudest)
    # Slaney mels are linear below 1000 Hz, 15 of them, of 45.25 up to 8000 Hz in 81 steps
    assert loudest[1] == round(15 / 45.245 * 81) - 1


@pytest.mark.parametrize(
    ("waveform", "sentence"),
    [
        (torch.zeros(1, MIN_SAMPLES - 1), "at least 393"),
        (torch.zeros(1, 0), "at least 393"),
        (torch.zeros(24_000), r"\[batch, samples\]"),
        (torch.full((1, 24_000), math.nan), "NaN or infinite"),
        (torch.full((1, 24_000), math.inf), "NaN or infinite"),
    ],
)
def test_unfit_sound_is_refused(waveform: torch.Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        log_mel(waveform)


def test_normalize_and_back() -> None:
    mel = torch.tensor([-11.5129, -5.1753, -3.0209])
    torch.testing.assert_close(normalize(mel)[1:], torch.tensor([0.0, 1.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(denormalize(normalize(mel)), mel)


def test_peak_normalize_sets_the_peak_of_each_row() -> None:
    loud = peak_normalize(torch.tensor([[0.1, -0.5], [4.0, 2.0], [0.0, 0.0]]))
    torch.testing.assert_close(loud, torch.tensor([[0.2, -1.0], [1.0, 0.5], [0.0, 0.0]]) * PEAK)
    assert torch.equal(peak_normalize(torch.tensor([1e-42, 0.0])), torch.tensor([1e-42, 0.0]))  # no infinity
