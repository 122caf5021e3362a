"""Ours against the released code and against the bare arithmetic: ``python benchmarks/run.py --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

if __name__ == "__main__":  # as a script, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import growth, released
from benchmarks.cases import RELEASE_SIZE, SIZES, TASKS, TIME, Size, make_inputs, make_model
from benchmarks.counts import flops_of_run, work_of_run
from benchmarks.floor import record
from benchmarks.measure import keep_memory, machine, peak_bytes, seconds
from uniavgen_core.model import JointModel
from uniavgen_core.sampling import Guidance, draw_noise, sample, timesteps

BOUND = 1e-4  # relative L2 error in float32 above which there is nothing to compare
RESULTS = Path(__file__).with_name("RESULTS.md")
RUNS = ("joint", "dubbing", "audio-driven")
SAVINGS = {  # what can be chosen instead of the release's guidance and steps
    "guidance only in the interval (paper)": (Guidance.paper(), 1),
    "half of the steps": (None, 2),
    "a quarter of the steps, scales 1": (Guidance(scale_video=1.0, scale_audio=1.0), 4),
}
RUN_SIZES = ("small", "medium")  # with one layer there is none to skip
GROWTH_SIZE = "medium"
Row = dict[str, str]


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    before = RESULTS.read_text().rstrip() if options.write == "add" else "# Results"
    asked = f"{', '.join(options.part)} of {', '.join(options.task)} at size {', '.join(options.size)}"
    texts = [f"One process: {asked}. {machine(options.device)}, {options.dtype}, {date.today()}"]
    with torch.no_grad():
        for title, rows in sections(options):
            texts.append(table(title, rows))
            print(texts[-1], end="\n\n", flush=True)
            if options.write:
                RESULTS.write_text("\n\n".join([before, *texts]) + "\n")
    return 0


def sections(options: argparse.Namespace) -> Iterator[tuple[str, list[Row]]]:
    """Titles and rows of the tables that are asked for."""
    dtype = getattr(torch, options.dtype)
    for name in options.size:
        yield from sections_of_size(name, options, options.part)
    if "growth" in options.part:
        model = make_model(SIZES[GROWTH_SIZE].config, options.device, dtype)
        yield f"{GROWTH_SIZE}, growth of a joint forward", growth_rows(SIZES[GROWTH_SIZE], model, options)
    if "counts" in options.part:
        rows = [count_row(name, options) for name in RUNS if name in options.task]
        yield f"release size (736x1312, 81 frames), arithmetic of {options.steps} steps", rows
    if options.kept:
        keep_memory()
        for title, rows in sections_of_size(options.kept, options, ("forwards", "runs")):
            yield f"{title}, with memory kept", rows


def sections_of_size(name: str, options: argparse.Namespace, wanted: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
    size = SIZES[name]
    model = make_model(size.config, options.device, getattr(torch, options.dtype))
    theirs = options.released and released.load(options.released, model)
    if "forwards" in wanted:
        yield f"{name}, forward", [forward_row(task, size, model, theirs, options) for task in options.task]
    runs = [task for task in RUNS if task in options.task]
    if name not in RUN_SIZES:
        return
    if "runs" in wanted:
        yield f"{name}, run of {options.steps} steps", [run_row(n, size, model, theirs, options) for n in runs]
    if "savings" in wanted:
        yield f"{name}, what can be left out of {options.steps} joint steps", savings_rows(size, model, options)


def forward_row(name: str, size: Size, model: JointModel, theirs: nn.Module | None, options: argparse.Namespace) -> Row:
    """One pass in the middle of a run, what does not change in it prepared."""
    latent, conditions, _ = make_inputs(size, TASKS[name], options.device)
    latent = latent.map(lambda x: x.to(model.patch_embedding.weight.dtype))
    time, prepared = TIME.to(options.device), model.prepare(latent, conditions)

    def ours(model: JointModel = model, **told: Any) -> Any:
        return model(latent, time, conditions, prepared=prepared, **told)

    work = record(model, lambda work: ours(attention=work.attention))
    calls: dict[str, Callable[[], Any]] = {"ours": ours, "floor": work.replay(latent.video)}
    if theirs is not None:
        calls["released"] = lambda: released.forward(theirs, latent, time, conditions)
    if options.compile:
        compiled = compile_blocks(make_model(size.config, options.device, latent.video.dtype))
        calls["compiled"] = lambda: ours(compiled)
        calls["compiled"]()
    best = seconds(calls, options.repeats, options.device)
    memory = {key: peak_bytes(calls[key], options.device) for key in ("ours", "released") if key in calls}
    return {
        "": name,
        **times(best),
        "floor": number(best["floor"], "s"),
        "ours / floor": number(best["ours"] / best["floor"], "x"),
        **({"compiled / floor": number(best["compiled"] / best["floor"], "x")} if options.compile else {}),
        "arithmetic": number(work.flops / 1e9, "GFLOP"),
        **{f"memory, {key}": number(value / 1e6, "MB") for key, value in memory.items()},
        **difference(name, calls, options),
    }


def run_row(name: str, size: Size, model: JointModel, theirs: nn.Module | None, options: argparse.Namespace) -> Row:
    """A whole run with the released guidance; preparation counts."""
    latent, *told = make_inputs(size, TASKS[name], options.device)
    guidance, schedule = Guidance.for_layers(size.config.num_layers), timesteps(options.steps, 5.0)
    arguments = (latent, *told, guidance, schedule, draw_noise(latent, 0))
    results: dict[str, Any] = {}
    work = work_of_run(size, TASKS[name], options.steps)

    def keep(key: str, run: Callable[..., Any], *first: Any) -> Callable[[], None]:
        return lambda: results.__setitem__(key, run(*first, *arguments))

    calls = {"ours": keep("ours", lambda *given: sample(*given)[0], model)}
    if theirs is not None:
        calls["released"] = keep("released", released.sample, theirs)
    best = seconds(
        {**calls, "floor": work.replay(model.patch_embedding.weight)}, options.run_repeats, options.device, warm=False
    )
    return {
        "": name,
        **times(best),
        "floor": number(best["floor"], "s"),
        "ours / floor": number(best["ours"] / best["floor"], "x"),
        **({"released / floor": number(best["released"] / best["floor"], "x")} if "released" in best else {}),
        "arithmetic": number(work.flops / 1e12, "TFLOP"),
        **difference(name, {key: lambda key=key: results[key] for key in calls}, options),
    }


def savings_rows(size: Size, model: JointModel, options: argparse.Namespace) -> list[Row]:
    """Runs that compute less, and how far their results are from the full one's: what random weights make of it."""
    latent, *told = make_inputs(size, TASKS["joint"], options.device)
    full, noise = Guidance.for_layers(size.config.num_layers), draw_noise(latent, 0)
    results, calls = {}, {}
    for name, (guidance, share) in {"all": (None, 1), **SAVINGS}.items():
        guidance = replace(guidance or full, skip_layers=full.skip_layers)

        def call(name: str = name, guidance: Guidance = guidance, share: int = share) -> None:
            schedule = timesteps(options.steps // share, 5.0)
            results[name] = sample(model, latent, *told, guidance, schedule, noise)[0]

        calls[name] = call
    best = seconds(calls, options.run_repeats, options.device, warm=False)
    rows = []
    for name, taken in best.items():
        pairs = zip(parts(results[name]), parts(results["all"]), strict=True)
        video, audio = (f"{float((a - b).norm() / b.norm()):.2f}" for a, b in pairs)
        faster = number(best["all"] / taken, "x")
        rows.append({"": name, "time": number(taken, "s"), "faster": faster, "video off by": video, "audio": audio})
    return rows


def growth_rows(size: Size, model: JointModel, options: argparse.Namespace) -> list[Row]:
    rows = []
    for what, clips in growth.clips(size):
        amounts = [amount for amount, _ in clips]
        measured = [growth.of_forward(model, clip, options.repeats, options.device) for _, clip in clips]
        for quantity, unit, share in (("time", "s", 1), ("memory", "MB", 1e6), ("arithmetic", "GFLOP", 1e9)):
            values = [entry[quantity] for entry in measured]
            rows.append(
                {
                    "with": what,
                    "grows": quantity,
                    **{
                        f"at {factor:g} x": number(v / share, unit)
                        for factor, v in zip(growth.FACTORS, values, strict=True)
                    },
                    "exponent": f"{growth.exponent(amounts, values):.2f}",
                }
            )
    return rows


def count_row(name: str, options: argparse.Namespace) -> Row:
    flops = flops_of_run(RELEASE_SIZE, TASKS[name], options.steps, options.released)
    row = {"": name, **{key: number(value / 1e15, "PFLOP") for key, value in flops.items()}}
    return row | ({"fewer": number(flops["released"] / flops["ours"], "x")} if "released" in flops else {})


def compile_blocks(model: JointModel) -> JointModel:
    """Each block and aligner by itself, as the host's TorchCompileModel does it with blocks."""
    for modules in (model.blocks, model.audio_blocks, model.a2v_blocks, model.v2a_blocks):
        for module in modules:
            module.compile(fullgraph=True, dynamic=False)
    return model


def times(best: dict[str, float]) -> Row:
    row = {key: number(best[key], "s") for key in ("ours", "compiled", "released") if key in best}
    return row | ({"faster": number(best["released"] / best["ours"], "x")} if "released" in best else {})


def difference(name: str, calls: dict[str, Callable[[], Any]], options: argparse.Namespace) -> Row:
    """Between the results of ours and the released code. Ends the program if they are not the same."""
    if "released" not in calls:
        return {}
    pairs = zip(parts(calls["ours"]()), parts(calls["released"]()), strict=True)
    error = max(float((a - b).norm() / b.norm()) for a, b in pairs)
    if options.dtype == "float32" and not error <= BOUND:
        raise SystemExit(f"{name}: the outputs differ by {error:.1e}, more than {BOUND:.0e}: nothing to compare")
    return {"difference": f"{error:.0e}"}


def parts(result: Any) -> tuple[Tensor, Tensor]:
    return result.video.float(), result.audio.float()


def number(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}"


def table(title: str, rows: list[Row]) -> str:
    """Markdown."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([row[key] for key in head] for row in rows)]
    return "\n".join([f"## {title}", "", *("| " + " | ".join(line) + " |" for line in lines)])


def parse(arguments: list[str] | None) -> argparse.Namespace:
    choices = ("forwards", "runs", "savings", "growth", "counts")
    parser = argparse.ArgumentParser(description="Times passes and runs, and writes tables.")
    parser.add_argument("--released", type=Path, metavar="FOLDER", help=f"a checkout of {released.URL}")
    parser.add_argument("--part", nargs="+", choices=choices, default=choices)
    parser.add_argument("--size", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument(
        "--task", nargs="+", choices=list(TASKS), default=list(TASKS), help="of forwards, runs and counts"
    )
    parser.add_argument("--steps", type=int, default=50, help="of a run: an even number, 4 or more")
    parser.add_argument("--repeats", type=int, default=5, help="of a forward; the shortest counts")
    parser.add_argument("--run-repeats", type=int, default=1, help="of a run")
    parser.add_argument(
        "--kept",
        choices=RUN_SIZES,
        help="in the end this size again, in a process that keeps the memory it has once had, as PyTorch does on a GPU",
    )
    parser.add_argument("--compile", action="store_true", help="also with each block compiled")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--write", choices=["anew", "add"], help=f"into {RESULTS.name}")
    options = parser.parse_args(arguments)
    if options.steps < 4 or options.steps % 2:
        parser.error("--steps must be an even number, 4 or more: savings are measured with a quarter of them")
    if set(options.part) <= {"runs", "savings"} and not set(options.size) & set(RUN_SIZES):
        parser.error(f"runs and savings need --size {' or '.join(RUN_SIZES)}: there is one layer, and none to skip")
    if min(options.repeats, options.run_repeats) < 1:
        parser.error("--repeats and --run-repeats must be 1 or more")
    return options


if __name__ == "__main__":
    sys.exit(main())
