"""Runs inside the host's Python: what its table of replaced nodes makes of a prompt, as JSON on the last line.

python replaced_process.py COMFYUI_FOLDER PACK_FOLDER
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from types import SimpleNamespace
from typing import Any

from in_process import load_host

ENTRY = {
    "old_node_id": "UniAVGenOld",
    "new_node_id": "UniAVGenSchedule",
    "input_mapping": [{"new_id": "steps", "old_id": "count"}, {"new_id": "shift", "set_value": 5.0}],
}


def main(folder: str, pack: str) -> list[Any] | None:
    _, name = load_host(folder, pack)
    replaced = importlib.import_module(f"{name}.nodes.replaced")
    replaced.REPLACED.append(ENTRY)
    try:
        from app.node_replace_manager import NodeReplaceManager
    except ImportError:
        return asyncio.run(replaced.register_replaced())
    from server import PromptServer

    manager = NodeReplaceManager()
    PromptServer.instance = SimpleNamespace(node_replace_manager=manager)
    asyncio.run(replaced.register_replaced())
    prompt = {"1": {"class_type": "UniAVGenOld", "inputs": {"count": 7}, "_meta": {}}}
    manager.apply_replacements(prompt)
    return [prompt["1"]["class_type"], prompt["1"]["inputs"]]


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
