"""The bundle's text encoder and VAE, PyTorch pickles, become files that the host's own loaders read.

`data/released_parts.json` has names and shapes of the released classes (`wan/modules/t5.py`, `vae2_2.py`) at small
sizes. That they compute the same as the host's classes with converted weights was measured once, with random weights:
2.6e-7 relative L2 error for the hidden states, 1.1e-6 for latents and pictures; the constants of the latents are equal.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from test_cli import files

from uniavgen_core.checkpoint import CheckpointError
from uniavgen_core.convert import convert

PARTS = json.loads((Path(__file__).parent / "data" / "released_parts.json").read_text())
DEPTH = 3


@pytest.fixture
def bundle(tmp_path) -> Path:
    """The files as they are published, with random numbers."""
    generator = torch.Generator().manual_seed(6)
    folder = tmp_path / "bundle"
    (folder / "google" / "umt5-xxl").mkdir(parents=True)
    (folder / "google" / "umt5-xxl" / "spiece.model").write_bytes(b"pieces \x00\xff")
    for part, file in (("text_encoder", "models_t5_umt5-xxl-enc-bf16.pth"), ("vae", "Wan2.2_VAE.pth")):
        weights = {name: torch.randn(shape, generator=generator) for name, shape in PARTS[part].items()}
        torch.save(weights, folder / file)
    return folder


def refusal(*arguments, **named) -> str:
    with pytest.raises(CheckpointError) as error:
        convert(*arguments, **named)
    return str(error.value)


def test_the_text_encoder_gets_the_names_of_transformers(bundle, tmp_path):
    """Which are the host's; and the tokenizer comes with it."""
    from transformers import UMT5Config, UMT5EncoderModel

    source, target = bundle / "models_t5_umt5-xxl-enc-bf16.pth", tmp_path / "t5.safetensors"
    what, _ = convert(source, target, "same")
    assert what == "the text encoder (umT5-XXL)"
    tensors, old = load_file(target), torch.load(source, weights_only=True)
    assert bytes(tensors.pop("spiece_model").tolist()) == b"pieces \x00\xff"
    with torch.device("meta"):
        sizes = {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_heads": 4, "num_layers": DEPTH, "vocab_size": 50}
        model = UMT5EncoderModel(UMT5Config(**sizes))
    expected = {n: tuple(x.shape) for n, x in model.state_dict().items() if n != "encoder.embed_tokens.weight"}
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == expected
    for i in range(DEPTH):  # those of equal shapes, which names alone could confuse
        block = f"encoder.block.{i}.layer"
        for new, name in (
            *((f"0.SelfAttention.{part}", f"attn.{part}") for part in "qkvo"),
            ("0.layer_norm", "norm1"),
            ("1.layer_norm", "norm2"),
            ("1.DenseReluDense.wi_0", "ffn.gate.0"),
            ("1.DenseReluDense.wi_1", "ffn.fc1"),
        ):
            assert torch.equal(tensors[f"{block}.{new}.weight"], old[f"blocks.{i}.{name}.weight"])


def test_the_text_encoder_in_fp8(bundle, tmp_path):
    target = tmp_path / "t5.safetensors"
    convert(bundle / "models_t5_umt5-xxl-enc-bf16.pth", target, "fp8")
    tensors = load_file(target)
    small = [name for name, tensor in tensors.items() if tensor.dtype == torch.float8_e4m3fn]
    assert len(small) == DEPTH * 7 and not [name for name in small if "bias" in name or "shared" in name]
    assert all(f"{name}_scale" in tensors for name in small)


def test_the_vae_keeps_its_names(bundle, tmp_path):
    source, target = bundle / "Wan2.2_VAE.pth", tmp_path / "vae.safetensors"
    what, losses = convert(source, target)
    old, new = torch.load(source, weights_only=True), load_file(target)
    assert what == "the video VAE (Wan 2.2)" and set(new) == set(old) == {loss.name for loss in losses}
    assert all(torch.equal(new[name], old[name].bfloat16()) for name in old)
    with safe_open(target, framework="pt") as file:
        assert file.metadata()["source"] == "Wan2.2_VAE.pth"
    assert "is not run in fp8: choose bf16" in refusal(source, target, "fp8")


@pytest.mark.case("Files", "pickle payload (never executed)")
def test_a_pickle_is_read_for_its_tensors_only(tmp_path):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harmed",)

    target = tmp_path / "out.safetensors"
    torch.save({"w": torch.ones(2), "h": Harmful()}, tmp_path / "harm.pth")
    assert "harm.pth holds more than tensors, which could run as a program" in refusal(tmp_path / "harm.pth", target)
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    assert "list.pth holds something other than tensors by name" in refusal(tmp_path / "list.pth", target)
    torch.save({"w": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert "old.pth is no whole PyTorch file of today's layout" in refusal(tmp_path / "old.pth", target)
    (tmp_path / "page.pth").write_text("<html>")
    assert "page.pth is a web page" in refusal(tmp_path / "page.pth", target)
    (tmp_path / "empty.pth").touch()
    assert "empty.pth is empty: download it again" in refusal(tmp_path / "empty.pth", target)
    torch.save({"w": torch.ones(5000)}, tmp_path / "short.pth")
    (tmp_path / "short.pth").write_bytes((tmp_path / "short.pth").read_bytes()[:9000])
    assert "short.pth is no whole PyTorch file" in refusal(tmp_path / "short.pth", target)
    assert files(tmp_path) == ["empty.pth", "harm.pth", "list.pth", "old.pth", "page.pth", "short.pth"]


@pytest.mark.case("Files", "missing, surplus, misshapen tensors (listed)")
def test_parts_that_are_not_whole(bundle, tmp_path):
    source, target = bundle / "models_t5_umt5-xxl-enc-bf16.pth", tmp_path / "out.safetensors"
    named = bundle / "google" / "umt5-xxl" / "spiece.model"
    moved = named.rename(tmp_path / "elsewhere.model")
    assert f"needs its tokenizer, which is not at {named}" in refusal(source, target)
    convert(source, target, tokenizer=moved)
    assert "spiece_model" in load_file(target)

    weights = torch.load(source, weights_only=True)
    gate = weights.pop("blocks.1.ffn.gate.0.weight")
    torch.save(weights | {"blocks.1.ffn.gate.1.weight": gate}, source)
    message = refusal(source, target, tokenizer=moved)
    assert "missing (1): blocks.1.ffn.gate.0.weight; surplus (1): blocks.1.ffn.gate.1.weight" in message

    torch.save(weights | {"token_embedding.weight": torch.ones(1, 4096)}, source)
    assert "has 3 blocks, and umT5-XXL has 24: it is not whole" in refusal(source, target, tokenizer=moved)

    vae = torch.load(bundle / "Wan2.2_VAE.pth", weights_only=True)
    torch.save({"zzz.surplus": torch.ones(1)} | {k: x for k, x in vae.items() if k != "conv1.bias"}, tmp_path / "v.pth")
    message = refusal(tmp_path / "v.pth", target)
    assert "missing (1): conv1.bias; surplus (1): zzz.surplus" in message

    torch.save({name: torch.ones(2) for name in PARTS["vae"]}, tmp_path / "Wan2.1_VAE.pth")
    assert "Wan2.1_VAE.pth is a VAE of Wan" in refusal(tmp_path / "Wan2.1_VAE.pth", target)
