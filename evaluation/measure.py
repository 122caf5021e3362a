"""What a measure is, and how it goes through clips: with progress, going on after a stop, dropping none silently."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from .clips import Clip, add_clip_arguments, clips_of
from .recording import Unmeasurable
from .report import Column, Result, Row, Value, save

FAILED = 1


class Measure(Protocol):
    """name: of its files and in titles; columns: of its table
    settings: all that its numbers depend on besides the clip (models, versions, sizes), as printed with them
    """

    name: str
    columns: Sequence[Column]
    settings: Mapping[str, Value]

    def of(self, clip: Clip) -> Mapping[str, Value]:
        """The numbers of a clip, and perhaps more than the columns show, for the CSV file.

        Raises `Unmeasurable`, ``ValueError`` or ``OSError`` with a sentence if it has none.
        """
        ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the commands of all measures of single clips take."""
    add_clip_arguments(parser)
    parser.add_argument(
        "--output", type=Path, help="folder for the tables (default: CLIPS/measured, or beside the CSV)"
    )
    parser.add_argument("--method", help="name of what made the clips, for the tables (default: the folder's)")
    parser.add_argument("--limit", type=int, help="measure only so many clips, the first ones")


def run(measure: Measure, options: argparse.Namespace) -> int:
    """Measures the clips of a command line, prints the table and writes it; returns the exit code."""
    clips = clips_of(options)
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit {options.limit} leaves no clip: give 1 or more")
    output = output_of(options)
    rows = measured(measure, clips[: options.limit], output / f"{measure.name}.jsonl")
    result = Result(measure.name, method_of(options), tuple(measure.columns), dict(measure.settings), tuple(rows))
    print(result.text())
    save(result, output)
    return FAILED if result.failures else 0


def output_of(options: argparse.Namespace) -> Path:
    """The folder for the tables, which may not exist yet."""
    folder = options.clips if options.clips.is_dir() else options.clips.parent
    return options.output or folder / "measured"


def method_of(options: argparse.Namespace) -> str:
    return options.method or (options.clips.resolve().name if options.clips.is_dir() else options.clips.stem)


def measured(measure: Measure, clips: Sequence[Clip], ledger: Path) -> list[Row]:
    """A row for each clip. ledger: a file of what was measured before, which is not measured again; failures are."""
    known, rows = read_ledger(ledger), []
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("a") as file:
        for clip in tqdm(clips, desc=measure.name, unit="clip", mininterval=1):
            key = key_of(measure, clip)
            if key in known:
                rows.append(Row(clip.name, known[key]))
                continue
            try:
                values = dict(measure.of(clip))
            except (Unmeasurable, ValueError, OSError) as error:
                rows.append(Row(clip.name, None, str(error)))
                continue
            file.write(json.dumps({"key": key, "clip": clip.name, "values": values}) + "\n")
            file.flush()
            rows.append(Row(clip.name, values))
    return rows


def read_ledger(ledger: Path) -> dict[str, dict[str, Value]]:
    """What the whole lines of a ledger hold; half a line, of a run that was killed, is cut off."""
    if not ledger.exists():
        return {}
    text = ledger.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        unfinished = ledger.with_suffix(".unfinished")
        unfinished.write_text(whole)
        os.replace(unfinished, ledger)
    return {row["key"]: row["values"] for row in map(json.loads, whole.splitlines())}


def key_of(measure: Measure, clip: Clip) -> str:
    """Changes with the clip's files, with what is known of it, and with the measure's settings."""
    files = [path.stat() if path and path.is_file() else None for path in (clip.path, clip.image, clip.voice)]
    marks = [stat and (stat.st_size, stat.st_mtime_ns) for stat in files]
    told = {name: str(value) for name, value in asdict(clip).items()}
    asked = json.dumps([measure.name, dict(measure.settings), told, marks], sort_keys=True, default=str)
    return hashlib.sha256(asked.encode()).hexdigest()
