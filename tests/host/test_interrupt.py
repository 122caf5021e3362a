"""Cancelling a run, and the run after it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from host.hosts import API_WORKFLOW, SCRIPT, Failed
from host.listening import hear
from media import grey, tone, write_video

LONG = {"sampler.steps": 1000, "conditions.frames": 81, "conditions.width": 128, "conditions.height": 128}


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.case("Life", "cancel during sample")
def test_interrupt_ends_the_run_and_the_next_one_is_whole(server, workflow):
    prompt = server.submit(workflow({**LONG, "sampler.seed": 21}))
    wait_for(server.busy)
    time.sleep(2)  # into the sampling
    server.post("/interrupt", {})
    with pytest.raises(Failed, match="interrupted"):
        server.wait(prompt, seconds=30)
    assert server.run(workflow({"sampler.seed": 22}))["save"]["images"]


@pytest.mark.case("Life", "cancel during sample")
def test_a_long_clip_counts_its_steps_over_all_windows_and_can_be_cancelled(server, tmp_path):
    """Two windows of two steps are four steps; an interrupt in the first window ends all of them."""
    workflow = API_WORKFLOW.with_name("long.json")
    changes = {"conditions.frames": 41, "conditions.width": 64, "conditions.height": 64, "sampler.window": 33}
    changes |= {"text.speech": "Hello there.", "sampler.steps": 2}
    settings = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, str(SCRIPT), str(workflow), "--server", server.url, "--output", str(tmp_path)]
    done = subprocess.run([*command, *settings], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    counted = [line.split()[-1] for line in done.stderr.splitlines() if line.startswith("UniAVGen Long Sampler ")]
    assert [count for count in counted if count[0] != "0"] == ["1/4", "2/4", "3/4", "4/4"]

    graph = json.loads(workflow.read_text())
    for target, value in {**changes, "sampler.steps": 1000}.items():
        node, name = target.split(".")
        graph[node]["inputs"][name] = value
    prompt = server.submit(graph)
    wait_for(server.busy)
    time.sleep(2)
    server.post("/interrupt", {})
    with pytest.raises(Failed, match="interrupted"):
        server.wait(prompt, seconds=30)


@pytest.mark.case("Life", "cancel during sample")
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_in_the_script_interrupts_the_server(server, tmp_path):
    settings = [part for key, value in LONG.items() for part in ("--set", f"{key}={value}")]
    command = [
        sys.executable,
        str(SCRIPT),
        str(API_WORKFLOW),
        "--server",
        server.url,
        "--output",
        str(tmp_path / "out"),
    ]
    script = subprocess.Popen([*command, *settings], stderr=subprocess.PIPE, text=True)
    for line in script.stderr:
        if "Joint Sampler 3/" in line:
            break
    script.send_signal(signal.SIGINT)
    _, errors = script.communicate(timeout=30)
    assert script.returncode == 130
    assert errors.endswith("interrupted\n")
    wait_for(lambda: not server.busy(), 30)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def minute(server) -> str:
    """A video of a minute in the host's input folder."""
    pictures = [grey(i % 60, (96, 128)) for i in range(960)]
    write_video(server.base / "input" / "minute.mp4", pictures, fps=16, sound=tone(60.0, 24_000))
    return "minute.mp4"


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def stages(minute: str) -> dict[str, dict]:
    """For each stage a workflow in which the node of that name takes seconds, and nothing before it does."""
    load = node("UniAVGenLoad", file="tiny (built in)", weight_dtype="default")
    texts = node("UniAVGenTextEncode", clip=["load", 1], caption="", speech="Hello doctor. " * 60, language="en")
    given = {"positive": ["text", 0], "negative": ["text", 1], "vae": ["load", 2], "width": 128, "height": 128}
    video = {"film": node("LoadVideo", file=minute), "load": load, "text": texts}
    dub = {"frames": 961, "video": ["film", 0], "as_long_as_given": True}
    picture = {"frames": 1601, "reference_image": ["portrait", 0]}
    still = {"portrait": node("LoadImage", image="example.png"), "load": load, "text": texts}
    shown = {"shown": node("PreviewImage", images=["decode", 0])}
    images = node("EmptyImage", width=640, height=480, batch_size=160, color=255)
    return {
        "load": {"load": load, "text": texts, "shown": node("PreviewAny", source=["text", 0])},
        "encode": {
            **video,
            "encode": node("UniAVGenConditions", **given, **dub),
            "shown": node("PreviewAny", source=["encode", 2]),
        },
        "decode": {
            **still,
            "start": node("UniAVGenConditions", **given, **picture),
            "decode": node("VAEDecode", samples=["start", 2], vae=["load", 2]),
            **shown,
        },
        "save": {
            "images": images,
            "sound": node("EmptyAudio", duration=10.0, sample_rate=24000, channels=1),
            "mux": node("UniAVGenMux", images=["images", 0], audio=["sound", 0], fps=16.0),
            "save": node("SaveVideo", video=["mux", 0], filename_prefix="cancelled", format="mp4", codec="h264"),
        },
    }


@pytest.mark.case("Life", "cancel during load")
@pytest.mark.case("Life", "cancel during decode")
@pytest.mark.case("Life", "cancel during mux")
@pytest.mark.parametrize("stage", ["load", "encode", "decode", "save"])
def test_every_stage_ends_within_a_second(server, minute, stage):
    """Of the tiny model; sampling is above. Nothing half made is left behind."""
    heard = hear(server, stages(minute)[stage], interrupt=stage, after=0.0 if stage == "load" else 0.5)
    assert heard.end == "execution_interrupted", heard.events[-1]
    assert heard.seconds_to_end < 1
    if stage != "load":  # which may be done before the host looks
        assert heard.events[-1]["data"]["node_id"] == stage
    assert not [*(server.base / "output").glob("cancelled*"), *(server.base / "output").rglob("*.unfinished")]


@pytest.mark.case("Life", "cancel during sample")
def test_sampling_ends_within_a_second(server, workflow):
    large = {"conditions.frames": 81, "conditions.width": 256, "conditions.height": 256, "sampler.steps": 100}
    heard = hear(server, workflow({**large, "sampler.seed": 23}), interrupt="sampler", after=3.0)
    assert (heard.end, heard.events[-1]["data"]["node_id"]) == ("execution_interrupted", "sampler")
    assert heard.seconds_to_end < 1
