"""One DiT block of a branch, the output heads, and the modulation by time that they share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import BranchConfig
from .attention import Attention, AttentionFunction, KeysAndValues
from .rope import RotaryTable, rotate

GELU_LINEAR, GELU_CUBIC = (2 / math.pi) ** 0.5, 0.044715  # u = linear (x + cubic x^3)


@dataclass(frozen=True)
class BranchContext:
    """What the blocks of one branch read besides its tokens and its text; the same for every layer of a pass.

    time: [B, S, dim], one embedding per distinct timestep (S = 2 for video: clean, noisy; 1 for audio)
    projection: [B, S, 6, dim], the same for the blocks
    groups: [G] int64, which of the S timesteps each of G equally long runs of tokens has (latents; all of the audio)
    rotary: positions of the tokens
    text_query_rotary: positions of the tokens in cross-attention, or None for none
    """

    time: Tensor
    projection: Tensor
    groups: Tensor
    rotary: RotaryTable
    text_query_rotary: RotaryTable | None
    attention: AttentionFunction


def modulate(x: Tensor, shift: Tensor, scale: Tensor, groups: Tensor) -> Tensor:
    """x * (1 + scale) + shift, with a row of shift and scale [B, S, dim] for each group of tokens in x [B, N, dim]."""
    shift, scale = (part[:, groups].unsqueeze(2) for part in (shift, 1 + scale))  # [B, G, 1, dim]
    return torch.addcmul(shift, x.unflatten(1, (len(groups), -1)), scale).flatten(1, 2)


def add_gated(x: Tensor, y: Tensor, gate: Tensor, groups: Tensor) -> Tensor:
    """x + y * gate, with a row of gate [B, S, dim] for each group of tokens in x, y [B, N, dim]."""
    x, y = (part.unflatten(1, (len(groups), -1)) for part in (x, y))
    return torch.addcmul(x, y, gate[:, groups].unsqueeze(2)).flatten(1, 2)


class GELU(nn.Module):
    """GELU in its tanh approximation, [...] -> [...].

    In float32 on a CPU by the logistic function, (1 + tanh u) / 2 = 1 / (1 + exp(-2 u)): the same up to rounding, and
    PyTorch's own, which is left for learning, takes twice as long.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dtype != torch.float32 or x.requires_grad:
            return F.gelu(x, approximate="tanh")
        y = (x * x).mul_(2 * GELU_LINEAR * GELU_CUBIC).add_(2 * GELU_LINEAR)  # 2 u / x
        return y.mul_(x).sigmoid_().mul_(x)


class Block(nn.Module):
    """Self-attention, cross-attention to the text, feed-forward. ``PARTS`` names them in their order."""

    PARTS = ("self_attention", "cross_attention", "feed_forward")

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
            GELU(),
            operations.Linear(config.ffn_dim, dim, **factory),
        )
        self.modulation = nn.Parameter(torch.zeros(1, 6, dim, **factory))

    def _vectors(self, context: BranchContext) -> tuple[Tensor, ...]:
        """shift1, scale1, gate1, shift2, scale2, gate2: each [B, S, dim]."""
        projection = context.projection
        return (self.modulation.to(projection).unsqueeze(1) + projection).unbind(2)

    def read(self, text: Tensor, positions: RotaryTable | None) -> KeysAndValues:
        """Text [B, M, dim], at its positions, as keys and values of the cross-attention."""
        keys = self.cross_attn.keys(text)
        if positions is not None:
            keys = rotate(keys, positions, self.cross_attn.heads)
        return keys, self.cross_attn.v(text)

    def forward(self, x: Tensor, context: BranchContext, text: KeysAndValues, parts: tuple[str, ...] = PARTS) -> Tensor:
        """x [B, N, dim] -> the same after these parts of the block. text: what `read` gave."""
        for part in parts:
            x = getattr(self, part)(x, context, text)
        return x

    def self_attention(self, x: Tensor, context: BranchContext, _: KeysAndValues) -> Tensor:
        shift, scale, gate, *_ = self._vectors(context)
        heads = self.self_attn.heads
        y = modulate(self.norm1(x), shift, scale, context.groups)
        q = rotate(self.self_attn.queries(y), context.rotary, heads)
        k = rotate(self.self_attn.keys(y), context.rotary, heads)
        y = self.self_attn.o(context.attention(q, k, self.self_attn.v(y), heads))
        return add_gated(x, y, gate, context.groups)

    def cross_attention(self, x: Tensor, context: BranchContext, text: KeysAndValues) -> Tensor:
        heads, (keys, values) = self.cross_attn.heads, text
        if keys.shape[1] == 1:  # whatever the query, the only value is the result
            return x + self.cross_attn.o(values)
        q = self.cross_attn.queries(self.norm3(x))
        if context.text_query_rotary is not None:
            q = rotate(q, context.text_query_rotary, heads)
        return x + self.cross_attn.o(context.attention(q, keys, values, heads))

    def feed_forward(self, x: Tensor, context: BranchContext, _: KeysAndValues) -> Tensor:
        *_, shift, scale, gate = self._vectors(context)
        y = self.ffn(modulate(self.norm2(x), shift, scale, context.groups))
        return add_gated(x, y, gate, context.groups)


class Head(nn.Module):
    """LayerNorm, modulation by time (not its projection) and a linear map: [B, N, dim] -> [B, N, out_dim]."""

    def __init__(self, dim: int, out_dim: int, eps: float, *, operations: Any, **factory: Any):
        super().__init__()
        self.norm = operations.LayerNorm(dim, eps=eps, elementwise_affine=False, **factory)
        self.head = operations.Linear(dim, out_dim, **factory)
        self.modulation = nn.Parameter(torch.zeros(1, 2, dim, **factory))

    def forward(self, x: Tensor, time: Tensor, groups: Tensor) -> Tensor:
        """x [B, N, dim], time [B, S, dim], ``groups`` [G] of the tokens in x."""
        shift, scale = (self.modulation.to(time).unsqueeze(1) + time.unsqueeze(2)).unbind(2)  # each [B, S, dim]
        return self.head(modulate(self.norm(x), shift, scale, groups))
