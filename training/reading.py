"""How the sound learns to read: it is shown which word is being said, by what its attention to the text costs.

Without it the branch learns for hours how speech sounds before it finds out that the text says which words.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uniavgen_core.geometry import HOP_LENGTH, SAMPLE_RATE
from uniavgen_core.model.attention import scaled_dot_product

from .data import Batch

TOKEN_RATE = SAMPLE_RATE / HOP_LENGTH  # audio tokens a second


def reading(batch: Batch, places: list[list[tuple[int, int]]], symbols: int) -> Tensor:
    """Which symbols of the text are being said: bool [N, L, M] on the CPU, none in pauses."""
    said = torch.zeros(len(places), batch.audio.shape[2], symbols, dtype=torch.bool)
    for row, (words, times) in enumerate(zip(places, batch.word_times, strict=True)):
        for (first, end), (start, stop) in zip(words, times, strict=False):  # no places where nothing is told
            said[row, round(start * TOKEN_RATE) : round(stop * TOKEN_RATE), first:end] = True
    return said


class ReadingAttention:
    """An `AttentionFunction` that notes how much the sound attends to the words being said.

    said: bool [N, L, M], of the last L of the sound's tokens; the sound has so many ``tokens`` with its voice
    reads: whether anything is said at all, so that there is a loss
    """

    def __init__(self, said: Tensor, tokens: int, device: torch.device | str = "cpu"):
        self.reads, self.said, self.tokens, self.found = bool(said.any()), said.to(device), tokens, []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        if (q.shape[1], k.shape[1]) != (self.tokens, self.said.shape[2]):  # not the cross-attention to the speech
            return scaled_dot_product(q, k, v, heads)
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, N, d]
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)
        seen = weights.float().mean(dim=1)[:, -self.said.shape[1] :]  # [N, L, M]
        self.found.append((seen * self.said).sum(dim=-1))
        return (weights @ v).transpose(1, 2).flatten(2)

    def loss(self) -> Tensor:
        """Mean over all layers and spoken tokens of -log of the attention to the word being said."""
        spoken = self.said.any(dim=-1)  # [N, L]
        cost = -torch.stack(self.found).clamp(min=1e-4).log()  # [layers, N, L]
        return (cost * spoken).sum() / (len(self.found) * spoken.sum())
