"""Waveform -> log-mel as the model hears it: 24 kHz, 80 bins, 100 frames a second.

waveform -> peak_normalize -> log_mel -> normalize -> audio tokens -> denormalize -> vocoder
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..geometry import HOP_LENGTH, SAMPLE_RATE

MEL_BINS = 80
WINDOW = 1024
MAX_FREQUENCY = 8000.0
PADDING = (WINDOW - HOP_LENGTH) // 2  # samples reflected at each end
MIN_SAMPLES = PADDING + 1  # a reflection of p samples needs p + 1
FLOOR = 1e-5
MEAN = -5.1753
STD = 2.1544
PEAK = 0.999146


def log_mel(waveform: Tensor) -> Tensor:
    """Waveform [B, samples] at 24 kHz -> log-mel [B, 80, samples // 240], not normalised, in the waveform's dtype.

    Slaney mel and norm up to 8 kHz, Hann window of 1024, ends reflected, no centring (released behaviour).
    Raises ``ValueError`` for another shape, for numbers that are not finite, or below 393 samples (17 ms).
    """
    if waveform.ndim != 2:
        raise ValueError(f"a waveform for the mel must be [batch, samples] of mono sound, not {list(waveform.shape)}")
    if waveform.shape[1] < MIN_SAMPLES:
        raise ValueError(
            f"the sound has {waveform.shape[1]} samples: at {SAMPLE_RATE} Hz it must have at least {MIN_SAMPLES}"
        )
    if not torch.isfinite(waveform).all():
        raise ValueError("the sound holds samples that are NaN or infinite")
    padded = pad(waveform.float()[:, None], (PADDING, PADDING), mode="reflect")[:, 0]
    window = torch.hann_window(WINDOW, device=waveform.device)
    spectrum = torch.stft(padded, WINDOW, HOP_LENGTH, WINDOW, window, center=False, return_complex=True)  # [B, 513, L]
    magnitude = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9)
    mel = torch.from_numpy(filterbank()).to(waveform.device) @ magnitude  # [B, 80, L]
    return mel.clamp(min=FLOOR).log().to(waveform.dtype)


def normalize(mel: Tensor) -> Tensor:
    """Log-mel -> audio tokens, about zero mean and unit deviation."""
    return (mel - MEAN) / STD


def denormalize(tokens: Tensor) -> Tensor:
    """Audio tokens -> log-mel; the inverse of `normalize`."""
    return tokens * STD + MEAN


def peak_normalize(waveform: Tensor, peak: float = PEAK) -> Tensor:
    """Waveforms [..., samples], each scaled so that its loudest sample has magnitude ``peak``. Silence stays."""
    loudest = waveform.abs().amax(dim=-1, keepdim=True)
    silent = loudest < torch.finfo(waveform.dtype).tiny
    return torch.where(silent, waveform, waveform / loudest.masked_fill(silent, 1.0) * peak)


def peak_gain(waveform: Tensor) -> float:
    """How many times louder `peak_normalize` makes a waveform; 1 for silence."""
    loudest = float(waveform.abs().max())
    return PEAK / loudest if loudest >= torch.finfo(waveform.dtype).tiny else 1.0


@lru_cache(maxsize=1)
def filterbank() -> np.ndarray:
    """Mel filters [80, 513], computed once. Raises as `mel_filters` does."""
    return mel_filters(WINDOW, MEL_BINS, 0.0, MAX_FREQUENCY, norm="slaney", mel_scale="slaney")


def mel_filters(window: int, bins: int, lowest: float, highest: float, **kind: str | None) -> np.ndarray:
    """Filters [bins, window // 2 + 1], float32, between two frequencies in Hz. The import is late because it takes a
    second. Raises ``ImportError`` with a sentence where transformers is missing."""
    try:
        from transformers.audio_utils import mel_filter_bank
    except ImportError as error:
        raise ImportError(
            f"the mel of a sound needs the package transformers ({error}): pip install transformers, with the Python "
            "that runs this"
        ) from error
    return mel_filter_bank(window // 2 + 1, bins, lowest, highest, SAMPLE_RATE, **kind).T.astype(np.float32)
