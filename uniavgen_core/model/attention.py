"""The one door to the attention kernel, attention to mixed contexts, and the projections around them."""

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


def mixed_attention(
    q: Tensor, first: KeysAndValues, second: KeysAndValues, shares: tuple[Tensor, Tensor], weights: Tensor, heads: int
) -> Tensor:
    """Attention to a mix of two contexts, another one for each query, which is never made.

    q: [..., N, heads * d]; first, second: keys and values of the contexts, each [..., M, heads * d]
    shares: of each context's keys in the mix, [..., N, M]; weights: of the second context's values, [..., N]

    Queries meet keys before the mix, and weigh values after it. Returns [..., N, heads * d].

    No `AttentionFunction` computes it: the mix is normalised, so that a key's share depends on query and key together,
    and a kernel would need a context made for each query. At the release's size these products are 0.007 % of the
    arithmetic of a joint pass, 1.7 % of one that dubs. They are float32: bfloat16 logits would double the error.
    """
    dtype = q.dtype
    q, *pairs = (x.unflatten(-1, (heads, -1)).transpose(-3, -2).contiguous().float() for x in (q, *first, *second))
    k, v, k_second, v_second = pairs  # [..., heads, M, d]
    share, share_second = (share.unsqueeze(-3) for share in shares)  # [..., 1, N, M]
    logits = (q @ k.mT) * share + (q @ k_second.mT) * share_second
    a = weights[..., None, :, None]
    attended = (logits * q.shape[-1] ** -0.5).softmax(dim=-1)  # [..., heads, N, M]
    y = (1 - a) * (attended @ v) + a * (attended @ v_second)
    return y.transpose(-3, -2).flatten(-2).to(dtype)


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
