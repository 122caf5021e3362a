"""A small Vocos (gemelo-ai/vocos, `arXiv 2306.00814`): ConvNeXt blocks that give a short-time spectrum.

Written out here because ComfyUI does not have the vocos package; the parameters have its names.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, gelu

from ..audio.mel import FLOOR, MEL_BINS, PADDING, WINDOW
from ..geometry import HOP_LENGTH
from .config import VOCODER_DIM, VOCODER_HIDDEN, VOCODER_LAYERS

QUIETEST, LOUDEST = math.log(FLOOR), 6.0  # of the mel: no sound within [-1, 1] is beyond
LARGEST = 1e2  # magnitude in the spectrum


class TinyVocoder(nn.Module):
    """Log-mel -> waveform at 24 kHz (implements Vocoder)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = Head()

    def decode(self, log_mel: Tensor) -> Tensor:
        """[B, 80, L], L >= 1, not normalised -> [B, 1, L * 240] in [-1, 1]. Raises ``ValueError`` for other shapes."""
        if log_mel.ndim != 3 or log_mel.shape[1] != MEL_BINS or not log_mel.shape[2]:
            raise ValueError(
                f"the vocoder decodes log-mels [batch, {MEL_BINS}, at least one frame], not {list(log_mel.shape)}"
            )
        mel = log_mel.to(self.head.out.weight).clamp(QUIETEST, LOUDEST)
        return self.head(self.backbone(mel))[:, None].clamp(-1, 1)


class Backbone(nn.Module):
    """Mel [B, 80, L] -> features [B, L, D]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv1d(MEL_BINS, VOCODER_DIM, 7, padding=3)
        self.norm = nn.LayerNorm(VOCODER_DIM, eps=1e-6)
        self.convnext = nn.ModuleList(Block() for _ in range(VOCODER_LAYERS))
        self.final_layer_norm = nn.LayerNorm(VOCODER_DIM, eps=1e-6)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.norm(self.embed(mel).transpose(1, 2))
        for block in self.convnext:
            x = block(x)
        return self.final_layer_norm(x)


class Block(nn.Module):
    """Each channel along time, then each moment across channels: [B, L, D] -> [B, L, D]."""

    def __init__(self) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(VOCODER_DIM, VOCODER_DIM, 7, padding=3, groups=VOCODER_DIM)
        self.norm = nn.LayerNorm(VOCODER_DIM, eps=1e-6)
        self.pwconv1 = nn.Linear(VOCODER_DIM, VOCODER_HIDDEN)
        self.pwconv2 = nn.Linear(VOCODER_HIDDEN, VOCODER_DIM)
        self.gamma = nn.Parameter(torch.ones(VOCODER_DIM))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.dwconv(x.transpose(1, 2)).transpose(1, 2))
        return x + self.gamma * self.pwconv2(gelu(self.pwconv1(hidden)))


class Head(nn.Module):
    """Features [B, L, D] -> magnitudes and phases -> samples [B, L * 240]."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(VOCODER_DIM, WINDOW + 2)

    def forward(self, x: Tensor) -> Tensor:
        magnitude, phase = self.out(x).transpose(1, 2).chunk(2, dim=1)  # [B, 513, L] each
        spectrum = torch.polar(magnitude.exp().clamp(max=LARGEST), phase)
        window = torch.hann_window(WINDOW, device=x.device)
        pieces = torch.fft.irfft(spectrum, n=WINDOW, dim=1) * window[:, None]  # [B, 1024, L]
        weights = window.square()[None, :, None].expand(1, WINDOW, x.shape[1])
        return overlap_add(pieces) / overlap_add(weights)


def overlap_add(pieces: Tensor) -> Tensor:
    """[B, 1024, L], each piece 240 samples after the one before -> [B, L * 240], without the mel's padding."""
    length = (pieces.shape[2] - 1) * HOP_LENGTH + WINDOW
    return fold(pieces, (1, length), (1, WINDOW), stride=(1, HOP_LENGTH))[:, 0, 0, PADDING:-PADDING]
