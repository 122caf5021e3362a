"""Checkpoints: what was written is read back, and no damage gives anything else than a refusal or the right numbers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load as load_by_library
from safetensors.torch import load_file, save, save_file

from uniavgen_core.checkpoint import CheckpointError, load_state_dict
from uniavgen_core.checkpoint.stream import DTYPES, Group, Layout, SafetensorsSource, write

Tensors = dict[str, torch.Tensor]
FEW = settings(max_examples=60, deadline=None, derandomize=True)
MANY = settings(max_examples=250, deadline=None, derandomize=True)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__")
texts = st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=3)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Any number format, shape and bits."""
    dtype = draw(st.sampled_from(sorted(DTYPES.values(), key=str)))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    count = torch.Size(shape).numel() * dtype.itemsize
    data = draw(st.binary(min_size=count, max_size=count))
    if dtype == torch.bool:
        data = bytes(byte & 1 for byte in data)
    return torch.frombuffer(bytearray(data or b"\0" * 8), dtype=dtype)[: torch.Size(shape).numel()].reshape(shape)


weights = st.dictionaries(names, tensors(), max_size=5)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    """All that a tensor is, also where its numbers are NaN."""
    return tensor.dtype, tensor.shape, tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def same(one: Tensors, other: Tensors) -> bool:
    return {name: bits(tensor) for name, tensor in one.items()} == {name: bits(x) for name, x in other.items()}


def read_in_pieces(path: Path) -> Tensors:
    """As `convert` reads."""
    source = SafetensorsSource(path)
    return {
        name: torch.cat([*source.pieces(name), torch.empty(0, dtype=layout.dtype)]).reshape(layout.shape)
        for name, layout in source.layouts.items()
    }


@FEW
@given(weights, texts)
def test_what_was_written_is_read_back(written: Tensors, metadata: dict[str, str]) -> None:
    with folder() as place:
        save_file(
            written, place / "w.safetensors", metadata or None
        )  # of {} and nothing else the library makes no JSON
        found, told = load_state_dict(place / "w.safetensors")
        assert same(found, written) and told == metadata
        assert same(read_in_pieces(place / "w.safetensors"), written)


@FEW
@given(weights, texts)
def test_what_is_written_in_pieces_is_read_by_the_library(written: Tensors, metadata: dict[str, str]) -> None:
    groups = [Group({name: Layout(x.dtype, tuple(x.shape))}, x.reshape(-1).split(5)) for name, x in written.items()]
    with folder() as place:
        write(place / "w.safetensors", groups, metadata)
        assert same(load_file(place / "w.safetensors"), written)
        found, told = load_state_dict(place)
        assert same(found, written) and told == metadata


@FEW
@given(weights.filter(bool), st.data())
def test_shards_are_read_back(written: Tensors, data: st.DataObject) -> None:
    places = {name: data.draw(st.sampled_from("xyz")) for name in written}
    listed = {name: f"{place}.safetensors" for name, place in places.items()}
    with folder() as place:
        for shard in set(places.values()):
            save_file({name: x for name, x in written.items() if places[name] == shard}, place / f"{shard}.safetensors")
        (place / "w.safetensors.index.json").write_text(json.dumps({"weight_map": listed}), "utf-8")
        assert same(load_state_dict(place)[0], written)
        assert same(read_in_pieces(place), written)


# damage

WHOLE = save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}, {"key": "value"})
HEADER = 8 + int.from_bytes(WHOLE[:8], "little")

entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "U8", "F4", "NONE", "", 3, None, [], {}]),
        "shape": st.lists(st.sampled_from([0, 1, 2, 3, -1, 1.5, 2**62, 10**30, True, None, "2"]), max_size=4)
        | st.sampled_from([None, 3, "abc", {}]),
        "data_offsets": st.lists(st.sampled_from([0, 4, 8, 12, 16, -4, 4.0, 2**70, None, "0"]), max_size=3)
        | st.sampled_from([None, 4, "04", {}]),
        "more": st.none(),
    },
)
headers = st.dictionaries(st.sampled_from(["a", "b", "__metadata__", "\ud800", ""]), entries, max_size=3)


def check(content: bytes) -> None:
    """Read by both readers: refused, or what the safetensors library reads."""
    with folder() as place:
        path = place / "w.safetensors"
        path.write_bytes(content)
        for read in (lambda: load_state_dict(path)[0], lambda: read_in_pieces(path)):
            try:
                found = read()
            except CheckpointError as refusal:
                assert "w.safetensors" in str(refusal) and len(str(refusal)) < 1000
                continue
            try:
                expected = load_by_library(content)
            except SafetensorError as error:
                raise AssertionError(f"it was read, and the library says {error}") from error
            assert same(found, expected)


@pytest.mark.case("Files", "any damage of a weight file")
@MANY
@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=4))
def test_bytes_are_changed(where: int, what: bytes) -> None:
    check(WHOLE[:where] + what + WHOLE[where + len(what) :])


@pytest.mark.case("Files", "any damage of a weight file")
@MANY
@given(st.integers(8, HEADER - 1), st.integers(0, 12), st.text('"[]{}:,-.eE0123456789aN \\', max_size=6))
def test_the_header_is_changed_and_its_length_is_right(where: int, removed: int, added: str) -> None:
    header = WHOLE[8:where] + added.encode() + WHOLE[min(where + removed, HEADER) : HEADER]
    check(len(header).to_bytes(8, "little") + header + WHOLE[HEADER:])


@pytest.mark.case("Files", "any damage of a weight file")
@MANY
@given(headers, st.integers(0, 24))
def test_headers_of_wrong_parts(header: dict, size: int) -> None:
    text = json.dumps(header).encode()
    check(len(text).to_bytes(8, "little") + text + bytes(size))


@pytest.mark.case("Files", "any damage of a weight file")
@MANY
@given(st.binary(max_size=64), st.booleans())
@example(b'{"a":' * 20_000, True)
@example(b"{" + b" " * 100, True)
@example(b"\xff" * 8 + b"{", False)
def test_raw_bytes(content: bytes, as_header: bool) -> None:
    check(len(content).to_bytes(8, "little") + content if as_header else content)
