"""Embedding of the speech text: ConvNeXt-V2 over characters, as in F5-TTS (released `TextEmbedding`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MAX_POSITION = 4096  # later tokens share the last position (released behaviour)


class GRN(nn.Module):
    """Global response normalisation over the sequence: gamma * (x * N) + beta + x."""

    def __init__(self, dim: int, **factory: Any):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, dim, **factory))
        self.beta = nn.Parameter(torch.zeros(1, 1, dim, **factory))

    def forward(self, x: Tensor) -> Tensor:
        response = torch.linalg.vector_norm(x, dim=1, keepdim=True)  # [B, 1, dim]
        response = response / (response.mean(dim=-1, keepdim=True) + 1e-6)
        return self.gamma.to(x) * (x * response) + self.beta.to(x) + x


class ConvNeXtV2Block(nn.Module):
    """Depthwise convolution over 7 tokens, then a pointwise expansion by two: [B, N, dim] -> [B, N, dim]."""

    def __init__(self, dim: int, *, operations: Any, **factory: Any):
        super().__init__()
        self.dwconv = operations.Conv1d(dim, dim, kernel_size=7, padding=3, groups=dim, **factory)
        self.norm = operations.LayerNorm(dim, eps=1e-6, **factory)
        self.pwconv1 = operations.Linear(dim, 2 * dim, **factory)
        self.act = nn.GELU()
        self.grn = GRN(2 * dim, **factory)
        self.pwconv2 = operations.Linear(2 * dim, dim, **factory)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x.transpose(1, 2)).transpose(1, 2))
        return x + self.pwconv2(self.grn(self.act(self.pwconv1(y))))


class SpeechEmbedding(nn.Module):
    """Speech ids [B, N] (-1 = filler) -> [B, N, dim]; fillers stay zero after every block."""

    def __init__(self, vocab: int, dim: int, layers: int, *, operations: Any, **factory: Any):
        super().__init__()
        self.dim = dim
        self.text_embed = operations.Embedding(vocab + 1, dim, **factory)  # 0 is the filler
        self.text_blocks = nn.Sequential(
            *(ConvNeXtV2Block(dim, operations=operations, **factory) for _ in range(layers))
        )

    def forward(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        ids = ids + 1
        kept = (ids != 0).unsqueeze(-1)  # [B, N, 1]
        x = self.text_embed(ids).to(dtype) + self._positions(ids).to(dtype)
        x = x * kept
        for block in self.text_blocks:
            x = block(x) * kept
        return x

    def _positions(self, ids: Tensor) -> Tensor:
        """Sinusoid positions, cosines then sines: [N, dim] float32."""
        frequencies = 1.0 / 10_000.0 ** (torch.arange(0, self.dim, 2, device=ids.device).float() / self.dim)
        positions = torch.arange(ids.shape[1], device=ids.device).clamp(max=MAX_POSITION - 1).float()
        angles = torch.outer(positions, frequencies)
        return torch.cat((angles.cos(), angles.sin()), dim=-1)
