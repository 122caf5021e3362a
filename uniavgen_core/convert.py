"""`python -m uniavgen_core convert`: published weights -> one safetensors file in the number format you want."""

from __future__ import annotations

import argparse
import csv
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .checkpoint.conversion import Loss

SUMMARY = "weights become one .safetensors file"
DESCRIPTION = (
    f"{SUMMARY}: the joint model (a folder with its index, or a file), or the bundle's text encoder and VAE (.pth), "
    "which get the names that ComfyUI's 'Load CLIP' and 'Load VAE' read. What each tensor loses is reported."
)
FORMATS = {
    "bf16": "16 bits for every number",
    "fp8": "8 bits and a scale for the large matrices of the blocks, as ComfyUI runs them, bf16 for the rest",
    "same": "as stored",
}
WORST = 5


def add_convert(tasks: argparse._SubParsersAction, **shared: object) -> None:
    """Adds the command; ``shared`` goes to its parser."""
    parser = tasks.add_parser("convert", help=SUMMARY, description=DESCRIPTION, **shared)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder, .safetensors, .index.json or .pth")
    parser.add_argument("target", type=Path, metavar="TARGET", help="the .safetensors to write; replaced if it exists")
    formats = "; ".join(f"{name}: {what}" for name, what in FORMATS.items())
    parser.add_argument("--dtype", choices=FORMATS, default="bf16", help=formats)
    parser.add_argument(
        "--tokenizer", type=Path, metavar="FILE", help="spiece.model of umT5 (default: beside the text encoder)"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="a .csv with the error of every tensor")
    parser.set_defaults(run=run)


def convert(
    source: Path,
    target: Path,
    dtype: str = "bf16",
    tokenizer: Path | None = None,
    report: Path | None = None,
    written: Callable[[int, int], object] = lambda done, of: None,
) -> tuple[str, list[Loss]]:
    """Writes ``source`` to ``target`` tensor by tensor. Returns what it is and what each tensor lost.

    tokenizer: of the text encoder, None for the one beside it
    report: a .csv to write what each tensor lost to, or None
    written: is told the bytes of each piece and of the whole
    Raises ``CheckpointError`` before anything is written, except for damage that only the numbers show; then, as when
    it is interrupted, there is no file.
    """
    import torch

    from .checkpoint import CheckpointError
    from .checkpoint.conversion import Conversion
    from .checkpoint.parts import open_source, part_of
    from .checkpoint.stream import Group, Layout, write
    from .files import fault_of

    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target} must end in .safetensors")
    if not target.parent.is_dir():
        raise CheckpointError(f"there is no folder {target.parent}: make it first")
    if os.path.exists(target) and not os.path.isfile(target):
        raise CheckpointError(fault_of(target))
    opened = open_source(source)
    for file in filter(None, (target, report)):
        if file.exists() and any(file.samefile(read) for read in opened.files):
            raise CheckpointError(f"{file} is what is to be converted: choose another name")
    taken = report is not None and os.path.exists(report) and not os.path.isfile(report)
    if report is not None and (taken or report.suffix == ".safetensors" or not report.parent.is_dir()):
        raise CheckpointError(f"the report {report} must be a .csv in a folder that is there")
    part = part_of(opened, source, tokenizer)
    if dtype == "fp8" and part.quantised is None:
        raise CheckpointError(f"{part.what} is not run in fp8: choose bf16 or same")
    conversion = Conversion(
        opened,
        part.names,
        None if dtype == "same" else torch.bfloat16,
        part.quantised if dtype == "fp8" else None,
    )
    groups = list(conversion.groups())
    groups += [Group({name: Layout(x.dtype, tuple(x.shape))}, [x]) for name, x in part.more.items()]
    metadata = {
        "format": "pt",
        "title": f"UniAVGen: {part.what}",
        "dtype": dtype,
        "source": source.name,
        **part.metadata,
    }
    whole = sum(layout.bytes for group in groups for layout in group.layouts.values())
    write(target, groups, metadata, lambda done: written(done, whole))
    if report is not None:
        write_report(report, conversion.losses)
    return part.what, conversion.losses


def run(options: argparse.Namespace) -> None:
    """The command. Raises ``ValueError`` or ``OSError`` with a sentence."""
    from tqdm import tqdm

    from .checkpoint import parts  # noqa: F401  before Ctrl-C is an exception, which an import could swallow

    for sent in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)):
        if callable(signal.getsignal(sent)):
            signal.signal(sent, signal.default_int_handler)
    with tqdm(unit="B", unit_scale=True, desc="converting", delay=1e-3, file=sys.stderr) as bar:

        def written(done: int, of: int) -> None:
            bar.total = of
            bar.update(done)

        what, losses = convert(
            options.source, options.target, options.dtype, options.tokenizer, options.report, written
        )
    size = options.target.stat().st_size
    changed = sorted((loss for loss in losses if loss.squared_error), key=lambda loss: -loss.relative)
    print(f"{options.target}: {what} in {options.dtype}, {size / 1e6:.1f} MB, {len(losses)} tensors")
    if changed:
        print(f"{len(changed)} tensors changed; the largest relative errors (L2):")
        for loss in changed[:WORST]:
            print(f"  {loss.relative:.2e}  {loss.name}")


def write_report(path: Path, losses: list[Loss]) -> None:
    """A table: what each tensor was, is, and lost."""
    from .whole import whole_or_nothing

    with whole_or_nothing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["tensor", "from", "to", "relative_l2_error", "largest_error_to_largest_number"])
        for loss in losses:
            formats = (str(dtype).removeprefix("torch.") for dtype in (loss.before, loss.after))
            table.writerow([loss.name, *formats, f"{loss.relative:.3e}", f"{loss.relative_largest:.3e}"])
