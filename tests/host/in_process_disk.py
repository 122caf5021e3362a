"""Runs inside the host's Python, with sockets shut: the joint workflow from loading to the saved MP4, by the host's own
executor, first on a full disk. JSON on the last line.

python in_process_disk.py COMFYUI_FOLDER PACK_FOLDER OUTPUT_FOLDER [killed]

killed: in the middle of saving
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from in_process import load_host

ROOT = Path(__file__).resolve().parents[2]


def workflow() -> dict[str, Any]:
    graph = json.loads((ROOT / "workflows" / "api" / "joint.json").read_text())
    graph["conditions"]["inputs"] |= {"frames": 5, "width": 64, "height": 64}
    graph["sampler"]["inputs"]["steps"] = 1
    graph["text"]["inputs"]["speech"] = "Hi."
    return graph


def run(graph: dict[str, Any]) -> str:
    """The host's last word on a workflow: the name of its event, or the sentence of its error."""
    import execution

    server = SimpleNamespace(client_id=None, last_node_id=None, send_sync=lambda *_: None, sockets_metadata={})
    executor = execution.PromptExecutor(server, cache_args={"lru": 0, "ram": 0, "ram_inactive": 0})
    executor.execute(graph, "prompt", {}, ["save"])
    event, told = executor.status_messages[-1]
    return told.get("exception_message", event).strip()


def fill_the_disk(whole: Any) -> None:
    def begin(path: Path) -> Any:
        link = path.with_name(f".{'0' * 32}.unfinished")
        link.symlink_to("/dev/full")
        return link, link.open("wb")

    whole.begin = begin


def kill_in_the_middle(mux: Any) -> None:
    packets = mux._picture_packets

    def killed(*given: Any) -> Any:
        for number, packet in enumerate(packets(*given)):
            if number == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            yield packet

    mux._picture_packets = killed


def main(folder: str, pack: str, output: str, *how: str) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT / "tests"))
    from shut import shut

    sys.path.pop(0)
    tried = shut()
    _, name = load_host(folder, pack)
    import folder_paths

    import nodes

    saving = str(Path(folder, "comfy_extras", "nodes_video.py"))
    assert asyncio.run(nodes.load_custom_node(saving, module_parent="comfy_extras"))
    given = Path(output).with_name("given")
    given.mkdir(exist_ok=True)
    shutil.copy(ROOT / "assets" / "portrait.png", given / "example.png")
    folder_paths.set_input_directory(str(given))
    folder_paths.set_output_directory(output)
    whole = importlib.import_module(f"{name}.uniavgen_core.whole")
    if how:
        kill_in_the_middle(importlib.import_module(f"{name}.uniavgen_core.video.mux"))
        return {"not killed": run(workflow())}
    before = sorted(str(path.relative_to(output)) for path in Path(output).rglob("*") if path.is_file())
    begin = whole.begin
    fill_the_disk(whole)
    full = run(workflow())
    whole.begin = begin
    done = run(workflow())
    after = sorted(str(path.relative_to(output)) for path in Path(output).rglob("*") if path.is_file())
    return {"before": before, "full": full, "done": done, "after": after, "tried": tried}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
