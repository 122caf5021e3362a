"""The workflows for the published files in the host: refused without these, and run with small random ones.

Caption encoder and video autoencoder are told by their full size, so the tiny model's take their place when they run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fake_hub import Hub, fake_hub
from host.hosts import Failed, Host, Refused, Server, serve
from host.released_files import model_files, vocoder_files, write

from scripts.released_workflows import LOADERS, SUFFIX, WORKFLOWS, offer, originals
from uniavgen_core.parts import BUNDLE, VOCODER_FOLDER

HOST_TEMPLATE = "video_wan2_2_5B_ti2v"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with fake_hub() as running:
        running.files = {BUNDLE: vocoder_files()}
        yield running


@pytest.fixture(scope="module")
def server(host: Host, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A host of its own, which has none of the files and whose huggingface_hub asks the Hub of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        with serve(host, tmp_path_factory.mktemp("released")) as running:
            yield running


def twin(name: str) -> dict[str, Any]:
    return json.loads((WORKFLOWS / "api" / f"{name}{SUFFIX}.json").read_text("utf-8"))


def with_tiny_parts(graph: dict[str, Any]) -> dict[str, Any]:
    """The tiny model's caption encoder and video autoencoder in place of the host's."""
    graph["tiny"] = {"class_type": "UniAVGenLoad", "inputs": {"file": "tiny (built in)", "weight_dtype": "default"}}
    for loader in LOADERS:
        if loader.part:
            del graph[loader.id]
            for node in graph.values():
                links = {key: ["tiny", loader.slot] for key, value in node["inputs"].items() if value == [loader.id, 0]}
                node["inputs"].update(links)
    return graph


def small(name: str) -> dict[str, Any]:
    graph = with_tiny_parts(twin(name))
    graph["conditions"]["inputs"].update(width=64, height=64)
    graph["schedule" if name == "custom_sampling" else "sampler"]["inputs"]["steps"] = 1
    return graph


def refusals(server: Server, graph: dict[str, Any]) -> dict[str, str]:
    """Node -> what the host says about it when the graph is queued."""
    with pytest.raises(Refused) as refusal:
        server.submit(graph)
    errors = json.loads(str(refusal.value))["node_errors"]
    return {
        node: " ".join(error["message"] + ": " + error["details"] for error in errors[node]["errors"])
        for node in errors
    }


def entries(value: Any) -> Iterator[dict]:
    """Every entry of a `models` property in a workflow, in its subgraphs too."""
    if isinstance(value, dict):
        models = value.get("models", [])
        yield from (entry for entry in models if isinstance(entry, dict))
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from entries(item)


def test_addresses_are_those_of_the_hosts_own_templates(server):
    known = list(entries(server.get(f"/templates/{HOST_TEMPLATE}.json")))
    assert known
    for loader in LOADERS:
        assert not loader.part or offer(loader.part) in known


@pytest.mark.parametrize("name", originals())
def test_the_host_knows_every_node_and_input(server, name):
    nodes = server.get("/object_info")
    for node in twin(name).values():
        groups = nodes[node["class_type"]]["input"]
        known = {**groups["required"], **groups.get("optional", {})}
        assert set(groups["required"]) <= set(node["inputs"]) <= set(known), node["class_type"]


@pytest.mark.parametrize("name", originals())
def test_refused_without_the_files(server, inputs, name):
    """Every missing file is named at its own node before anything runs."""
    graph = twin(name)
    said = refusals(server, graph)
    assert "umt5_xxl_fp8_e4m3fn_scaled.safetensors" in said.pop("clip")
    assert "wan2.2_vae.safetensors" in said.pop("vae")
    if "vocoder" in graph:
        sentence = said.pop("vocoder")
        assert f"there is no vocoder '{VOCODER_FOLDER}' in models/uniavgen" in sentence
        assert "switch 'download' on" in sentence
    assert not any(said.values())


def test_the_model_comes_first(server, hub, inputs):
    """What Load UniAVGen lacks is said, and what it fetches is there, before any other node runs."""
    graph = small("joint")
    graph["bare"] = {"class_type": "UniAVGenTestBareClip", "inputs": {}}
    graph["text"]["inputs"]["clip"] = ["bare", 0]  # needs the vocabulary
    graph["vocoder"]["inputs"]["download"] = True
    hub.asked.clear()
    with pytest.raises(Failed, match="the published model is not in"):
        server.run(graph)
    assert not hub.asked


@pytest.mark.parametrize("name", originals())
def test_runs_on_files_of_the_released_layout(server, hub, inputs, name):
    """The model is there; the vocoder comes by the switch of its node, once."""
    folder = server.base / "models" / "uniavgen"
    write(model_files(), folder)
    graph = small(name)
    if "vocoder" in graph:
        graph["vocoder"]["inputs"]["download"] = True
    hub.asked.clear()
    was_there = (folder / VOCODER_FOLDER).exists()
    assert server.run(graph)["save"]["images"]
    if "vocoder" not in graph or was_there:
        assert not hub.asked
    else:
        assert {path for path, _ in hub.asked} == set(hub.files[BUNDLE])
    for path, content in hub.files[BUNDLE].items():
        assert not (folder / path).exists() or (folder / path).read_bytes() == content
