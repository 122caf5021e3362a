"""Ours against the released code and against the bare arithmetic: ``python benchmarks/run.py --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

if __name__ == "__main__":  # as a script, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import released
from benchmarks.cases import SIZES, TASKS, Size, make_inputs, make_model
from benchmarks.floor import record
from benchmarks.measure import machine, peak_bytes, seconds
from uniavgen_core.model import JointModel
from uniavgen_core.sampling import Guidance, draw_noise, sample, timesteps

BOUND = 1e-4  # relative L2 error in float32 above which there is nothing to compare
RESULTS = Path(__file__).with_name("RESULTS.md")
TIME = torch.tensor([700.0])
RUNS = ("joint", "dubbing", "audio-driven")
Row = tuple[Any, ...]


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    sections = [f"{machine(options.device)}, {options.dtype}, {date.today()}"]
    dtype = getattr(torch, options.dtype)
    with torch.no_grad():
        for name in options.size:
            size = SIZES[name]
            model = make_model(size.config, options.device, dtype)
            theirs = options.released and released.load(options.released, model)
            for kind, rows in (
                ("forward", forwards(size, model, theirs, options)),
                (f"run of {options.steps} steps", [] if options.no_runs else runs(size, model, theirs, options)),
            ):
                sections.append(table(f"{name}, {kind}", rows))
                print(sections[-1], flush=True)
    if options.write:
        RESULTS.write_text("\n\n".join(["# Results", *sections]) + "\n")
    return 0


def forwards(size: Size, model: JointModel, theirs: nn.Module | None, options: argparse.Namespace) -> list[Row]:
    """One pass in the middle of a run, what does not change in it prepared."""
    rows = []
    for name, task in TASKS.items():
        latent, conditions, _ = make_inputs(size, task, options.device)
        latent = latent.map(lambda x: x.to(model.patch_embedding.weight.dtype))
        time = TIME.to(options.device)
        prepared = model.prepare(latent, conditions)

        def ours(latent=latent, conditions=conditions, prepared=prepared, time=time, **told: Any):
            return model(latent, time, conditions, prepared=prepared, **told)

        work = record(model, lambda work, ours=ours: ours(attention=work.attention))
        calls: dict[str, Callable[[], Any]] = {"ours": ours, "floor": work.replay(latent.video)}
        if theirs is not None:
            calls["released"] = lambda latent=latent, conditions=conditions, time=time: released.forward(
                theirs, latent, time, conditions
            )
        best = seconds(calls, options.repeats, options.device)
        memory = {key: peak_bytes(call, options.device) for key, call in calls.items()}
        rows.append(row(name, best, memory, work.flops, calls, options))
    return rows


def runs(size: Size, model: JointModel, theirs: nn.Module | None, options: argparse.Namespace) -> list[Row]:
    """Whole runs with the released guidance; preparation counts."""
    rows = []
    guidance, schedule = Guidance.for_layers(size.config.num_layers), timesteps(options.steps, 5.0)
    for name in RUNS:
        latent, *told = make_inputs(size, TASKS[name], options.device)
        arguments = (latent, *told, guidance, schedule, draw_noise(latent, 0))
        calls: dict[str, Callable[[], Any]] = {"ours": lambda arguments=arguments: sample(model, *arguments)[0]}
        if theirs is not None:
            calls["released"] = lambda arguments=arguments: released.sample(theirs, *arguments)
        best = seconds(calls, options.run_repeats, options.device)
        rows.append(row(name, best, {}, 0, calls, options))
    return rows


def row(
    name: str,
    best: dict[str, float],
    memory: dict[str, int],
    flops: int,
    calls: dict[str, Callable[[], Any]],
    options: argparse.Namespace,
) -> Row:
    error = None
    if "released" in calls:
        pairs = zip(parts(calls["ours"]()), parts(calls["released"]()), strict=True)
        error = max(float((a - b).norm() / b.norm()) for a, b in pairs)
        if options.dtype == "float32" and not error <= BOUND:
            raise SystemExit(f"{name}: the outputs differ by {error:.1e}, more than {BOUND:.0e}: nothing to compare")
    ours, theirs, floor = (best.get(key) for key in ("ours", "released", "floor"))
    return (
        name,
        number(ours, "s"),
        number(theirs, "s"),
        number(theirs and theirs / ours, "x"),
        number(floor, "s"),
        number(floor and ours / floor, "x"),
        number(flops and flops / 1e9, "GFLOP"),
        *(number(key in memory and memory[key] / 1e6, "MB") for key in ("ours", "released")),
        "" if error is None else f"{error:.0e}",
    )


def parts(result: Any) -> tuple[Tensor, Tensor]:
    return result.video.float(), result.audio.float()


def number(value: float | None, unit: str) -> str:
    return f"{value:.3g} {unit}" if value else ""


def table(title: str, rows: list[Row]) -> str:
    """Markdown."""
    head = ("", "ours", "released", "faster", "floor", "ours / floor", "floor's", "memory", "released", "difference")
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join([f"## {title}", "", *("| " + " | ".join(line) + " |" for line in lines)]) if rows else ""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Times passes and runs, and writes a table.")
    parser.add_argument("--released", type=Path, metavar="FOLDER", help=f"a checkout of {released.URL}")
    parser.add_argument("--size", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--steps", type=int, default=50, help="of a run")
    parser.add_argument("--repeats", type=int, default=5, help="of a forward; the shortest counts")
    parser.add_argument("--run-repeats", type=int, default=1, help="of a run")
    parser.add_argument("--no-runs", action="store_true", help="forwards only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--write", action="store_true", help=f"into {RESULTS.name}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
