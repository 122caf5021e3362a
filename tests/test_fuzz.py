"""Everything else that reads a file, given any bytes: it reads them, or says in a sentence that it cannot.

A fixed number of examples, the same in every run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from test_checkpoint import SMALL
from vocoders import PUBLIC_CONFIG, RELEASE, vocos_config

from uniavgen_core.checkpoint import CheckpointError, config_of, expected_shapes, formats_of, load_state_dict, released
from uniavgen_core.checkpoint.parts import open_source
from uniavgen_core.hub import is_here
from uniavgen_core.lora import assigned
from uniavgen_core.parts import INDEX, PARTS
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.vocoder import load_vocoder, vocos
from uniavgen_core.vocoder.bigvgan import MODEL_TYPE
from uniavgen_core.vocoder.load import kind_of

BOUNDED = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SLOW = settings(BOUNDED, max_examples=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
VALUES = JSON | st.sampled_from(
    [0, -1, 1, 2, 10**9, 2**40, 10**30, 0.5, 1e300, "80", [3, 7, 11], [10**9], [[1]], [[[]]]]
)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def mutations(valid: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes, or a whole file with a piece of it cut out, doubled or overwritten."""

    def mutated(parts: tuple[int, int, bytes, bool]) -> bytes:
        start, length, put, twice = parts
        return valid[:start] + put + valid[start if twice else start + length :]

    places = st.tuples(st.integers(0, len(valid)), st.integers(0, 40), st.binary(max_size=8), st.booleans())
    return st.binary(max_size=200) | places.map(mutated)


@st.composite
def changed(draw: st.DrawFn, valid: dict[str, Any]) -> dict[str, Any]:
    """A description with some of its values, at any depth, replaced, left out or joined by others."""
    described = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 3))):
        inside = described
        while True:
            key = draw(st.sampled_from(sorted(inside)))
            deeper = isinstance(inside[key], dict) and inside[key] and draw(st.booleans())
            if not deeper:
                break
            inside = inside[key]
        if draw(st.integers(0, 3)):
            inside[key] = draw(VALUES)
        elif len(inside) > 1:
            del inside[key]
        else:
            inside[draw(st.text(max_size=5))] = draw(VALUES)
    return described


def refused(call: Callable[[], Any], kind: type[Exception] = CheckpointError, most: int = 3000) -> str:
    """What a call refuses with, empty if it does not. Anything else that it raises fails the test."""
    try:
        call()
    except kind as refusal:
        assert str(refusal) and len(str(refusal)) < most
        return str(refusal)
    return ""


INDEX_JSON = json.dumps({"metadata": {"total_size": 24}, "weight_map": {"a": "w.safetensors"}}).encode()


@pytest.mark.case("Files", "any bytes in place of an index")
@BOUNDED
@given(mutations(INDEX_JSON) | JSON.map(lambda x: json.dumps({"weight_map": x}).encode()))
def test_index(content: bytes) -> None:
    with folder() as place:
        save_file({"a": torch.arange(6.0)}, place / "w.safetensors")
        index = place / "w.safetensors.index.json"
        index.write_bytes(content)
        if not refused(lambda: load_state_dict(index)):
            assert torch.equal(load_state_dict(index)[0]["a"], torch.arange(6.0))
        (place / INDEX).write_bytes(content)
        assert is_here(next(part for part in PARTS if part.sign == INDEX), place) in (True, False)


@pytest.mark.case("Files", "any bytes in place of a model configuration")
@BOUNDED
@given(mutations(SMALL.to_json().encode()) | changed(json.loads(SMALL.to_json())).map(lambda x: json.dumps(x).encode()))
def test_configuration(content: bytes) -> None:
    """In the metadata or in a tensor: what is taken for a model can be built, without memory."""
    for read in (
        lambda: config_of({"uniavgen_config": content.decode("utf-8", "replace")}),
        lambda: released({"uniavgen_config": torch.tensor(list(content), dtype=torch.uint8)}, {}, "")[1],
    ):
        if not refused(read):
            assert refused(lambda read=read: expected_shapes(read()), RuntimeError) == ""


@pytest.mark.case("Files", "any bytes in place of a description of quantised layers")
@BOUNDED
@given(mutations(b'{"format": "float8_e4m3fn"}'), st.sampled_from([torch.uint8, torch.int8, torch.float8_e4m3fn]))
def test_description_of_quantised_layers(content: bytes, dtype: torch.dtype) -> None:
    tensor = torch.tensor(list(content), dtype=torch.uint8).view(dtype)
    refused(lambda: formats_of({"a.comfy_quant": tensor}, "w"))


@pytest.mark.case("Files", "any bytes in place of a vocabulary")
@BOUNDED
@given(mutations(" \na\nb\n\u3000\nc d\n".encode()))
def test_vocabulary(content: bytes) -> None:
    with folder() as place:
        (place / "vocab.txt").write_bytes(content)
        if not refused(lambda: Vocabulary.from_file(place / "vocab.txt"), ValueError):
            read = Vocabulary.from_file(place / "vocab.txt").entries
            assert "\n".join(read) == content.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
        assert refused(lambda: Vocabulary.released(place / "vocab.txt"), ValueError)


LORA = {
    "diffusion_model.blocks.0.ffn.0.lora_down.weight": torch.ones(2, 4),
    "diffusion_model.blocks.0.ffn.0.lora_up.weight": torch.ones(4, 2),
    "diffusion_model.blocks.0.ffn.0.alpha": torch.tensor(1.0),
}


@pytest.mark.case("Files", "any bytes in place of a LoRA")
@BOUNDED
@given(mutations(save(LORA)))
def test_lora(content: bytes) -> None:
    """Of what can be read, each key belongs to a part or is told; the host's side of it is tested there."""
    with folder() as place:
        (place / "w.safetensors").write_bytes(content)
        if not refused(lambda: load_state_dict(place / "w.safetensors")):
            keys = list(load_state_dict(place / "w.safetensors")[0])
            found, unknown = assigned(keys, ["blocks.0.ffn.0.weight", "blocks.0.ffn.0.bias"])
            assert sorted([*found, *unknown]) == sorted(keys)


@SLOW
@given(st.lists(st.text(max_size=20) | st.from_regex(r"\A[a-z_]{0,9}(\.[a-z_0-9]{1,9}){0,5}\Z"), unique=True))
def test_keys_of_a_lora(keys: list[str]) -> None:
    found, unknown = assigned(keys, ["blocks.0.ffn.0.weight", "head.modulation"])
    assert sorted([*found, *unknown]) == sorted(keys)


def pickled() -> bytes:
    with folder() as place:
        torch.save({"a": torch.arange(6.0)}, place / "w.pth")
        return (place / "w.pth").read_bytes()


@pytest.mark.case("Files", "any bytes in place of a pickle of tensors")
@BOUNDED
@given(mutations(pickled()))
def test_pickle(content: bytes) -> None:
    with folder() as place:
        (place / "w.pth").write_bytes(content)
        if not refused(lambda: open_source(place / "w.pth")):
            source = open_source(place / "w.pth")
            assert all(
                sum(x.numel() for x in source.pieces(name)) == source.layouts[name].numbers for name in source.layouts
            )


BIGVGAN = {"model_type": MODEL_TYPE, **RELEASE, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3, 5]]}


@pytest.mark.case("Files", "any bytes in place of a vocoder's description")
@SLOW
@given(mutations(json.dumps(BIGVGAN).encode()) | changed(BIGVGAN).map(lambda described: json.dumps(described).encode()))
def test_description_of_a_bigvgan(content: bytes) -> None:
    """The weights beside it are another model's, so in the end it is refused, whatever it says."""
    with folder() as place:
        save_file({"a": torch.ones(1)}, place / "model.safetensors")
        (place / "config.json").write_bytes(content)
        assert kind_of(place) in (None, "BigVGAN", "Vocos")
        assert refused(lambda: load_vocoder(place))


@pytest.mark.case("Files", "any bytes in place of a vocoder's description")
@SLOW
@given(
    mutations(yaml.safe_dump(PUBLIC_CONFIG).encode())
    | changed(vocos_config(vocos.OWN)).map(lambda described: yaml.safe_dump(described).encode())
)
def test_description_of_a_vocos(content: bytes) -> None:
    with folder() as place:
        save_file({"a": torch.ones(1)}, place / "model.safetensors")
        (place / "config.yaml").write_bytes(content)
        assert kind_of(place) in (None, "Vocos")
        assert refused(lambda: load_vocoder(place))
