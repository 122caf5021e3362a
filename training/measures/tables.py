"""Rows of numbers -> Markdown tables, and the same as JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .scores import Rows, Score, Statistic, correlate, correlate_within, deviation, mean, ratio, summarize
from .tasks import Task


@dataclass(frozen=True)
class Measure:
    """A column: what it takes from each clip, how these become a number, and how that is written.

    share: written in per cent; digits: after the point
    """

    title: str
    names: tuple[str, ...]
    statistic: Statistic
    digits: int = 3
    share: bool = False

    def of(self, rows: Rows) -> Score | None:
        return summarize(rows, self.names, self.statistic)

    def write(self, score: Score | None) -> str:
        """As 0.947 ± 0.006, with the deviation over seeds in brackets if there are several; empty without one."""
        if score is None or math.isnan(score.value):
            return ""
        unit, scale = (" %", 100) if self.share else ("", 1)
        text = f"{score.value * scale:.{self.digits}f}"
        if not math.isnan(score.error):
            text += f" ± {score.error * scale:.{self.digits}f}"
        if score.seeds is not None:
            text += f" ({score.seeds * scale:.{self.digits}f})"
        return text + unit


def average(title: str, name: str, digits: int = 3, share: bool = False) -> Measure:
    return Measure(title, (name,), mean(name), digits, share)


FOLLOWS = average("mouth with the true curve", "mouth/truth")
FOLLOWS_OTHER = average("with another clip's", "mouth/other")
IN_SYNC = average("sound with the mouth", "sound/mouth")
IN_SYNC_OTHER = average("with another clip's mouth", "sound/other")
WRONG = Measure("words wrong", ("wrong", "words"), ratio("wrong", "words"), 1, share=True)
RIGHT = average("right voice", "right", 1, share=True)
PITCH = Measure("pitch with the reference's", ("pitch", "pitch wanted"), correlate("pitch", "pitch wanted"))
PITCH_WITHIN = Measure(
    "the same within a voice",
    ("pitch", "pitch wanted", "voice"),
    correlate_within("pitch", "pitch wanted", "voice"),
)
PITCH_OFF = Measure("pitch off by", ("pitch", "pitch wanted"), deviation("pitch", "pitch wanted"), 1, share=True)
PICTURE = average("PSNR to the portrait, dB", "picture", 2)
PICTURE_DECODED = average("to the decoded portrait", "picture decoded", 2)
FACE = average("face mask, IoU", "face")

SYNC = (FOLLOWS, FOLLOWS_OTHER, IN_SYNC, IN_SYNC_OTHER)
VOICE = (RIGHT, PITCH, PITCH_WITHIN, PITCH_OFF)
PICTURES = (PICTURE, PICTURE_DECODED, FACE)

# Which columns mean something for a task: the timing of speech is free where neither sound nor video is given
MEANT = {
    Task.TRUTH: {*SYNC, WRONG, *VOICE, PICTURE},
    Task.ALONE: {*SYNC, WRONG, *VOICE, PICTURE, PICTURE_DECODED},
    Task.DRIVEN: {FOLLOWS, FOLLOWS_OTHER, IN_SYNC, *PICTURES},
    Task.JOINT: {IN_SYNC, IN_SYNC_OTHER, WRONG, *PICTURES},
    Task.VOICE: {IN_SYNC, IN_SYNC_OTHER, WRONG, *VOICE, *PICTURES},
    Task.DUBBING: {IN_SYNC, IN_SYNC_OTHER, WRONG, FACE},
    Task.BLIND: {IN_SYNC, IN_SYNC_OTHER, WRONG},
}


@dataclass(frozen=True)
class Table:
    """title, head: of the whole and of the first column
    columns: titles; cells: for each line its name and the column's score and how it is written
    """

    title: str
    head: str
    columns: tuple[str, ...]
    cells: Mapping[str, tuple[tuple[Score | None, str], ...]]

    def markdown(self) -> str:
        lines = [[self.head, *self.columns], ["---"] * (1 + len(self.columns))]
        lines += [[name, *(text for _, text in cells)] for name, cells in self.cells.items()]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"### {self.title}\n\n{table}\n"

    def plain(self) -> dict:
        """For JSON; a number that is none is null."""
        return {
            "title": self.title,
            "rows": {
                name: {
                    column: None if score is None else {key: _finite(value) for key, value in asdict(score).items()}
                    for column, (score, _) in zip(self.columns, cells, strict=True)
                }
                for name, cells in self.cells.items()
            },
        }


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def by_task(title: str, rows: Mapping[Task, Rows], measures: Sequence[Measure]) -> Table:
    """A line for each task."""
    cells = {}
    for task, own in rows.items():
        scores = [measure.of(own) if measure in MEANT[task] else None for measure in measures]
        cells[task.value] = _written(measures, scores)
    return Table(title, "task", tuple(measure.title for measure in measures), cells)


def by_name(
    title: str, head: str, rows: Mapping[str, Mapping[Task, Rows]], columns: Sequence[tuple[Task, Measure]]
) -> Table:
    """A line for each name (a guidance, a variant); each column is a measure of one task."""
    measures = [measure for _, measure in columns]
    titles = tuple(f"{task.value}: {measure.title}" for task, measure in columns)
    cells = {
        name: _written(measures, [measure.of(own[task]) for task, measure in columns]) for name, own in rows.items()
    }
    return Table(title, head, titles, cells)


def _written(measures: Iterable[Measure], scores: Iterable[Score | None]) -> tuple[tuple[Score | None, str], ...]:
    return tuple((score, measure.write(score)) for measure, score in zip(measures, scores, strict=True))


def save(tables: Sequence[Table], path: Path) -> None:
    """As JSON."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps([table.plain() for table in tables], indent=1) + "\n")
    os.replace(unfinished, path)
