"""The shifted flow-matching schedule of the release."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import MAX_TIMESTEP

SHIFT = 5.0
STEPS = 50
MAX_STEPS = 10_000
SHIFTS = (0.01, 1000.0)


def timesteps(steps: int = STEPS, shift: float = SHIFT) -> Tensor:
    """``steps + 1`` falling timesteps in [0, 1000], float32, on the CPU.

    1000 ... 1 evenly, then 0, each moved by t' = s t / (1 + (s - 1) t) on t / 1000 (released behaviour).
    Raises ``ValueError`` for steps outside 1 ... 10000 or a shift outside 0.01 ... 1000.
    """
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step, not {steps}")
    if steps > MAX_STEPS:
        raise ValueError(f"sampling takes at most {MAX_STEPS} steps, not {steps} (the release uses {STEPS})")
    if not SHIFTS[0] <= shift <= SHIFTS[1]:  # NaN neither
        raise ValueError(
            f"shift must be a number from {SHIFTS[0]:g} to {SHIFTS[1]:g}, not {shift} (the release uses {SHIFT:g})"
        )
    even = torch.cat((torch.linspace(MAX_TIMESTEP, 1.0, steps, dtype=torch.float64), torch.zeros(1)))
    even = even.float() / MAX_TIMESTEP  # float32 before the shift, as released
    return shift * even / (1 + (shift - 1) * even) * MAX_TIMESTEP
