"""A vocoder that whispers: the mel's spectrum with the phases of a stored noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..geometry import HOP_LENGTH
from .config import FFT, FFT_BINS, NOISE_FRAMES, TINY

LOUDEST = 12.0  # log-magnitude, far above full scale: what is louder would overflow


class TinyVocoder(nn.Module):
    """Log-mel -> waveform at 24 kHz (implements Vocoder).

    A linear map gives the log-magnitudes of the short-time spectrum that the mel was taken from; phases are those of
    white noise cut into the same windows, so that neighbouring windows agree. There is no pitch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(TINY.mel_bins, FFT_BINS)
        self.register_buffer("noise", torch.empty(NOISE_FRAMES * HOP_LENGTH, dtype=torch.int8))

    def decode(self, log_mel: Tensor) -> Tensor:
        """[B, 80, L], L >= 1, not normalised -> [B, 1, L * 240] in [-1, 1]. Raises ``ValueError`` for other shapes."""
        if log_mel.ndim != 3 or log_mel.shape[1] != self.projection.in_features or not log_mel.shape[2]:
            raise ValueError(
                f"the vocoder decodes log-mels [batch, {self.projection.in_features}, at least one frame], "
                f"not {list(log_mel.shape)}"
            )
        weight = self.projection.weight
        frames, window = log_mel.shape[2], torch.hann_window(FFT, device=weight.device)
        magnitude = self.projection(log_mel.to(weight).transpose(1, 2)).transpose(1, 2)
        magnitude = magnitude.clamp(max=LOUDEST).exp()  # [B, 513, L]
        spectrum = magnitude * self._phases(frames, window)
        pieces = torch.fft.irfft(spectrum, n=FFT, dim=1) * window[:, None]  # [B, 1024, L]
        envelope = (window**2)[None, :, None].expand(1, FFT, frames)
        # every kept sample lies under several windows; the overhang at both ends is what the mel's padding added
        overhang = (FFT - HOP_LENGTH) // 2
        kept = slice(overhang, overhang + frames * HOP_LENGTH)
        return (overlap_add(pieces)[..., kept] / overlap_add(envelope)[..., kept]).clamp(-1, 1)

    def _phases(self, frames: int, window: Tensor) -> Tensor:
        """Complex numbers of magnitude one: [513, L]. The noise repeats without end."""
        index = torch.arange((frames - 1) * HOP_LENGTH + FFT, device=window.device) % len(self.noise)
        noise = self.noise[index].to(window)
        spectrum = torch.stft(noise, FFT, HOP_LENGTH, window=window, center=False, return_complex=True)
        return torch.polar(torch.ones_like(spectrum.real), spectrum.angle())


def overlap_add(pieces: Tensor) -> Tensor:
    """[B, 1024, L] -> [B, 1, (L - 1) * 240 + 1024], each piece 240 samples after the one before."""
    length = (pieces.shape[2] - 1) * HOP_LENGTH + FFT
    return nn.functional.fold(pieces, (1, length), (1, FFT), stride=(1, HOP_LENGTH))[:, :, 0]
