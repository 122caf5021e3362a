"""The arithmetic floor: the matrix products and attentions of a pass, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from uniavgen_core.model.attention import scaled_dot_product


@dataclass
class Work:
    """What ran: (M, K, N) of each matrix product of a layer, (B, M, K, N) of other batches of products, and
    (B, heads, N, M, d) of each attention."""

    products: list[tuple[int, int, int]] = field(default_factory=list)
    batches: list[tuple[int, int, int, int]] = field(default_factory=list)
    attentions: list[tuple[int, int, int, int, int]] = field(default_factory=list)

    @property
    def flops(self) -> int:
        """Two for each multiplication with its addition."""
        products = sum(2 * m * k * n for m, k, n in self.products)
        batches = sum(2 * b * m * k * n for b, m, k, n in self.batches)
        return products + batches + sum(4 * b * heads * n * m * d for b, heads, n, m, d in self.attentions)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """Attention that is recorded."""
        batch, n, dim = q.shape
        self.attentions.append((batch, heads, n, k.shape[1], dim // heads))
        return torch.empty_like(q) if q.is_meta else scaled_dot_product(q, k, v, heads)

    def replay(self, like: Tensor) -> Callable[[], None]:
        """All of it again on random numbers of the device and dtype of ``like``, memory taken beforehand."""

        def randn(*shape: int) -> Tensor:
            return torch.randn(shape, device=like.device, dtype=like.dtype)

        shapes = set(self.products)
        factors = {(m, k, n): (randn(m, k), randn(n, k).T, randn(m, n)) for m, k, n in shapes}
        batched = {
            (b, m, k, n): (randn(b, m, k), randn(b, n, k).mT, randn(b, m, n)) for b, m, k, n in set(self.batches)
        }
        heads = {s: (randn(*s[:3], s[4]), *(randn(*s[:2], s[3], s[4]) for _ in "kv")) for s in set(self.attentions)}

        def run() -> None:
            for shape in self.products:
                a, b, out = factors[shape]
                torch.mm(a, b, out=out)
            for shape in self.batches:
                a, b, out = batched[shape]
                torch.bmm(a, b, out=out)
            for shape in self.attentions:
                F.scaled_dot_product_attention(*heads[shape])

        return run


class BatchesOfProducts(TorchDispatchMode):
    """Records products that no layer makes."""

    def __init__(self, work: Work):
        super().__init__()
        self.work = work

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operation is torch.ops.aten.bmm.default:
            a, b = args
            self.work.batches.append((*a.shape, b.shape[2]))
        return operation(*args, **(kwargs or {}))


def record(model: nn.Module, forward: Callable[[Work], object]) -> Work:
    """The products and attentions of what ``forward`` runs; it gets the record, whose `attention` it must use."""
    work = Work()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            work.products.append((inputs[0].numel() // module.in_features, module.in_features, module.out_features))
        elif isinstance(module, nn.Conv1d | nn.Conv3d):
            outputs = output.shape[1]
            work.products.append((output.numel() // outputs, module.weight[0].numel(), outputs))

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with BatchesOfProducts(work):
            forward(work)
    finally:
        for hook in hooks:
            hook.remove()
    return work
