"""The one door to the attention kernel, and the projections around it."""

from __future__ import annotations

from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

KeysAndValues = tuple[Tensor, Tensor]


class AttentionFunction(Protocol):
    """Softmax attention over all keys: q [B, N, heads * d], k and v [B, M, heads * d] -> [B, N, heads * d]."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor: ...


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """The default `AttentionFunction`: PyTorch's own kernel choice."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, N, d]
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Projections of one attention, with queries and keys RMS-normalised over the full width (released names)."""

    def __init__(
        self, query_dim: int, context_dim: int, dim: int, heads: int, eps: float, *, operations: Any, **factory: Any
    ):
        super().__init__()
        self.heads = heads
        self.q = operations.Linear(query_dim, dim, **factory)
        self.k = operations.Linear(context_dim, dim, **factory)
        self.v = operations.Linear(context_dim, dim, **factory)
        self.o = operations.Linear(dim, query_dim, **factory)
        self.norm_q = operations.RMSNorm(dim, eps=eps, **factory)
        self.norm_k = operations.RMSNorm(dim, eps=eps, **factory)

    def queries(self, x: Tensor) -> Tensor:
        """[B, N, query_dim] -> [B, N, dim], normalised."""
        return self.norm_q(self.q(x))

    def keys(self, context: Tensor) -> Tensor:
        """[B, M, context_dim] -> [B, M, dim], normalised."""
        return self.norm_k(self.k(context))
