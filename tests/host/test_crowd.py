"""Many runs in one host: of several clients at once, some cancelled while they wait, and one after the other."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from host.hosts import API_WORKFLOW, SCRIPT, Failed, Server
from host.test_interrupt import LONG, node, wait_for

CLIENTS, PROMPTS = 5, 50
RUNS = int(os.environ.get("UNIAVGEN_SOAK", 10))  # of the soak


def checksum(outputs: dict[str, Any]) -> str:
    return outputs["seen"]["sha256"][0]


def queued(server: Server) -> list[str]:
    """Prompts that wait, not the one that runs."""
    return [item[1] for item in server.get("/queue")["queue_pending"]]


@pytest.mark.case("Concurrency", "50 queued prompts from several clients")
@pytest.mark.case("Concurrency", "two saves at once")
def test_every_client_gets_what_its_seed_gives_alone(server, clip):
    """All queue at once and save under one name: no result is lost, mixed up or written over."""
    seeds = list(range(PROMPTS))
    alone = {
        seed: checksum(server.run(clip({"sampler.seed": seed}))) for seed in random.Random(0).sample(seeds, PROMPTS)
    }
    assert len(set(alone.values())) == PROMPTS
    together = threading.Barrier(CLIENTS)

    def ask(client: int) -> dict[int, dict[str, Any]]:
        together.wait()
        prompts = {}
        for seed in seeds[client::CLIENTS]:
            graph = clip({"sampler.seed": seed, "save.filename_prefix": "crowd"})
            body = {"prompt": graph, "client_id": f"client {client}"}
            prompts[seed] = server.post("/prompt", body)["prompt_id"]
        return {seed: server.wait(prompt, 600) for seed, prompt in prompts.items()}

    with ThreadPoolExecutor(CLIENTS) as clients:
        results = {seed: outputs for part in clients.map(ask, range(CLIENTS)) for seed, outputs in part.items()}
    assert {seed: checksum(outputs) for seed, outputs in results.items()} == alone
    names = [item["filename"] for outputs in results.values() for item in outputs["save"]["images"]]
    assert len(set(names)) == len(names) == PROMPTS
    assert {path.name for path in (server.base / "output").glob("crowd*")} == set(names)


@pytest.mark.case("Concurrency", "cancel while queued")
def test_a_prompt_is_taken_off_the_queue(server, clip, workflow):
    """It never runs; those before and behind it do, to the last bit."""
    expected = [checksum(server.run(clip({"sampler.seed": seed}))) for seed in (101, 102)]
    running = server.submit(workflow({**LONG, "sampler.seed": 100}))
    wait_for(lambda: not queued(server))
    first, gone, last = (
        server.submit(clip({"sampler.seed": seed, "save.filename_prefix": name}))
        for seed, name in ((101, "first"), (103, "gone"), (102, "last"))
    )
    assert queued(server) == [first, gone, last]
    server.post("/queue", {"delete": [gone]})
    assert queued(server) == [first, last]
    server.post("/interrupt", {"prompt_id": running})
    with pytest.raises(Failed, match="interrupted"):
        server.wait(running, 30)
    assert [checksum(server.wait(prompt)) for prompt in (first, last)] == expected
    assert not server.busy()
    assert not server.get(f"/history/{gone}").get(gone, {}).get("outputs")
    assert not list((server.base / "output").glob("gone*"))


@pytest.mark.case("Concurrency", "cancel while queued")
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_in_the_script_that_waits_leaves_the_run_of_another(server, workflow, tmp_path):
    running = server.submit(workflow({**LONG, "sampler.seed": 104}))
    wait_for(lambda: not queued(server))
    command = [
        sys.executable,
        str(SCRIPT),
        str(API_WORKFLOW),
        "--server",
        server.url,
        "--output",
        str(tmp_path / "out"),
    ]
    script = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: queued(server))
    script.send_signal(signal.SIGINT)
    _, said = script.communicate(timeout=30)
    assert script.returncode == 130
    assert said.endswith("interrupted\n")
    assert not (tmp_path / "out").exists()
    assert [item[1] for item in server.get("/queue")["queue_running"]] == [running]
    assert not queued(server)
    server.post("/interrupt", {})
    with pytest.raises(Failed, match="interrupted"):
        server.wait(running, 30)


@pytest.mark.case("Life", "a soak of many runs in one host process")
def test_a_host_that_runs_on_and_on_holds_no_more(server, clip):
    """UNIAVGEN_SOAK=200 runs it so often, and -s shows the memory."""
    held = []
    for run in range(RUNS + 2):
        assert server.run(clip({"sampler.seed": 1000 + run}))["save"]["images"]
        if run % 5 == 1:  # after the two to begin with, and then after every five
            held += server.run({"held": node("UniAVGenTestHeld")})["held"]["held"]
            print(f"after {run - 1} runs: {held[-1]['resident'] / 2**20:.0f} MiB, {held[-1]['tensors']} tensors")
    assert len(held) == RUNS // 5 + 1
    assert len({(count["tensors"], count["bytes"], count["GPU"], count["threads"]) for count in held}) == 1
    assert held[-1]["resident"] - held[0]["resident"] < 10 * 2**20
