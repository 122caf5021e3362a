"""The loop of every training: average of the weights, progress, curves, and going on after a stop."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from time import monotonic

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

WARM_UP = 200  # steps until the learning rate is full
LAST_RATE = 0.02  # share of the learning rate that is left at the end
DECAY = 0.999  # of the averaged weights
WEIGHT_DECAY = 0.01
CLIP = 1.0  # norm of the gradient


@dataclass(frozen=True)
class Loop:
    """Where a training keeps itself, and how often.

    Several processes that have joined by `torch.distributed` learn together: each from its own part of every step.

    folder: holds NAME.pt (all that is needed to go on), NAME.jsonl and NAME.png (the losses) for each part
    """

    folder: Path
    every: int = 500
    device: str = "cpu"

    def run(
        self,
        name: str,
        model: nn.Module,
        losses: Callable[[int], dict[str, Tensor]],
        steps: int,
        optimizers: Sequence[Optimizer],
    ) -> nn.Module:
        """Trains to so many steps, going on where the folder's state stands; returns the averaged model.

        losses: what a step gives; its "loss" is what is made small, the rest is written down
        optimizers: of all parameters together, at their highest learning rates
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
        rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        start = self._read(name, {"model": model, "averaged": averaged, **numbered(optimizers)})
        sums: dict[str, float | Tensor] = {}
        since, done = monotonic(), 0
        bar = tqdm(
            range(start, steps), desc=name, unit="step", initial=start, total=steps, mininterval=10, disable=rank() > 0
        )
        for step in bar:
            for optimizer, highest in zip(optimizers, rates, strict=True):
                for group, rate in zip(optimizer.param_groups, highest, strict=True):
                    group["lr"] = rate * schedule(step, steps)
            values = losses(step)
            model.zero_grad(set_to_none=True)
            values["loss"].backward()
            share_gradients(model)
            norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            if not torch.isfinite(norm):
                raise ValueError(f"{name}: the gradient of step {step} is not finite: lower the learning rate")
            for optimizer in optimizers:
                optimizer.step()
            averaged.update_parameters(model)
            done += 1
            for key, value in values.items():
                sums[key] = sums.get(key, 0.0) + value.detach()  # no number yet: a GPU would have to be waited for
                sums[f"{key}#"] = sums.get(f"{key}#", 0) + 1
            if (step + 1) % self.every == 0 or step + 1 == steps:
                means = {key: float(total) / sums[f"{key}#"] for key, total in sums.items() if not key.endswith("#")}
                parts = {"model": model, "averaged": averaged, **numbered(optimizers)}
                self._write(name, parts, step + 1, means, (monotonic() - since) / done)
                bar.set_postfix(loss=f"{means['loss']:.4f}")
                sums, since, done = {}, monotonic(), 0
        return deepcopy(averaged.module).eval().requires_grad_(False)

    def _read(self, name: str, parts: Mapping[str, nn.Module | Optimizer]) -> int:
        """Fills the parts from the state, if there is one; returns the step it stands at."""
        path = self.folder / f"{name}.pt"
        if not path.exists():
            return 0
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            for key, part in parts.items():
                part.load_state_dict(state[key])
        except (OSError, RuntimeError, KeyError, ValueError, UnpicklingError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{path} cannot be gone on from ({reason}): delete it to begin anew") from error
        return state["step"]

    def _write(
        self, name: str, parts: Mapping[str, nn.Module | Optimizer], step: int, means: dict[str, float], seconds: float
    ) -> None:
        if rank():
            return
        unfinished = self.folder / f"{name}.pt.unfinished"
        torch.save({"step": step, **{key: part.state_dict() for key, part in parts.items()}}, unfinished)
        with (self.folder / f"{name}.jsonl").open("a") as log:
            print(json.dumps({"step": step, "seconds a step": round(seconds, 4), **means}), file=log)
        os.replace(unfinished, self.folder / f"{name}.pt")
        draw_curves(self.folder / f"{name}.jsonl")


def rank() -> int:
    """Which of the processes that learn together this is."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share_gradients(model: nn.Module) -> None:
    """The mean of the gradients of all processes that learn together; zero where a part was used by another alone."""
    if not distributed.is_initialized():
        return
    parameters = list(model.parameters())
    used = torch.tensor([parameter.grad is not None for parameter in parameters]).int()
    distributed.all_reduce(used)
    shared = [parameter for parameter, count in zip(parameters, used.tolist(), strict=True) if count]
    for parameter in shared:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    together = nn.utils.parameters_to_vector(parameter.grad for parameter in shared)
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    for parameter, part in zip(shared, together.split([one.numel() for one in shared]), strict=True):
        parameter.grad.copy_(part.view_as(parameter))


def numbered(optimizers: Sequence[Optimizer]) -> dict[str, Optimizer]:
    """By the name of each one's place in a state."""
    return {f"optimizer {number}": optimizer for number, optimizer in enumerate(optimizers)}


def adam(parameters: Iterable[nn.Parameter], rate: float) -> AdamW:
    return AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY)


@torch.no_grad()
def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
    """Moves the averaged weights towards the current ones, in the beginning faster."""
    torch._foreach_lerp_(averaged, current, 1 - min(DECAY, (1 + int(count)) / (10 + int(count))))


def schedule(step: int, steps: int) -> float:
    """Share of the learning rate: a short rise, then half a cosine down."""
    rise = min(1.0, (step + 1) / WARM_UP)
    return rise * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _rows(log: str) -> Iterator[dict[str, float]]:
    """Of a log, without lines that a stop has torn."""
    for line in log.splitlines():
        with suppress(json.JSONDecodeError):
            yield json.loads(line)


def draw_curves(log: Path) -> None:
    """The losses in a log, as a picture beside it."""
    from matplotlib.figure import Figure

    rows = list(_rows(log.read_text()))
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    names = sorted({key for row in rows for key in row} - {"step", "seconds a step"})
    for name in names:
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), label=name)
    axes.set(xlabel="step", ylabel="mean loss", yscale="log", title=log.stem)
    axes.legend()
    figure.savefig(log.with_suffix(".png"))
