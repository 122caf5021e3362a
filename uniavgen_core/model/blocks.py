"""One DiT block of a branch, the output heads, and the modulation by time that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import BranchConfig
from .attention import Attention, AttentionFunction
from .rope import RotaryTable, rotate


@dataclass(frozen=True)
class BranchContext:
    """What the blocks of one branch read besides its tokens; the same for every layer of a pass.

    time: [B, S, dim], one embedding per distinct timestep (S = 2 for video: clean, noisy; 1 for audio)
    projection: [B, S, 6, dim], the same for the blocks
    lengths: how many tokens, in order, have each of the S timesteps
    rotary: positions of the tokens
    text: [B, M, dim], what cross-attention reads
    text_rotary: positions of queries and of text in cross-attention, or None for none
    """

    time: Tensor
    projection: Tensor
    lengths: tuple[int, ...]
    rotary: RotaryTable
    text: Tensor
    text_rotary: tuple[RotaryTable, RotaryTable] | None
    attention: AttentionFunction


def modulate(x: Tensor, shift: Tensor, scale: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """x * (1 + scale) + shift, with one row of shift and scale [B, S, dim] for each run of tokens in x [B, N, dim]."""
    parts = [
        torch.addcmul(shift[:, i : i + 1], part, 1 + scale[:, i : i + 1]) for i, part in enumerate(x.split(lengths, 1))
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def add_gated(x: Tensor, y: Tensor, gate: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """x + y * gate, with one row of gate [B, S, dim] for each run of tokens in x, y [B, N, dim]."""
    parts = [
        torch.addcmul(part, update, gate[:, i : i + 1])
        for i, (part, update) in enumerate(zip(x.split(lengths, 1), y.split(lengths, 1), strict=True))
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class Block(nn.Module):
    """Self-attention, text cross-attention and feed-forward; called one after the other by the joint model."""

    def __init__(self, config: BranchConfig, eps: float, *, operations: Any, **factory: Any):
        super().__init__()
        dim, ops = config.dim, {"operations": operations, **factory}
        self.norm1 = operations.LayerNorm(dim, eps=eps, elementwise_affine=False, **factory)
        self.self_attn = Attention(dim, dim, dim, config.num_heads, eps, **ops)
        self.norm3 = operations.LayerNorm(dim, eps=eps, elementwise_affine=True, **factory)
        self.cross_attn = Attention(dim, dim, dim, config.num_heads, eps, **ops)
        self.norm2 = operations.LayerNorm(dim, eps=eps, elementwise_affine=False, **factory)
        self.ffn = nn.Sequential(
            operations.Linear(dim, config.ffn_dim, **factory),
            nn.GELU(approximate="tanh"),
            operations.Linear(config.ffn_dim, dim, **factory),
        )
        self.modulation = nn.Parameter(torch.zeros(1, 6, dim, **factory))

    def _vectors(self, context: BranchContext) -> tuple[Tensor, ...]:
        """shift1, scale1, gate1, shift2, scale2, gate2: each [B, S, dim]."""
        projection = context.projection
        return (self.modulation.to(projection).unsqueeze(1) + projection).unbind(2)

    def self_attention(self, x: Tensor, context: BranchContext) -> Tensor:
        """x [B, N, dim] -> the same, updated."""
        shift, scale, gate, *_ = self._vectors(context)
        heads = self.self_attn.heads
        y = modulate(self.norm1(x), shift, scale, context.lengths)
        q = rotate(self.self_attn.queries(y), context.rotary, heads)
        k = rotate(self.self_attn.keys(y), context.rotary, heads)
        y = self.self_attn.o(context.attention(q, k, self.self_attn.v(y), heads))
        return add_gated(x, y, gate, context.lengths)

    def cross_attention(self, x: Tensor, context: BranchContext) -> Tensor:
        """x [B, N, dim] -> the same, updated from the text."""
        heads = self.cross_attn.heads
        q, k = self.cross_attn.queries(self.norm3(x)), self.cross_attn.keys(context.text)
        if context.text_rotary is not None:
            q, k = (rotate(part, table, heads) for part, table in zip((q, k), context.text_rotary, strict=True))
        return x + self.cross_attn.o(context.attention(q, k, self.cross_attn.v(context.text), heads))

    def feed_forward(self, x: Tensor, context: BranchContext) -> Tensor:
        """x [B, N, dim] -> the same, updated token by token."""
        *_, shift, scale, gate = self._vectors(context)
        y = self.ffn(modulate(self.norm2(x), shift, scale, context.lengths))
        return add_gated(x, y, gate, context.lengths)


class Head(nn.Module):
    """LayerNorm, modulation by time (not its projection) and a linear map: [B, N, dim] -> [B, N, out_dim]."""

    def __init__(self, dim: int, out_dim: int, eps: float, *, operations: Any, **factory: Any):
        super().__init__()
        self.norm = operations.LayerNorm(dim, eps=eps, elementwise_affine=False, **factory)
        self.head = operations.Linear(dim, out_dim, **factory)
        self.modulation = nn.Parameter(torch.zeros(1, 2, dim, **factory))

    def forward(self, x: Tensor, time: Tensor, lengths: tuple[int, ...]) -> Tensor:
        """x [B, N, dim], time [B, S, dim], ``lengths`` of the S runs of tokens in x."""
        shift, scale = (self.modulation.to(time).unsqueeze(1) + time.unsqueeze(2)).unbind(2)  # each [B, S, dim]
        return self.head(modulate(self.norm(x), shift, scale, lengths))
