"""Files of weights: which there are, whether they are whole, and their tensors. Reads safetensors only."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..files import BEFORE, POINTERS_AND_PAGES, are_counts, fault_of, parse_json, shortened
from ..interruption import check_interruption
from .errors import CheckpointError, listing
from .names import Shape

INDEX_SUFFIX = ".safetensors.index.json"
MOST_HEADER = 100_000_000  # bytes of a header, as the safetensors library has it, or of an index
MOST_DIMENSIONS = 64

# what is found in the place of weights, besides pointers and pages
IMPOSTORS = (
    *POINTERS_AND_PAGES,
    (b"PK\x03\x04", "is a PyTorch pickle, which can run code when read: use the .safetensors file of the weights"),
    (b"\x80", "is a Python pickle, which can run code when read: use the .safetensors file of the weights"),
    (b"GGUF", "is a GGUF file, which is not supported: use the .safetensors file of the weights"),
)
PICKLES = (b"PK\x03\x04", b"\x80")  # those of them that PyTorch writes


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its number format, as safetensors calls it, and its bytes, ``start`` to before ``end``."""

    file: Path
    dtype: str
    shape: Shape
    start: int
    end: int


def load_state_dict(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads all tensors of a ``.safetensors`` file, of an ``.index.json`` with its shards, or of a folder of either.

    Returns tensors (on the CPU, as stored, mapped from the file) and metadata. Raises ``CheckpointError``.
    """
    stored, metadata = locate(path)
    names_by_file: dict[Path, list[str]] = defaultdict(list)
    for name, tensor in stored.items():
        names_by_file[tensor.file].append(name)
    tensors = {}
    for file_path, names in names_by_file.items():
        try:
            with safe_open(file_path, framework="pt") as file:
                for name in names:
                    check_interruption()
                    tensors[name] = file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file_path.name} cannot be read ({error}): download it again") from error
    return tensors, metadata


def locate(path: str | Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """Where each tensor of a file, an index or a folder lies, and the metadata. Reads headers only.

    Raises ``CheckpointError`` unless all files are there, whole, and agree with the index.
    """
    path = find_weights(Path(path))
    if not path.name.endswith(".json"):
        return _read_header(path)
    listed, metadata = _read_index(path)
    shards = sorted(set(listed.values()))
    absent = [shard for shard in shards if not os.path.exists(path.parent / shard)]
    if absent:
        raise CheckpointError(
            f"{path.name} needs {listing(absent)}, which {'is' if len(absent) == 1 else 'are'} not in {path.parent}: "
            "download the missing shards into this folder"
        )
    stored: dict[str, Stored] = {}
    for shard in shards:
        found, shard_metadata = _read_header(path.parent / shard)
        twice = sorted(set(found) & set(stored))
        unkept = sorted(name for name, where in listed.items() if where == shard and name not in found)
        if twice or unkept:
            fault = f"repeats {listing(twice)} of another shard" if twice else f"does not hold {listing(unkept)}"
            raise CheckpointError(f"{shard} {fault}, against {path.name}: download index and shards again")
        stored |= found
        metadata |= shard_metadata
    return stored, metadata


def find_weights(path: Path) -> Path:
    """The one ``.safetensors`` file or index that ``path`` (a file or a folder) stands for."""
    if not os.path.isdir(path):
        return path
    candidates = sorted(path.glob(f"*{INDEX_SUFFIX}")) or sorted(path.glob("*.safetensors"))
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise CheckpointError(
            f"the folder {path} holds neither a *{INDEX_SUFFIX} nor a .safetensors file: choose the folder or file "
            "that holds the weights"
        )
    raise CheckpointError(
        f"the folder {path} holds {listing(p.name for p in candidates)} and nothing says which to use: choose one "
        "file, or add the index that belongs to these shards"
    )


def _read_header(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises ``CheckpointError`` unless it is whole."""
    size = check_beginning(path)
    with path.open("rb") as file:
        length, brace = int.from_bytes(file.read(8), "little"), file.read(1)
        if brace != b"{":
            raise CheckpointError(f"{path.name} is not a safetensors file: choose the .safetensors file of the weights")
        if 8 + length > size:
            raise CheckpointError(
                f"{path.name} is truncated: its header alone should have {8 + length} bytes, the file has {size}: "
                "download it again"
            )
        if length > MOST_HEADER:
            raise CheckpointError(
                f"{path.name} has a damaged header ({length} bytes, more than the {MOST_HEADER} there may be): "
                "download it again"
            )
        header = brace + file.read(length - 1)
    try:
        stored, metadata, expected = _parse_header(path, header)
    except ValueError as error:
        raise CheckpointError(f"{path.name} has a damaged header ({error}): download it again") from error
    if size != expected:
        fault = "is truncated" if size < expected else "has something after its end"
        raise CheckpointError(f"{path.name} {fault}: it should have {expected} bytes and has {size}: download it again")
    return stored, metadata


def _parse_header(path: Path, header: bytes) -> tuple[dict[str, Stored], dict[str, str], int]:
    """Tensors, metadata, and the bytes that the file should have. Raises ``ValueError`` for a damaged header.

    The tensors must lie one after the other, without holes, and not over each other.
    """
    described = parse_json(header)
    metadata = described.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is more than texts by name")
    first = end = 8 + len(header)
    stored = {}
    for name, entry in described.items():
        told = entry if isinstance(entry, dict) else {}
        dtype, shape, places = (told.get(key) for key in ("dtype", "shape", "data_offsets"))
        if not (isinstance(dtype, str) and are_counts(shape, MOST_DIMENSIONS) and are_counts(places, 2)):
            raise ValueError(f"{shortened(name)} is described by something else than a number format and sizes")
        start, stop = places
        stored[name] = Stored(path, dtype, tuple(shape), first + start, first + stop)
    for name, tensor in sorted(stored.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != end:
            fault = "lies over the one before it" if tensor.start < end else "leaves a hole before it"
            raise ValueError(f"the tensor {shortened(name)} {fault}")
        if tensor.end < tensor.start:
            raise ValueError(f"the tensor {shortened(name)} ends before it begins")
        end = tensor.end
    return stored, metadata, end


def check_beginning(path: Path, wanted: Container[bytes] = ()) -> int:
    """Size of the file in bytes, if it is not empty and not one of the impostors, but for those that are ``wanted``.

    Raises ``CheckpointError``.
    """
    if fault := fault_of(path):
        raise CheckpointError(fault)
    size = path.stat().st_size
    with path.open("rb") as file:
        beginning = file.read(512)
    if not size:
        raise CheckpointError(f"{path.name} is empty: download it again")
    for signature, sentence in IMPOSTORS:
        if signature in wanted:
            continue
        # the header's length comes first in safetensors: 8 bytes that may begin with any byte, then a brace
        if beginning.lstrip(BEFORE).startswith(signature) and beginning[8:9] != b"{":
            raise CheckpointError(f"{path.name} {sentence}")
    return size


def _read_index(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Tensor name -> shard, and the metadata that is text."""
    size = check_beginning(path)
    try:
        if size > MOST_HEADER:
            raise ValueError(f"it has {size} bytes")
        index = parse_json(path.read_bytes())
        if not isinstance(index, dict):
            raise ValueError("it is no object")
        listed, metadata = index.get("weight_map"), index.get("metadata") or {}
        if not isinstance(listed, dict) or not isinstance(metadata, dict):
            raise ValueError("what it lists is no object")
    except ValueError as error:
        raise CheckpointError(
            f"{path.name} is not an index of shards (it needs a 'weight_map'; {error}): download it again"
        ) from error
    if not listed:
        raise CheckpointError(f"{path.name} lists no tensors: download it again")
    for shard in listed.values():
        if not isinstance(shard, str) or not _is_inside(shard):
            raise CheckpointError(
                f"{path.name} points to {shard!r}, outside of its own folder, so it is refused: download the index "
                "again, from a source you trust"
            )
    return listed, {key: value for key, value in metadata.items() if isinstance(value, str)}


def _is_inside(shard: str) -> bool:
    """Whether a name stays in the folder of the index on every system."""
    ways = (PurePosixPath(shard), PureWindowsPath(shard))
    return bool(shard) and not any(way.is_absolute() or way.anchor or ".." in way.parts for way in ways)
