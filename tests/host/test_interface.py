"""Saved workflows keep working: the nodes are as recorded in tests/data/node_interface.json.

What a workflow holds may only grow: a new input comes last, is optional, and is added to the record. See
nodes/replaced.py for what cannot stay.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from host.hosts import Host, run_inside
from host.test_workflows import to_api, widget_names
from interface import RECORD, ROOT, named_inputs, present

FIRST = ROOT / "tests/data/first_workflow"


def described(info: dict[str, Any]) -> dict[str, Any]:
    inputs = named_inputs(info)
    return {
        "inputs": {name: kind for name, (kind, _) in inputs.items()},
        "optional": list(info["input"].get("optional", {})),
        "choices": {name: options["options"] for name, (kind, options) in inputs.items() if kind == "COMBO"},
        "outputs": info["output"],
    }


def test_every_node_is_recorded_and_there(server):
    nodes = {name for name in server.get("/object_info") if name.startswith("UniAVGen") and "Test" not in name}
    assert nodes == set(present())


@pytest.mark.parametrize("node", present())
def test_node_is_as_recorded(server, node):
    """Inputs by name, type and order, outputs by type and order; choices that workflows name are still offered."""
    found, recorded = described(server.get("/object_info")[node]), dict(RECORD[node])
    choices = found.pop("choices"), recorded.pop("choices")
    assert found == recorded
    assert list(found["inputs"]) == list(recorded["inputs"])
    assert choices[0].keys() == choices[1].keys()
    assert all(set(choices[1][name]) <= set(choices[0][name]) for name in choices[1])


def test_the_host_is_told_what_is_replaced(host: Host, tmp_path: Path):
    """A prompt with an old name, given to the host's own table; one that has no table is told nothing."""
    has_table = (host.path / "app/node_replace_manager.py").is_file()
    expected = ["UniAVGenSchedule", {"steps": 7, "shift": 5.0}] if has_table else None
    assert run_inside(host, tmp_path, "replaced_process.py") == expected


def test_the_first_workflow_in_the_browser(server):
    """As it was first published, with fewer widgets: what it holds is kept, and the rest has its defaults."""
    nodes = server.get("/object_info")
    ui, api = (json.loads((FIRST / f"{name}.json").read_text("utf-8")) for name in ("ui", "api"))
    for node in ui["nodes"]:
        if node["type"] in RECORD:
            inputs = {name: spec for group in nodes[node["type"]]["input"].values() for name, spec in group.items()}
            later = widget_names(node["type"], nodes)[len(node["widgets_values"]) :]
            node["widgets_values"] += [inputs[name][1]["default"] for name in later]
    sent = to_api(ui, nodes)
    renamed = dict(zip(api, sent, strict=True))
    for old, node in api.items():
        new = sent[renamed[old]]
        assert new["class_type"] == node["class_type"]
        if node["class_type"] in RECORD:
            linked = {k: [renamed[v[0]], v[1]] if isinstance(v, list) else v for k, v in node["inputs"].items()}
            assert new["inputs"] | linked == new["inputs"]
            assert set(new["inputs"]) - set(linked) <= set(RECORD[node["class_type"]]["optional"])


def test_the_first_workflow_runs(server):
    graph = json.loads((FIRST / "api.json").read_text("utf-8"))
    graph["text"]["inputs"]["speech"] = "Hello."
    graph["sampler"]["inputs"]["steps"] = 1
    graph["conditions"]["inputs"] |= {"frames": 5, "width": 64, "height": 64}
    assert server.run(graph)["save"]
