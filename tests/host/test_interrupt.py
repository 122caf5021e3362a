"""Cancelling a run, and the run after it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from host.hosts import API_WORKFLOW, SCRIPT, Failed

LONG = {"sampler.steps": 1000, "conditions.frames": 81, "conditions.width": 128, "conditions.height": 128}


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_interrupt_ends_the_run_and_the_next_one_is_whole(server, workflow):
    prompt = server.submit(workflow({**LONG, "sampler.seed": 21}))
    wait_for(server.busy)
    time.sleep(2)  # into the sampling
    server.post("/interrupt", {})
    with pytest.raises(Failed, match="interrupted"):
        server.wait(prompt, seconds=30)
    assert server.run(workflow({"sampler.seed": 22}))["save"]["images"]


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
