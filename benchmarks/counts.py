"""Arithmetic of whole runs, counted on PyTorch's meta device: shapes without numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import released
from benchmarks.cases import Size, Task, make_inputs
from benchmarks.floor import Work, record
from uniavgen_core.model import JointModel
from uniavgen_core.sampling import Guidance, sample, timesteps


def flops_of_run(size: Size, task: Task, steps: int, checkout: Path | None) -> dict[str, float]:
    """FLOPs of a run with the released guidance, an even number of ``steps``: ours, and that of a checkout."""
    model = JointModel(size.config, device="meta")
    latent, *told = make_inputs(size, task, "meta")
    guidance = Guidance.for_layers(size.config.num_layers)

    def ours(steps: int) -> Any:
        return sample(model, latent, *told, guidance, timesteps(steps), latent)

    runs = {"ours": ours}
    if checkout is not None:
        with torch.device("meta"):
            theirs = released.load(checkout, model)
        runs["released"] = lambda steps: released.sample(theirs, latent, *told, guidance, timesteps(steps), latent)
    # half of the steps are guided in each of two ways, so that two steps cost what any other two cost
    return {name: counted(run, 2) + (counted(run, 4) - counted(run, 2)) / 2 * (steps - 2) for name, run in runs.items()}


def work_of_run(size: Size, task: Task, steps: int) -> Work:
    """The products and attentions of a run of ours with the released guidance."""
    model = JointModel(size.config, device="meta")
    latent, *told = make_inputs(size, task, "meta")
    arguments = (latent, *told, Guidance.for_layers(size.config.num_layers), timesteps(steps), latent)
    return record(model, lambda work: sample(model, *arguments, attention=work.attention))


def counted(run: Callable[[int], Any], steps: int) -> float:
    """Two for each multiplication with its addition, in matrix products, convolutions and attention."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run(steps)
    return counter.get_total_flops()
