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
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                momentum = state["momentum_buffer"]
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                change = orthogonal(matrix.grad.lerp(momentum, MOMENTUM))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(change, alpha=-group["lr"] * MATCH * max(matrix.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """[M, N] -> about U V^T of its singular value decomposition U S V^T."""
    wide = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = wide @ wide.mT
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if matrix.shape[0] > matrix.shape[1] else wide
