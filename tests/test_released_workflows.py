"""The workflows for the published files are what the script makes of those for the tiny model."""

from __future__ import annotations

import json
from itertools import combinations

import pytest

from scripts.released_workflows import LOADERS, SUFFIX, WORKFLOWS, api_text, originals, released_api, twins, ui_text

TITLE = 30  # pixels above a node
UMT5 = {
    "name": "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    "url": "https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/text_encoders/"
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    "directory": "text_encoders",
}
VAE = {
    "name": "wan2.2_vae.safetensors",
    "url": "https://huggingface.co/Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files/vae/"
    "wan2.2_vae.safetensors",
    "directory": "vae",
}


def read(name: str) -> dict:
    return json.loads((WORKFLOWS / f"{name}.json").read_text("utf-8"))


def test_every_workflow_has_its_twin_and_no_other_is_there():
    made = {path for name in originals() for path in twins(name)}
    assert made == {*WORKFLOWS.glob(f"*{SUFFIX}.json"), *WORKFLOWS.glob(f"api/*{SUFFIX}.json")}
    assert len(made) == 14
    assert {path.stem for path in WORKFLOWS.glob("*.jpg")} == {path.stem for path in WORKFLOWS.glob("*.json")}


@pytest.mark.parametrize("name", originals())
def test_twins_are_what_the_script_makes(name):
    for path, text in twins(name).items():
        assert path.read_text("utf-8") == text, f"run `python -m scripts.released_workflows` ({path.name})"


@pytest.mark.parametrize("name", originals())
def test_twins_are_laid_out_like_the_originals(name):
    """The originals' text comes back but for the places where it is folded otherwise."""
    assert ui_text(read(name)) == (WORKFLOWS / f"{name}.json").read_text("utf-8")
    assert json.loads(api_text(read(f"api/{name}"))) == read(f"api/{name}")


@pytest.mark.parametrize("name", originals())
def test_only_the_loaders_differ(name):
    """Nodes and links keep their ids; nothing comes from the published file but the model."""
    original, twin = read(name), read(name + SUFFIX)
    ids = [node["id"] for node in twin["nodes"]]
    assert ids[: len(original["nodes"])] == [node["id"] for node in original["nodes"]]
    assert len(set(ids)) == len(ids) and max(ids) == twin["last_node_id"]
    assert [link[0] for link in twin["links"]] == [link[0] for link in original["links"]]
    assert [link[3:] for link in twin["links"]] == [link[3:] for link in original["links"]]
    assert twin["last_link_id"] == original["last_link_id"] and twin["id"] != original["id"]
    (source,) = (node for node in twin["nodes"] if node["type"] == "UniAVGenLoad")
    assert source["widgets_values"] == ["UniAVGen (published)", "default", False]
    assert {link[2] for link in twin["links"] if link[1] == source["id"]} == {0}
    (note,) = (node["widgets_values"][0] for node in twin["nodes"] if node["type"] == "MarkdownNote")
    assert "tiny model" not in note and "F5TTS_v1_Base/vocab.txt" in note


@pytest.mark.parametrize("name", originals())
def test_no_node_covers_another(name):
    boxes = []
    for node in read(name + SUFFIX)["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        boxes.append((x, y - TITLE, x + width, y + height))
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


@pytest.mark.parametrize("name", originals())
def test_addresses_of_the_missing_files(name):
    """The front end offers an entry only if a widget of its node has its name."""
    offered = {node["type"]: node["properties"].get("models") for node in read(name + SUFFIX)["nodes"]}
    assert offered.pop("CLIPLoader") == [UMT5]
    assert offered.pop("VAELoader") == [VAE]
    assert set(offered.values()) == {None}
    for node in read(name + SUFFIX)["nodes"]:
        assert all(entry["name"] in node["widgets_values"] for entry in node["properties"].get("models", []))


def test_a_node_of_the_same_name_is_refused():
    graph = {"load": {"class_type": "UniAVGenLoad", "inputs": {"file": "tiny (built in)"}}}
    graph[LOADERS[0].id] = {"class_type": "Any", "inputs": {"clip": ["load", 1]}}
    with pytest.raises(ValueError, match="has a node 'clip' of its own"):
        released_api(graph)
