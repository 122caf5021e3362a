"""The paper's tables, and numbers of one's own beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..report import ARROWS, Column, Result, Score, escaped, settings_line, written

LSE_C, LSE_D = Column("lse_c", "LSE-C", "higher"), Column("lse_d", "LSE-D", "lower")


@dataclass(frozen=True)
class Table:
    """columns: as the paper prints them; published: a number for each of them, by method
    other_names: of a column's numbers, by its name, where a measure calls them otherwise
    """

    title: str
    columns: tuple[Column, ...]
    published: Mapping[str, tuple[float, ...]]
    other_names: Mapping[str, str] = field(default_factory=dict)


TABLES = {
    "joint": Table(
        "Joint generation (paper, table 1)",
        (
            Column("pq", "PQ", "higher"),
            Column("cu", "CU", "higher"),
            Column("wer", "WER", "lower", 3),
            Column("sc", "SC", "higher", 3),
            Column("dd", "DD", "higher", 3),
            Column("iq", "IQ", "higher", 3),
            Column("ls", "LS", "higher"),
            Column("tc", "TC", "higher", 3),
            Column("ec", "EC", "higher", 3),
        ),
        {
            "Ovi": (6.03, 6.01, 0.216, 0.972, 0.360, 0.774, 6.48, 0.828, 0.558),
            "UniAVGen": (7.00, 6.62, 0.151, 0.973, 0.410, 0.779, 5.95, 0.832, 0.573),
        },
        {"ls": "lse_c"},
    ),
    "grid": Table(
        "Dubbing on GRID, setting 3.0 (paper, table 2)",
        (LSE_C, LSE_D, Column("wer", "WER", "lower", percent=True)),
        {
            "StyleDubber": (5.94, 9.75, 0.1540),
            "EmoDubber": (7.25, 6.83, 0.1472),
            "UniAVGen": (7.59, 6.11, 0.1064),
        },
    ),
    "emtd": Table(
        "Audio-driven on EMTD (paper, table 3)",
        (LSE_C, LSE_D, Column("fid", "FID", "lower"), Column("fvd", "FVD", "lower")),
        {
            "OmniAvatar": (7.19, 6.90, 45.02, 459.44),
            "Wan-S2V": (7.24, 6.92, 44.02, 451.44),
            "UniAVGen": (7.05, 6.85, 43.97, 469.85),
        },
    ),
}


def text(table: Table, results: Sequence[Result]) -> str:
    """The table in Markdown: the paper's rows, then one a method that was measured, in the order of the results; below
    it how each number of one's own was made and of how many clips, and what nobody measured.

    Raises ``ValueError`` with a sentence if a method has two results for a column, or a result none of the columns.
    """
    scores = scores_of(table, results)
    head = ["method", *(column.title + ARROWS[column.better] for column in table.columns)]
    lines = [head, ["---"] * len(head)]
    for method, numbers in table.published.items():
        cells = (column.write(number) for column, number in zip(table.columns, numbers, strict=True))
        lines.append([f"{method} (paper)", *cells])
    for method, found in scores.items():
        lines.append([escaped(method), *(written(column, found.get(column.name)) for column in table.columns)])
    below = [made_with(result) for result in results]
    missing = [column.title for column in table.columns if not any(column.name in found for found in scores.values())]
    if missing:
        below.append(f"- not measured: {', '.join(missing)}")
    return "\n".join([f"{table.title}", "", *(f"| {' | '.join(line)} |" for line in lines), "", *below])


def scores_of(table: Table, results: Sequence[Result]) -> dict[str, dict[str, Score]]:
    """By method, then by the name of the table's column."""
    scores: dict[str, dict[str, Score]] = {}
    for result in results:
        theirs = {key(name): column for column in result.columns for name in (column.title, column.name)}
        found = scores.setdefault(result.method, {})
        taken = False
        for column in table.columns:
            own = theirs.get(key(column.name)) or theirs.get(key(table.other_names.get(column.name, column.name)))
            if own is None:
                continue
            taken = True
            if column.name in found:
                raise ValueError(f"{column.title} of {result.method} was given twice: leave one of the results out")
            if score := result.score(own):
                found[column.name] = score
        if not taken:
            titles = ", ".join(column.title for column in table.columns)
            raise ValueError(
                f"{result.measure} of {result.method} has no column of this table ({titles}): leave it out"
            )
    return scores


def made_with(result: Result) -> str:
    counted = f"{len(result.rows) - len(result.failures)} of {len(result.rows)} clips"
    settings = settings_line(result.settings)
    return f"- {result.method}, {result.measure}: {counted}" + (f"; {settings}" if settings else "")


def key(name: str) -> str:
    """LSE-C and lse_c are the same."""
    return re.sub("[^a-z0-9]", "", name.lower())
