"""A table of clips and the documentation's examples in a real ComfyUI."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys

import av
import pytest
from host.hosts import PORTRAIT, ROOT
from host.test_interrupt import wait_for
from media import grey, tone, write_sound, write_video
from pages import HEADLESS, run_block

SCRIPT = ROOT / "scripts" / "run_batch.py"
SMALL = {"sampler.steps": 2, "conditions.frames": 33, "conditions.width": 64, "conditions.height": 64}
ROWS = [
    {"data_id": "plain", "ref_image_path": "face.png", "speech_content": "Hello.", "prompt": "Red.", "lang": "en"},
    {
        "data_id": "voice",
        "ref_image_path": "face.png",
        "ref_audio_path": "voice.wav",
        "ref_speech_content": "Water.",
        "speech_content": "Hello.",
        "seed": "5",
    },
    {"data_id": "driven", "ref_image_path": "face.png", "audio_path": "voice.wav", "lang": "auto"},
    {"data_id": "dubbed", "ref_image_path": "face.png", "video_path": "film.mp4", "speech_content": "Hello."},
    {"data_id": "long", "ref_image_path": "face.png", "speech_content": "word " * 100},
]


@pytest.fixture
def table(tmp_path):
    """clips.csv with the files that its rows name: ``table(rows)``."""
    shutil.copy(PORTRAIT, tmp_path / "face.png")
    write_sound(tmp_path / "voice.wav", tone(1.0, 24_000), 24_000, codec="pcm_s16le", sample_format="s16")
    write_video(tmp_path / "film.mp4", [grey(i, (96, 128)) for i in range(20)], fps=16)

    def write(rows):
        path = tmp_path / "clips.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            lines.writeheader()
            lines.writerows(rows)
        return path

    return write


def command(server, path, changes):
    settings = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    output = str(path.parent / "out")
    return [sys.executable, str(SCRIPT), str(path), "--server", server.url, "--output", output, *settings]


def count_frames(path):
    with av.open(str(path), format="mp4") as container:
        assert container.streams.audio
        return sum(1 for _ in container.decode(video=0))


def test_what_is_not_spoken_stands_in_the_report(server, table):
    path = table([{**ROWS[0], "speech_content": "Hello, 你好."}])
    done = subprocess.run(command(server, path, SMALL), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (entry,) = map(json.loads, (path.parent / "out" / "report.jsonl").read_text("utf-8").splitlines())
    (warning,) = [warning for warning in entry["warnings"] if "not spoken: '你', '好'" in warning]
    assert f"warning: plain: {warning}" in done.stderr


def test_a_clip_for_every_row(server, table):
    """All four tasks, and a row that the node refuses with its sentence; then only that row is tried again."""
    path = table(ROWS)
    done = subprocess.run(command(server, path, SMALL), capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stderr
    clips = {clip.stem: count_frames(clip) for clip in (path.parent / "out").glob("*.mp4")}
    assert clips == {"plain": 33, "voice": 33, "driven": 17, "dubbed": 20}
    entries = [json.loads(line) for line in (path.parent / "out" / "report.jsonl").read_text().splitlines()]
    tasks = {entry["data_id"]: entry["task"] for entry in entries}
    assert tasks == {
        "plain": "joint",
        "voice": "joint_voice",
        "driven": "audio_driven",
        "dubbed": "dub",
        "long": "joint",
    }
    assert "takes about 33 s to say and the clip lasts 2.1 s: shorten it" in entries[-1]["error"]
    assert "4 made, 1 failed" in done.stderr

    with av.open(str(path.parent / "out" / "voice.mp4")) as container:
        sent = json.loads(container.metadata["prompt"])
    assert sent["sampler"]["inputs"]["seed"] == 5 and sent["text"]["inputs"]["transcript"] == "Water."

    again = subprocess.run(command(server, path, SMALL), capture_output=True, text=True, timeout=600)
    assert again.returncode == 1
    assert "0 made, 4 there already, 1 failed" in again.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_interrupts_the_server(server, table):
    path = table(ROWS[:1])
    script = subprocess.Popen(
        command(server, path, {"sampler.steps": 1000}), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    wait_for(server.busy)
    script.send_signal(signal.SIGINT)
    _, said = script.communicate(timeout=30)
    assert script.returncode == 130
    assert said.endswith("interrupted: the same command goes on from here\n")
    wait_for(lambda: not server.busy(), 60)
    assert not list((path.parent / "out").glob("*.mp4"))


@pytest.mark.parametrize(
    "language",
    [
        "python",
        pytest.param(
            "bash",
            marks=pytest.mark.skipif(
                not all(map(shutil.which, ("bash", "curl", "jq"))), reason="needs bash, curl and jq"
            ),
        ),
    ],
)
def test_the_pages_examples_make_a_clip(server, workflow, tmp_path, language):
    shutil.copy(PORTRAIT, tmp_path / "my face.png")
    graph = workflow({"save.filename_prefix": "pages/a clip"})
    (tmp_path / "small.json").write_text(json.dumps(graph))
    done = run_block(HEADLESS, language, tmp_path, server.url, "small.json", "my face.png", "Hi.", "talk.mp4")
    assert done.returncode == 0, done.stderr
    assert count_frames(tmp_path / "talk.mp4") == 5
    if language == "python":
        assert "sampler 2/2" in done.stdout

    graph["sampler"]["inputs"]["steps"] = 0
    (tmp_path / "small.json").write_text(json.dumps(graph))
    done = run_block(HEADLESS, language, tmp_path, server.url, "small.json", "my face.png", "Hi.", "no.mp4")
    assert done.returncode != 0
    assert "sampling needs at least 1 step" in done.stderr

    graph["sampler"]["inputs"] |= {"steps": 1, "skip_layer": "99"}
    (tmp_path / "small.json").write_text(json.dumps(graph))
    done = run_block(HEADLESS, language, tmp_path, server.url, "small.json", "my face.png", "Hi.", "no.mp4")
    assert done.returncode != 0
    assert "layer 99 cannot be skipped" in done.stderr
    assert not (tmp_path / "no.mp4").exists()
