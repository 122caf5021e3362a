"""The workflow for the browser is whole and is the same as the one for the API."""

from __future__ import annotations

import json

import pytest
from host.hosts import ROOT
from interface import named_inputs

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
NOTES = ("Note", "MarkdownNote")
# widgets that the browser adds or that differ by the host's version
BROWSER_ONLY = {"LoadImage": 1, "LoadVideo": 1, "LoadAudio": 2}
NOT_COMPARED = {"SaveVideo"}


def widget_names(node: str, nodes: dict) -> list[str]:
    """Inputs of a node that have a widget, in order, with the one the browser adds after a seed."""
    names = []
    for inputs in nodes[node]["input"].values():
        for name, (kind, *rest) in ((name, spec) for name, spec in inputs.items() if isinstance(spec, list)):
            options = rest[0] if rest else {}
            if isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"):
                names += [name, "control"] if options.get("control_after_generate") else [name]
    return names


def to_api(ui: dict, nodes: dict) -> dict[str, dict]:
    """What the browser would send: inputs by node id, links as [node id, slot]."""
    links = {link[0]: link for link in ui["links"]}
    result = {}
    for node in ui["nodes"]:
        if node["type"] in NOTES:
            continue
        names = widget_names(node["type"], nodes)
        values = node["widgets_values"][: len(node["widgets_values"]) - BROWSER_ONLY.get(node["type"], 0)]
        if node["type"] not in NOT_COMPARED:
            assert len(names) == len(values), node["type"]
        inputs = {name: value for name, value in zip(names, values, strict=False) if name != "control"}
        for socket in node["inputs"]:
            if socket["link"] is None:
                continue
            _, source, slot, target, _, kind = links[socket["link"]]
            assert target == node["id"] and kind == socket["type"]
            inputs[socket["name"]] = [source, slot]
        result[node["id"]] = {"class_type": node["type"], "inputs": inputs}
    return result


@pytest.mark.parametrize("name", NAMES)
def test_ui_workflow_is_whole(server, name):
    """Every node exists, every link joins two sockets of its type, and nothing required is open."""
    nodes = server.get("/object_info")
    ui = json.loads((ROOT / "workflows" / f"{name}.json").read_text())
    by_id = {node["id"]: node for node in ui["nodes"]}
    assert len(by_id) == len(ui["nodes"])
    for node in ui["nodes"]:
        assert node["type"] in nodes or node["type"] in NOTES
    for link, source, slot, target, index, kind in ui["links"]:
        output, socket = by_id[source]["outputs"][slot], by_id[target]["inputs"][index]
        assert link in output["links"] and link == socket["link"]
        assert kind == nodes[by_id[source]["type"]]["output"][slot]
        inputs = nodes[by_id[target]["type"]]["input"]
        expected = {**inputs["required"], **inputs.get("optional", {})}[socket["name"]][0]
        assert kind == expected
    for node in to_api(ui, nodes).values():
        missing = set(nodes[node["class_type"]]["input"].get("required", {})) - set(node["inputs"])
        assert not missing or node["class_type"] in NOT_COMPARED, missing


@pytest.mark.parametrize("name", NAMES)
def test_ui_and_api_workflow_are_the_same(server, name):
    nodes = server.get("/object_info")
    ui = to_api(json.loads((ROOT / "workflows" / f"{name}.json").read_text()), nodes)
    api = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text())
    renamed = dict(zip(api, ui, strict=True))  # both are written in the same order
    for old, new in renamed.items():
        assert api[old]["class_type"] == ui[new]["class_type"]
        if api[old]["class_type"] not in NOT_COMPARED:
            inputs = api[old]["inputs"].items()
            linked = {k: [renamed[v[0]], v[1]] if isinstance(v, list) else v for k, v in inputs}
            assert linked == ui[new]["inputs"]


@pytest.mark.parametrize("name", NAMES)
def test_workflow_is_offered_as_a_template(server, name):
    """The host serves one of several folders: an `examples/` beside `workflows/` would hide it."""
    assert name in server.get("/workflow_templates")["uniavgen"]
    served = server.get(f"/api/workflow_templates/uniavgen/{name}.json")
    assert served == json.loads((ROOT / "workflows" / f"{name}.json").read_text())


def test_every_input_of_the_pack_is_explained(server):
    """A tooltip for each input and output, and ids, category and sockets that stay as they are."""
    nodes = {name: node for name, node in server.get("/object_info").items() if name.startswith("UniAVGen")}
    nodes = {name: node for name, node in nodes.items() if "Test" not in name}
    assert set(nodes) == {
        "UniAVGenLoad",
        "UniAVGenVocoderLoad",
        "UniAVGenLora",
        "UniAVGenTextEncode",
        "UniAVGenConditions",
        "UniAVGenSchedule",
        "UniAVGenGuider",
        "UniAVGenJointSampler",
        "UniAVGenLongSampler",
        "UniAVGenVocosDecode",
        "UniAVGenMux",
        "UniAVGenFaceMaskOverlay",
        "UniAVGenMelPicture",
        "UniAVGenLipSyncScore",
        "UniAVGenJudge",
    }
    for name, node in nodes.items():
        assert node["category"] == "UniAVGen"
        assert node["description"]
        for key, spec in named_inputs(node).items():
            assert len(spec) > 1 and spec[1].get("tooltip"), f"{name}.{key}"
        assert all(node["output_tooltips"])
