"""The shifted flow-matching schedule of the release."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAX_TIMESTEP = 1000.0
SHIFT = 5.0
STEPS = 50


def timesteps(steps: int = STEPS, shift: float = SHIFT) -> Tensor:
    """``steps + 1`` falling timesteps in [0, 1000], float32, on the CPU.

    1000 ... 1 evenly, then 0, each moved by t' = s t / (1 + (s - 1) t) on t / 1000 (released behaviour).
    Raises ``ValueError`` for steps below 1 or a shift that is not a positive number.
    """
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step, not {steps}")
    if not (math.isfinite(shift) and shift > 0):
        raise ValueError(f"shift must be a positive number, not {shift} (the release uses {SHIFT:g})")
    even = torch.cat((torch.linspace(MAX_TIMESTEP, 1.0, steps, dtype=torch.float64), torch.zeros(1)))
    even = even.float() / MAX_TIMESTEP  # float32 before the shift, as released
    return shift * even / (1 + (shift - 1) * even) * MAX_TIMESTEP
