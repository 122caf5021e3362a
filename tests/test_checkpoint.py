"""Weights on disk: what is read, and the sentence for everything that must not be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from uniavgen_core.checkpoint import (
    CheckpointError,
    check_names,
    check_numbers,
    config_of,
    expected_shapes,
    load_model,
    load_state_dict,
)
from uniavgen_core.config import RELEASE, BranchConfig, ModelConfig

SMALL = ModelConfig(
    video=BranchConfig(16, 24, 2),
    audio=BranchConfig(8, 12, 1),
    num_layers=2,
    freq_dim=4,
    text_len=4,
    text_dim=6,
    speech_vocab=5,
    speech_dim=8,
    speech_layers=1,
)
TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.tensor(7)}


def shard(folder: Path, index: dict | None = None, **files: dict[str, torch.Tensor]) -> Path:
    """Writes shards and the index that lists them; ``index`` replaces the list."""
    for name, tensors in files.items():
        save_file(tensors, folder / f"{name}.safetensors", {"from": name})
    listed = {tensor: f"{name}.safetensors" for name, tensors in files.items() for tensor in tensors}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 9, "kept": "yes"}, "weight_map": index or listed}))
    return path


def small_weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {name: torch.randn(shape, generator=generator) for name, shape in expected_shapes(SMALL).items()}


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_state_dict(path)
    return str(error.value)


def test_reads_a_file_with_metadata(tmp_path):
    save_file(TENSORS, tmp_path / "w.safetensors", {"key": "value"})
    for path in (tmp_path / "w.safetensors", str(tmp_path / "w.safetensors"), tmp_path):
        tensors, metadata = load_state_dict(path)
        assert metadata == {"key": "value"}
        assert {name: (t.dtype, t.tolist()) for name, t in tensors.items()} == {
            name: (t.dtype, t.tolist()) for name, t in TENSORS.items()
        }


def test_reads_shards_by_index_and_by_folder(tmp_path):
    index = shard(tmp_path, one={"a": TENSORS["a"]}, two={"b": TENSORS["b"], "c": TENSORS["c"]})
    for path in (index, tmp_path):
        tensors, metadata = load_state_dict(path)
        assert sorted(tensors) == ["a", "b", "c"] and torch.equal(tensors["a"], TENSORS["a"])
        assert metadata["kept"] == "yes" and "total_size" not in metadata


@pytest.mark.case("Files", "truncated weights (file and size named)")
@pytest.mark.case("Files", "empty file")
@pytest.mark.case("Files", "HTML page in place of weights")
@pytest.mark.case("Files", "Git-LFS pointer in place of weights")
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 14\n", "Git-LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n <html>", "web page"),
        (b"PK\x03\x04" + bytes(60), "pickle"),
        (b"\x80\x02}q\x00X\x01\x00\x00\x00a", "pickle"),
        (b"GGUF\x03\x00\x00\x00rest of it", "GGUF"),
        (b"abc", "not a safetensors file"),
        (bytes(range(1, 60)), "not a safetensors file"),
        ((40).to_bytes(8, "little") + b'{"a":', "is truncated: its header alone should have 48 bytes, the file has 13"),
        ((4).to_bytes(8, "little") + b"{no}", "damaged header"),
        ((8).to_bytes(8, "little") + b'{"a": 1}', "damaged header"),
    ],
)
def test_what_is_not_weights_is_refused_by_name(tmp_path, content, sentence):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    message = refusal(path)
    assert sentence in message and message.startswith("model.safetensors ")


@pytest.mark.case("Files", "pickle payload (never executed)")
@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".bin"])
def test_a_pickle_is_never_opened(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"model{suffix}"
    torch.save({"a": torch.ones(2)}, path)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    assert "pickle" in refusal(path)


@pytest.mark.case("Files", "truncated weights (file and size named)")
def test_a_truncated_file_says_both_sizes(tmp_path):
    path, data = tmp_path / "w.safetensors", save(TENSORS)
    path.write_bytes(data[:-5])
    assert f"w.safetensors is truncated: it should have {len(data)} bytes and has {len(data) - 5}" in refusal(path)
    path.write_bytes(data + b"more")
    assert "something after its end" in refusal(path)


def test_a_header_the_library_refuses_is_a_sentence(tmp_path):
    header = json.dumps({"a": {"dtype": "NONE", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "w.safetensors cannot be read" in refusal(tmp_path / "w.safetensors")


def test_paths_and_folders_without_one_answer(tmp_path):
    assert "there is no file" in refusal(tmp_path / "absent.safetensors")
    assert "neither" in refusal(tmp_path)
    for name in ("x", "y"):
        save_file(TENSORS, tmp_path / f"{name}.safetensors")
    assert "x.safetensors, y.safetensors" in refusal(tmp_path)


@pytest.mark.case("Disk and network", "names of shards that lead elsewhere")
@pytest.mark.case("Files", "`../` or absolute paths in an index")
@pytest.mark.parametrize("where", ["/w.safetensors", "../w.safetensors", "a/../../w", "C:\\w", "C:w", "..\\w", "", 3])
def test_an_index_stays_in_its_folder(tmp_path, where):
    index = shard(tmp_path, index={"a": where})
    assert "outside of its own folder" in refusal(index) and repr(where) in refusal(index)


@pytest.mark.case("Disk and network", "links in place of weights")
def test_shards_may_be_links_as_in_the_cache_of_the_hub(tmp_path):
    """They are only read; one that leads nowhere is a file that is missing."""
    (tmp_path / "blobs").mkdir()
    save_file({"a": TENSORS["a"]}, tmp_path / "blobs" / "0123")
    index = shard(tmp_path, index={"a": "one.safetensors"})
    (tmp_path / "one.safetensors").symlink_to(tmp_path / "blobs" / "0123")
    assert torch.equal(load_state_dict(index)[0]["a"], TENSORS["a"])
    (tmp_path / "blobs" / "0123").unlink()
    assert "needs one.safetensors, which is not in" in refusal(index)


@pytest.mark.case("Files", "missing shard")
def test_faulty_indices(tmp_path):
    index = shard(tmp_path, index={"a": "one.safetensors", "d": "three.safetensors"}, one={"a": TENSORS["a"]})
    message = refusal(index)
    assert "needs three.safetensors, which is not in" in message

    index = shard(tmp_path, index={"a": "one.safetensors", "d": "one.safetensors"}, one={"a": TENSORS["a"]})
    assert "one.safetensors does not hold d" in refusal(index)

    shard(tmp_path, one={"a": TENSORS["a"]}, two={"a": TENSORS["a"], "b": TENSORS["b"]})
    index = shard(tmp_path, index={"a": "one.safetensors", "b": "two.safetensors"})
    assert "two.safetensors repeats a" in refusal(index)

    (tmp_path / "one.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert refusal(index).startswith("one.safetensors is a Git-LFS pointer")

    for content, sentence in (
        ("[]", "(it needs a 'weight_map'; it is no object)"),
        ("{}", "what it lists is no object"),
        ('{"weight_map": ["a"]}', "what it lists is no object"),
        ('{"weight_map": {"a": "one.safetensors"}, "metadata": [1]}', "what it lists is no object"),
        ("{", "weight_map"),
        ("<html>", "web page"),
        ("", "empty"),
    ):
        index.write_text(content)
        assert sentence in refusal(index)


@pytest.mark.case("Files", "missing, surplus, misshapen tensors (listed)")
def test_names_and_shapes_are_listed():
    expected = {"same": (2,), "missing.weight": (1,), "shape": (3, 4)}
    check_names({"same": (2,), "missing.weight": [1], "shape": (3, 4)}, expected, "x")
    with pytest.raises(CheckpointError) as error:
        check_names({"same": [2], "surplus.bias": (1,), "shape": (4, 3)}, expected, "w.safetensors")
    for part in (
        "the tensors of w.safetensors",
        "missing (1): missing.weight",
        "surplus (1): surplus.bias",
        "of another shape (1): shape [4, 3] instead of [3, 4]",
    ):
        assert part in str(error.value)


def test_long_lists_of_names_are_cut():
    with pytest.raises(CheckpointError) as error:
        check_names({}, {f"layer.{i}": (1,) for i in range(123)}, "w")
    assert "missing (123): layer.0, " in str(error.value) and "layer.19 and 103 more" in str(error.value)
    assert "layer.20" not in str(error.value)


def test_configuration_from_metadata():
    assert config_of({}) == RELEASE
    assert config_of({"uniavgen_config": SMALL.to_json()}) == SMALL
    for text in ("{", "{}", "[]", json.dumps({**json.loads(SMALL.to_json()), "video": {"size": 3}})):
        with pytest.raises(CheckpointError, match="uniavgen_config"):
            config_of({"uniavgen_config": text})


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16])
def test_loads_a_model_ready_for_inference(tmp_path, dtype):
    weights = {name: tensor.half() for name, tensor in small_weights().items()}
    save_file(weights, tmp_path / "m.safetensors", {"uniavgen_config": SMALL.to_json()})
    model = load_model(tmp_path / "m.safetensors", dtype=dtype)
    assert model.config == SMALL and not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name].to(dtype or torch.float16)) and tensor.device.type == "cpu"
    assert not any(p.requires_grad for p in model.parameters())
    assert "audio_padding" in dict(model.named_parameters())


@pytest.mark.case("Files", "missing, surplus, misshapen tensors (listed)")
def test_a_model_with_other_tensors_is_refused(tmp_path):
    weights = small_weights()
    weights["head.head.extra"] = weights.pop("head.head.bias")
    weights["audio_padding"] = torch.ones(3)
    save_file(weights, tmp_path / "m.safetensors", {"uniavgen_config": SMALL.to_json()})
    with pytest.raises(CheckpointError) as error:
        load_model(tmp_path / "m.safetensors")
    assert all(
        part in str(error.value)
        for part in ("m.safetensors", "head.head.bias", "head.head.extra", "audio_padding [3] instead of [8]")
    )


def test_weights_without_configuration_are_the_release(tmp_path):
    save_file(small_weights(), tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"of another shape .* instead of .*3072"):
        load_model(tmp_path / "m.safetensors")


def test_whole_numbers_are_no_weights():
    expected = {"a": torch.zeros(2), "b": torch.zeros(2)}
    check_numbers({"a": torch.zeros(2, dtype=torch.float8_e4m3fn), "b": torch.zeros(2)}, expected, "file")
    with pytest.raises(CheckpointError, match="file holds whole numbers instead of weights in b"):
        check_numbers({"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.int8)}, expected, "file")
