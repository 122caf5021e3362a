"""Rows for the batch command (scripts/run_batch.py), what had to be left out of them, and their CSV file."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from ..report import write_text

COLUMNS = (
    *("data_id", "ref_image_path", "ref_audio_path", "ref_speech_content", "video_path", "audio_path"),
    *("speech_content", "prompt", "lang", "seed"),
)


@dataclass
class Rows:
    """cells: of each row, by column, those that are not empty; left_out: why, by name; notes: what else to know"""

    cells: list[dict[str, str | Path]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raises ``ValueError`` with all reasons if no row is left."""
        if not self.cells:
            raise ValueError(
                "\n".join(["no row can be made:", *(f"{name}: {why}" for name, why in self.left_out.items())])
            )

    def write(self, path: Path, common: dict[str, str]) -> None:
        """A CSV file, whole or not at all. common: what all rows have; files below its folder are named from there."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, restval="")
        writer.writeheader()
        for cells in self.cells:
            writer.writerow({**common, **{column: _written(cell, path.parent) for column, cell in cells.items()}})
        write_text(path, text.getvalue())

    def summary(self, path: Path) -> str:
        lines = [f"{path}: {len(self.cells)} rows", *self.notes]
        if self.left_out:
            lines += [f"{len(self.left_out)} left out:", *(f"- {name}: {why}" for name, why in self.left_out.items())]
        return "\n".join(lines)


def _written(cell: str | Path, folder: Path) -> str:
    if isinstance(cell, str):
        return cell
    file, folder = cell.resolve(), folder.resolve()
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)


def check_output(path: Path) -> None:
    """Raises ``ValueError`` or ``OSError`` with a sentence unless a CSV file can be written there."""
    if path.suffix.lower() != ".csv":
        raise ValueError(f"--output {path} must be a .csv file: give a name that ends in .csv")
    if path.is_dir():
        raise IsADirectoryError(f"--output {path} is a folder: give the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
