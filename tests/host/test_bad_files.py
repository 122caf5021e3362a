"""Files that cannot be used are refused on the node that reads them, and the same host goes on working."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damaged import PAGE, POINTER, floats, make_special, safetensors_bytes
from host.hosts import ROOT, Failed, Host, Server, run_inside
from safetensors.torch import load_file, save_file
from vocoders import RELEASE

from uniavgen_core.checkpoint import CONFIG_KEY
from uniavgen_core.tiny.config import TINY
from uniavgen_core.vocoder.bigvgan import MODEL_TYPE

TINY_WEIGHTS = ROOT / "uniavgen_core" / "tiny" / "weights" / "model.safetensors"
SEEDS = itertools.count(1)
ENTRY = json.dumps(floats(0, 4))


def cut(path: Path) -> None:
    data = TINY_WEIGHTS.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def spoilt(path: Path) -> None:
    weights = load_file(TINY_WEIGHTS)
    weights["head.head.bias"][0] = torch.nan
    save_file(weights, path, {CONFIG_KEY: TINY.to_json()})


def far(path: Path) -> None:
    """Finite where it is stored, infinite in any format of a model."""
    weights = load_file(TINY_WEIGHTS)
    weights["head.head.weight"] = 1e300 * weights["head.head.weight"].double()
    save_file(weights, path, {CONFIG_KEY: TINY.to_json()})


def lacking(path: Path) -> None:
    weights = load_file(TINY_WEIGHTS)
    weights["head.head.other"] = weights.pop("head.head.bias")
    save_file(weights, path, {CONFIG_KEY: TINY.to_json()})


def another(path: Path) -> None:
    save_file({"adaln_single.emb.timestep_embedder.linear_1.bias": torch.ones(2)}, path)


def huge(path: Path) -> None:
    save_file(
        {"a": torch.ones(1)}, path, {CONFIG_KEY: TINY.to_json().replace('"num_layers": 6', '"num_layers": 10000')}
    )


def index(listed: dict[str, str]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        shutil.copy(TINY_WEIGHTS, path.with_name("part-00001-of-00002.safetensors"))
        path.write_text(json.dumps({"weight_map": listed}))

    return write


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def case(sentence: str, make: Callable[[Path], object], name: str, file: str = "bad.safetensors") -> Any:
    return pytest.param(make, sentence, file, id=name)


INDEX = "part.safetensors.index.json"
twice = safetensors_bytes(f'{{"a": {ENTRY}, "a": {ENTRY}}}', bytes(4))
holed = safetensors_bytes({"a": floats(0, 4), "b": floats(8, 12)}, bytes(12))
CASES = [
    case("bad.safetensors is truncated: it should have ", cut, "truncated"),
    case("bad.safetensors is a Git-LFS pointer", written(POINTER), "pointer"),
    case("bad.safetensors is a web page", written(PAGE), "page"),
    case("bad.safetensors is empty: download it again", written(b""), "empty"),
    case("the tensor b leaves a hole before it", written(holed), "hole"),
    case("a stands there twice", written(twice), "twice"),
    case("holds numbers that are NaN or infinite in head.head.bias", spoilt, "NaN"),
    case("bad.safetensors holds numbers too large for ", far, "overflow"),
    case("missing (1): head.head.bias; surplus (1): head", lacking, "names"),
    case("bad.safetensors is LTX-Video: load it with", another, "another"),
    case("num_layers must be a whole number from 1", huge, "huge"),
    case("bad.safetensors is a PyTorch pickle", lambda path: torch.save({}, path), "pickle"),
    case("needs part-00009-of", index({"a": "part-00009-of-00009.safetensors"}), "shard", INDEX),
    case("outside of its own folder", index({"a": "../w.safetensors"}), "outside", INDEX),
]
if sys.platform != "win32":
    CASES += [
        case(sentence, lambda path, kind=kind: make_special(kind, path), kind)
        for kind, sentence in (
            ("pipe", "bad.safetensors is a pipe, a socket or a device"),
            ("device", "bad.safetensors is a pipe, a socket or a device"),
            ("dangling link", "nowhere, which is not there: put the file there, or mend the link"),
        )
    ]


def failure(server: Server, graph: dict[str, Any]) -> dict[str, Any]:
    """What the host tells of the node at which a workflow broke."""
    prompt = server.submit(graph)
    with pytest.raises(Failed):
        server.wait(prompt)
    messages = server.get(f"/history/{prompt}")[prompt]["status"]["messages"]
    return next(data for kind, data in messages if kind == "execution_error")


def goes_on(server: Server, workflow: Callable[..., dict[str, Any]]) -> bool:
    """Whether the host makes a clip, one that it does not have yet."""
    return bool(server.run(workflow({"sampler.seed": next(SEEDS)}))["save"]["images"])


@pytest.fixture
def model_file(server: Server):
    """A place in the host's folder of models that is empty again afterwards."""
    folder = server.base / "models" / "uniavgen"
    before = set(os.listdir(folder))
    yield folder
    for name in set(os.listdir(folder)) - before:
        (folder / name).unlink()


@pytest.mark.case("Files", "truncated weights (file and size named)")
@pytest.mark.case("Files", "Git-LFS pointer in place of weights")
@pytest.mark.case("Files", "HTML page in place of weights")
@pytest.mark.case("Files", "empty file")
@pytest.mark.case("Files", "overlapping or holed offsets")
@pytest.mark.case("Files", "duplicate header keys")
@pytest.mark.case("Files", "NaN or infinite weights")
@pytest.mark.case("Files", "missing, surplus, misshapen tensors (listed)")
@pytest.mark.case("Files", "another model's file (named)")
@pytest.mark.case("Files", "model configuration that claims to be huge")
@pytest.mark.case("Files", "pickle payload (never executed)")
@pytest.mark.case("Files", "missing shard")
@pytest.mark.case("Files", "`../` or absolute paths in an index")
@pytest.mark.case("Files", "special or dangling-link paths")
@pytest.mark.case("Files", "weights that become infinite once they are cast")
@pytest.mark.parametrize(("make", "sentence", "file"), CASES)
def test_a_bad_file_is_refused_on_its_node(server, workflow, model_file, make, sentence, file) -> None:
    make(model_file / file)
    told = failure(server, workflow({"load.file": file}))
    assert told["node_id"] == "load" and sentence in told["exception_message"]
    assert goes_on(server, workflow)


LORA = {
    "blocks.0.ffn.0.lora_down.weight": torch.ones(4, TINY.video.dim),
    "blocks.0.ffn.0.lora_up.weight": torch.ones(TINY.video.ffn_dim, 4),
}
UP = "blocks.0.ffn.0.lora_up.weight"
RANK_0 = {
    "blocks.0.ffn.0.lora_down.weight": torch.ones(0, TINY.video.dim),
    "blocks.0.ffn.0.lora_up.weight": torch.ones(TINY.video.ffn_dim, 0),
}
LORAS = [
    case("bad.safetensors is a Git-LFS pointer", written(POINTER), "pointer"),
    case("bad.safetensors is empty", written(b""), "empty"),
    case("leaves a hole before it", written(holed), "hole"),
    case(
        "bad.safetensors holds numbers that are NaN or infinite in blocks.0.ffn.0.lora_up.weight",
        lambda path: save_file({**LORA, "blocks.0.ffn.0.lora_up.weight": torch.full((320, 4), torch.inf)}, path),
        "NaN",
    ),
    case(
        "the LoRA does not fit this model",
        lambda path: save_file({**LORA, "blocks.0.ffn.0.lora_up.weight": torch.ones(3, 4)}, path),
        "names",
    ),
    case(
        "It was made for another one",
        lambda path: save_file({"lora_te_text_model_encoder.lora_up.weight": torch.ones(3, 4)}, path),
        "another",
    ),
    case(
        "the LoRA holds numbers so large that its change of blocks.0.ffn.0.weight could be infinite",
        lambda path: save_file({key: 1e38 * tensor for key, tensor in LORA.items()}, path),
        "overflow",
    ),
    case(
        "bad.safetensors holds numbers too large for float32 in blocks.0.ffn.0.lora_up.weight",
        lambda path: save_file({**LORA, UP: 1e300 * LORA[UP].double()}, path),
        "beyond float32",
    ),
    case("bad.safetensors holds no tensors", lambda path: save_file({}, path), "nothing"),
    case(
        "the LoRA changes nothing by blocks.0.ffn.0.lora_down.weight, which is empty",
        lambda path: save_file(RANK_0, path),
        "rank 0",
    ),
    case(
        "the LoRA holds whole numbers instead of weights in blocks.0.ffn.0.lora_down.weight",
        lambda path: save_file({key: tensor.int() for key, tensor in LORA.items()}, path),
        "whole numbers",
    ),
]


@pytest.mark.case("Files", "Git-LFS pointer in place of weights")
@pytest.mark.case("Files", "empty file")
@pytest.mark.case("Files", "overlapping or holed offsets")
@pytest.mark.case("Files", "NaN or infinite weights")
@pytest.mark.case("Files", "missing, surplus, misshapen tensors (listed)")
@pytest.mark.case("Files", "another model's file (named)")
@pytest.mark.case("Files", "weights that become infinite once they are cast")
@pytest.mark.case("Files", "a LoRA of no tensors, of rank 0 or of whole numbers")
@pytest.mark.parametrize(("make", "sentence", "file"), LORAS)
def test_a_bad_lora_is_refused_on_its_node(server, workflow, make, sentence, file) -> None:
    folder = server.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    make(folder / file)
    graph = workflow()
    chosen = {"lora": file, "strength": 1.0, "unknown_keys": "refuse"}
    graph["lora"] = {"class_type": "UniAVGenLora", "inputs": {"model": ["load", 0], **chosen}}
    graph["sampler"]["inputs"]["model"] = ["lora", 0]
    told = failure(server, graph)
    assert told["node_id"] == "lora" and sentence in told["exception_message"]
    (folder / file).unlink()
    save_file(LORA, folder / "good.safetensors")
    graph["lora"]["inputs"]["lora"] = "good.safetensors"
    assert server.run(graph)["save"]["images"]


@pytest.mark.case("Files", "description nested without end")
def test_the_nodes_are_listed_whatever_lies_in_the_folders(server) -> None:
    """The list of vocoders is made of what their descriptions say."""
    folder = server.base / "models" / "vocoders" / "bad"
    folder.mkdir(parents=True)
    for name, text in (("config.json", "[" * 50_000), ("config.yaml", "[" * 50_000 + "feature_extractor")):
        (folder / name).write_text(text)
        listed = server.get("/object_info/UniAVGenVocoderLoad")["UniAVGenVocoderLoad"]["input"]["required"]["folder"]
        assert "code2wav_bigvgan_model" in str(listed)
    shutil.rmtree(folder)


@pytest.mark.case("Files", "empty file")
def test_a_bad_vocoder_is_refused_on_its_node(server, workflow) -> None:
    folder = server.base / "models" / "vocoders" / "empty"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": MODEL_TYPE, **RELEASE}))
    (folder / "model.safetensors").touch()
    graph = workflow({"sound.vocoder": ["vocoder", 0]})
    chosen = {"folder": "empty", "hub_id": "", "download": False}
    graph["vocoder"] = {"class_type": "UniAVGenVocoderLoad", "inputs": chosen}
    told = failure(server, graph)
    assert told["node_id"] == "vocoder" and "model.safetensors is empty: download it again" in told["exception_message"]
    shutil.rmtree(folder)
    assert goes_on(server, workflow)


@pytest.mark.case("Files", "any bytes in place of a LoRA")
def test_any_tensors_in_a_lora(host: Host, tmp_path: Path) -> None:
    """300 files of the host's names with other tensors: refused with a sentence, or added and computed."""
    measured = run_inside(host, tmp_path, "in_process_loras.py")
    assert measured["broken"] == []
    assert measured["refused"] > 100 and measured["added"] > 40
    assert measured["changed"] == []
