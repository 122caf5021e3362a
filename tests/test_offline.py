"""No connection is opened without the user's word: with sockets shut everything works, and nobody tries."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest
from test_disk import task

ROOT = Path(__file__).resolve().parents[1]
SHUT = Path(__file__).with_name("shut.py")
HELP = [
    ["uniavgen_core.__main__"],
    *(["uniavgen_core.__main__", name] for name in ("joint", "drive", "dub", "continue", "download", "convert")),
    ["evaluation.__main__"],
    *(
        ["evaluation.__main__", name]
        for name in ("words", "lipsync", "frechet", "aesthetics", "picture", "judge", "tiny", "benchmark", "study")
    ),
    ["training.__main__"],
    ["scripts.run_workflow"],
    ["scripts.run_batch"],
]


def run_shut(folder: Path, *commands: list[str]) -> tuple[dict[str, Any], str]:
    """What became of the commands (see shut.py), and all they said."""
    told = folder / "told.json"
    process = [sys.executable, str(SHUT), str(told), json.dumps(commands)]
    done = subprocess.run(process, capture_output=True, text=True, cwd=folder, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(told.read_text()), done.stdout + done.stderr


@pytest.mark.case("Disk and network", "a connection without the user's word")
@pytest.mark.case("Disk and network", "no connection")
def test_a_connection_on_the_users_word_is_seen_and_its_absence_told(tmp_path: Path) -> None:
    """What the other test would see if anybody tried."""
    command = ["uniavgen_core.__main__", "download", "vocabulary", "--yes", "--to", str(tmp_path / "models")]
    told, said = run_shut(tmp_path, command)
    assert told["codes"] == [2]
    assert told["tried"] and not told["imports"]
    assert "error: there is no connection to the Hugging Face Hub for SWivid/F5-TTS" in said
    assert not (tmp_path / "models").exists()


@pytest.mark.case("Disk and network", "a connection without the user's word")
def test_nobody_connects_without_the_users_word(tmp_path: Path) -> None:
    """All imports, every --help, a whole clip, measures without --send or --fetch, the check of a batch."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / "assets" / "clip.mp4", tmp_path / folder / "clip.mp4")
    shutil.copy(ROOT / "assets" / "portrait.png", tmp_path / "face.png")
    rows = tmp_path / "rows.csv"
    rows.write_text("data_id,ref_image_path,speech_content,lang\nclip,face.png,Hello doctor.,en\n")
    clips = [str(tmp_path / "one"), "--rows", str(rows)]
    works = [
        ["uniavgen_core.__main__", *task("joint", tmp_path / "out.mp4", image=tmp_path / "face.png", frames=5)],
        ["evaluation.__main__", "words", *clips, "--recogniser", "pocketsphinx"],
        ["evaluation.__main__", "judge", *clips, "--service", "gemini", "--model", "a-model"],
        ["evaluation.__main__", "study", "make", str(tmp_path / "one"), str(tmp_path / "two"), "--output", "page"],
        ["scripts.run_batch", str(rows), "--check"],
    ]
    refused = [
        ["uniavgen_core.__main__", "download", "extra"],
        ["evaluation.__main__", "words", *clips, "--recogniser", "openai/whisper-large-v3"],
        ["evaluation.__main__", "lipsync", *clips],
        ["evaluation.__main__", "aesthetics", *clips],
    ]
    told, said = run_shut(tmp_path, *([*words, "--help"] for words in HELP), *works, *refused)
    assert told["codes"] == [0] * len(HELP + works) + [2] * len(refused), said
    assert not told["tried"]
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio
        assert sum(1 for _ in container.decode(video=0)) == 5
