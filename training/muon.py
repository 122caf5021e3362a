"""The Muon optimizer (Jordan et al. 2024), at the precision that its matrices have.

PyTorch's own orthogonalizes in bfloat16, which takes forty times longer on a CPU without such products.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of the Newton-Schulz iteration
ITERATIONS = 4
MOMENTUM = 0.95
MATCH = 0.2  # root mean square of a change at a rate of 1, about as Adam's


class Muon(Optimizer):
    """Changes matrices by their orthogonalized momentum (Nesterov's), with decoupled weight decay."""

    def __init__(self, matrices: Iterable[nn.Parameter], rate: float, weight_decay: float):
        super().__init__(matrices, {"lr": rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}  # are changed together
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in alike.items():
                gradients = [matrix.grad for matrix in matrices]
                momenta = [self._momentum(matrix) for matrix in matrices]
                torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
                changes = orthogonal(torch.stack(torch._foreach_lerp(gradients, momenta, MOMENTUM)))
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, changes.unbind(), alpha=-group["lr"] * MATCH * max(shape) ** 0.5)

    def _momentum(self, matrix: nn.Parameter) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        return state["momentum_buffer"]


def orthogonal(matrices: Tensor) -> Tensor:
    """[B, M, N] -> about U V^T of each one's singular value decomposition U S V^T."""
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if tall else wide
