"""Numbers of clips -> one table for the terminal, CSV, JSON and Markdown, with confidence intervals."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

Value = float | int | str | bool | None
CONFIDENCE = 0.95
RESAMPLES = 9999  # of the clips, for the interval
ALL = "(all)"  # in place of a clip's name
ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}


@dataclass(frozen=True)
class Column:
    """How a value of the clips becomes a number of the method.

    name: of the value; title: in tables; better: "higher", "lower" or ""; digits: after the point
    weight: name of the value that says how much each clip counts (words, frames); empty: all alike
    percent: shown in per cent
    """

    name: str
    title: str
    better: str = ""
    digits: int = 2
    weight: str = ""
    percent: bool = False

    def write(self, number: float) -> str:
        return f"{number * 100:.{self.digits}f} %" if self.percent else f"{number:.{self.digits}f}"


@dataclass(frozen=True)
class Row:
    """The values of one clip; None and why, if it could not be measured."""

    clip: str
    values: dict[str, Value] | None
    reason: str = ""


@dataclass(frozen=True)
class Score:
    """A mean over clips and its interval of confidence; low and high are NaN for a single clip.

    Or what clips have only together (see `Result.together`), without an interval.
    """

    mean: float
    low: float
    high: float
    clips: int


@dataclass(frozen=True)
class Result:
    """What a measure found for one method's clips.

    together: numbers that only all clips together have, by the names of their columns
    """

    measure: str
    method: str
    columns: tuple[Column, ...]
    settings: dict[str, Value]
    rows: tuple[Row, ...]
    together: dict[str, float] = field(default_factory=dict)

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.values is None]

    def score(self, column: Column) -> Score | None:
        """Over the clips that have this value, or of all that were measured together; None if there are none."""
        if column.name in self.together:
            return Score(self.together[column.name], math.nan, math.nan, len(self.rows) - len(self.failures))
        found = [row.values for row in self.rows if row.values and row.values.get(column.name) is not None]
        values = np.array([float(values[column.name]) for values in found])
        weights = np.array([float(values[column.weight]) if column.weight else 1.0 for values in found])
        return summarize(values, weights) if weights.sum() > 0 else None

    def text(self) -> str:
        """The table in Markdown, what its numbers were made with, and each clip that has none."""
        lines = [markdown([self]), settings_line(self.settings)]
        if self.failures:
            lines += [f"{len(self.failures)} of {len(self.rows)} clips could not be measured:"]
            lines += [f"- {row.clip}: {row.reason}" for row in self.failures]
        return "\n".join(filter(None, lines))


def summarize(values: np.ndarray, weights: np.ndarray) -> Score:
    """Weighted mean, with the 95 % interval of resampled clips (percentile bootstrap, always the same resamples)."""
    mean = float(np.average(values, weights=weights))
    if len(values) < 2:
        return Score(mean, math.nan, math.nan, len(values))
    from scipy.stats import bootstrap

    def statistic(values: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
        return (values * weights).sum(axis=axis) / weights.sum(axis=axis)

    interval = bootstrap(
        (values, weights),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=1000,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Score(mean, float(interval.low), float(interval.high), len(values))


def markdown(results: Sequence[Result]) -> str:
    """One line a method, as in the paper's tables. The results are of the same measure."""
    columns = results[0].columns
    head = ["method", *(column.title + ARROWS[column.better] for column in columns), "clips"]
    lines = [head, ["---"] * len(head)]
    for result in results:
        scores = [result.score(column) for column in columns]
        cells = [written(column, score) for column, score in zip(columns, scores, strict=True)]
        counted = f"{len(result.rows) - len(result.failures)} of {len(result.rows)}"
        lines.append([escaped(result.method), *cells, counted])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def written(column: Column, score: Score | None) -> str:
    """As 4.09 [3.81, 4.40]."""
    if score is None:
        return "-"
    mean = column.write(score.mean)
    if math.isnan(score.low):
        return mean
    return f"{mean} [{column.write(score.low)}, {column.write(score.high)}]"


def settings_line(settings: dict[str, Value]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in settings.items())


def escaped(text: str) -> str:
    """For a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def save(result: Result, folder: Path) -> None:
    """MEASURE.csv with the values of every clip, MEASURE.json with all there is, MEASURE.md with the table.

    What clips have only together is the first row of the CSV file.
    """
    together = (Row(ALL, result.together),) if result.together else ()
    write_text(folder / f"{result.measure}.md", f"{result.text()}\n")
    write_text(folder / f"{result.measure}.csv", _csv(together + result.rows))
    scores = {
        column.name: {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in found}
        for column in result.columns
        if (score := result.score(column)) and (found := asdict(score).items())
    }
    plain = asdict(result) | {"scores": scores}
    write_text(folder / f"{result.measure}.json", json.dumps(plain, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> Result:
    """What `save` wrote as JSON."""
    plain = json.loads(path.read_text("utf-8"))
    columns, rows = (Column(**column) for column in plain["columns"]), (Row(**row) for row in plain["rows"])
    together = plain.get("together", {})
    return Result(plain["measure"], plain["method"], tuple(columns), plain["settings"], tuple(rows), together)


def _csv(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.values or {}))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["clip", *names, "reason"])
    writer.writeheader()
    for row in rows:
        writer.writerow({"clip": row.clip, **(row.values or {}), "reason": row.reason})
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, "utf-8", newline="")
    os.replace(unfinished, path)
