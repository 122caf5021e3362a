"""Tables of clips, and servers to make them: what tests of the batch share. Fixtures come in by conftest."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fake_comfy import FakeComfy, serve

from scripts.run_batch import main

ROOT = Path(__file__).parents[1]
HEADER = "data_id,ref_image_path,ref_audio_path,ref_speech_content,video_path,audio_path,speech_content,prompt,lang"
COLUMNS = HEADER.split(",")
JOINT = {"data_id": "a", "ref_image_path": "face.png", "speech_content": "Hello, you.", "prompt": "Red.", "lang": "en"}
VOICE = {"ref_audio_path": "voice.wav", "ref_speech_content": "water"}
DEAD = "http://127.0.0.1:9"


@pytest.fixture
def servers() -> Iterator[Callable[..., FakeComfy]]:
    """Starts a server with some behaviour."""
    with ExitStack() as stack:

        def start(behave: str | Callable = "done") -> FakeComfy:
            choose = behave if callable(behave) else lambda _: behave
            return stack.enter_context(serve(FakeComfy({("batch", "x_00001_.mp4"): b"clip"}, choose)))

        yield start


@pytest.fixture
def table(tmp_path) -> Callable[..., Path]:
    """Writes rows into clips.csv, with the files they may name beside it."""
    for name in ("face.png", "voice.wav", "sound.wav", "film.mp4"):
        (tmp_path / name).write_bytes(name.encode())

    def write(*rows: dict[str, str], columns: list[str] = COLUMNS) -> Path:
        path = tmp_path / "clips.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.DictWriter(file, columns, restval="")
            lines.writeheader()
            lines.writerows(rows)
        return path

    return write


def batch(table: Path, *servers: FakeComfy | str, arguments: tuple[str, ...] = ()) -> int:
    urls = [part for server in servers for part in ("--server", getattr(server, "url", server))]
    return main([str(table), *urls, "--output", str(table.parent / "out"), "--wait", "1", *arguments])


def row(name: str, **cells: str) -> dict[str, str]:
    return {**JOINT, "data_id": name, **cells}


def clips(table: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (table.parent / "out").glob("*") if path.name != "report.jsonl"}


def report(table: Path) -> list[dict]:
    return [json.loads(line) for line in (table.parent / "out" / "report.jsonl").read_text("utf-8").splitlines()]
