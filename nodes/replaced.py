"""Nodes that once had another name, so that workflows saved with it still open.

A workflow names nodes by id and inputs by name, and keeps the values of widgets by their position: so an input is only
ever added, at the end and optional. What cannot stay becomes a node with a new id and an entry here, which holds the
arguments of `io.NodeReplace`: old and new id, and where each input and output of the old one went. For example

    {"old_node_id": "UniAVGenOld", "new_node_id": "UniAVGenNew", "old_widget_ids": ["steps"],
     "input_mapping": [{"new_id": "steps", "old_id": "steps"}], "output_mapping": [{"new_idx": 0, "old_idx": 0}]}

`tests/data/node_interface.json` holds all that workflows may name, and a test compares.
"""

from __future__ import annotations

from typing import Any

REPLACED: list[dict[str, Any]] = []


async def register_replaced() -> None:
    """Tells the host. One that has no such table, as ComfyUI 0.9, names such a node as missing."""
    from comfy_api.latest import ComfyAPI, io

    if hasattr(io, "NodeReplace"):
        for entry in REPLACED:
            await ComfyAPI().node_replacement.register(io.NodeReplace(**entry))
