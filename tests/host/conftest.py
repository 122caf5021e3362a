"""Every host test runs once in each ComfyUI that is found; without one they skip and the summary says so.

Media: with UNIAVGEN_MEDIA = a folder with example_ravg.wav, example_a2v.wav, example_v2a.mp4 and portraits of the same
names, these; else small ones made here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from host.hosts import API_WORKFLOW, PORTRAIT, Host, Server, find_hosts, serve
from media import grey, tone, write_sound, write_video

MEDIA = os.environ.get("UNIAVGEN_MEDIA")
HOSTS, PROBLEMS = find_hosts()
SMALL = {
    "text.speech": "Hi.",
    "sampler.steps": 2,
    "conditions.frames": 5,
    "conditions.width": 64,
    "conditions.height": 64,
}
SKIPPED = pytest.param(None, id="no-host", marks=pytest.mark.skip(reason="; ".join(PROBLEMS)))


@pytest.fixture(scope="session", params=HOSTS or [SKIPPED], ids=str)
def host(request: pytest.FixtureRequest) -> Host:
    return request.param


@pytest.fixture(scope="session")
def server(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(host, tmp_path_factory.mktemp("host")) as running:
        yield running


@pytest.fixture(scope="module")
def inputs(server) -> Path:
    """The host's input folder with what the workflows name, and earlier.mp4, a clip at 16 fps."""
    folder = server.base / "input"
    if MEDIA:
        for name, source in {
            "voice.wav": "example_ravg.wav",
            "speech.wav": "example_a2v.wav",
            "clip.mp4": "example_v2a.mp4",
            "earlier.mp4": "example_v2a.mp4",
            "example.png": "example_avg.png",
        }.items():
            shutil.copyfile(Path(MEDIA, source), folder / name)
        return folder
    write_sound(folder / "voice.wav", tone(2.0, 24_000), 24_000, codec="pcm_s16le", sample_format="s16")
    write_sound(folder / "speech.wav", tone(3.3, 44_100, channels=2), 44_100, codec="pcm_s16le", sample_format="s16")
    sound = tone(2.4, 24_000)
    pictures = [grey(i % 60, (96, 128)) for i in range(72)]
    write_video(folder / "clip.mp4", pictures, fps=Fraction(30000, 1001), sound=sound)
    write_video(folder / "earlier.mp4", pictures[:40], fps=16, sound=tone(2.5, 24_000))
    shutil.copyfile(PORTRAIT, folder / "example.png")
    return folder


@pytest.fixture(scope="session")
def workflow() -> Callable[..., dict[str, Any]]:
    """Builds the joint workflow, small and with inputs changed: ``workflow({"sampler.steps": 4})``."""

    def build(changes: dict[str, Any] | None = None) -> dict[str, Any]:
        graph = json.loads(API_WORKFLOW.read_text())
        for target, value in {**SMALL, **(changes or {})}.items():
            node, name = target.split(".")
            graph[node]["inputs"][name] = value
        return graph

    return build


@pytest.fixture(scope="session")
def clip(workflow) -> Callable[..., dict[str, Any]]:
    """Builds the small joint workflow with the checksum of what it makes, and with what is to happen in one of its
    stages (see `faults`). The host takes nothing of it from its cache but what is loaded."""

    def build(changes: dict[str, Any], stage: str = "", act: str = "") -> dict[str, Any]:
        fault = {"number": SMALL["conditions.frames"], "stage": stage, "act": act}
        return workflow({"conditions.frames": ["fault", 0], **changes}) | {
            "fault": {"class_type": "UniAVGenTestFault", "inputs": fault},
            "seen": {"class_type": "UniAVGenTestSeen", "inputs": {"images": ["video", 0], "audio": ["sound", 0]}},
        }

    return build


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if PROBLEMS:
        state = "did not run" if not HOSTS else "did not run everywhere"
        terminalreporter.section(f"the tests inside ComfyUI {state}", yellow=True, bold=True)
        for problem in PROBLEMS:
            terminalreporter.line(f"warning: {problem}", yellow=True)
