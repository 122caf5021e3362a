"""What saved workflows and programs may name of the nodes, and what replaces names that are gone."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORD: dict[str, dict[str, Any]] = json.loads((ROOT / "tests/data/node_interface.json").read_text("utf-8"))
OPEN = {"file", "lora", "folder", "sampler", "weights"}  # what these offer comes from folders or from the host


def replaced() -> list[dict[str, Any]]:
    """The table of `nodes/replaced.py`, without the host that the other nodes import."""
    spec = importlib.util.spec_from_file_location("replaced", ROOT / "nodes/replaced.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.REPLACED


def present() -> list[str]:
    """Recorded nodes that were not replaced."""
    gone = {entry["old_node_id"] for entry in replaced()}
    return [node for node in RECORD if node not in gone]


def named_inputs(info: dict[str, Any]) -> dict[str, Any]:
    """The inputs that a user sees in what the host tells of a node; nodes at the end of a graph have hidden ones."""
    return {name: spec for group, inputs in info["input"].items() if group != "hidden" for name, spec in inputs.items()}
