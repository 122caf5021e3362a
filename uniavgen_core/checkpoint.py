"""Weights on disk -> weights in a model. Reads safetensors only; every doubt is an error with a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .config import RELEASE, ModelConfig
from .model.joint import JointModel

CONFIG_KEY = "uniavgen_config"  # metadata: ModelConfig.to_json() of the model the tensors belong to
INDEX_SUFFIX = ".safetensors.index.json"
NAMES_LISTED = 20

# how a file begins that is often found in the place of weights: what it is and what to do
IMPOSTORS = (
    (
        b"version https://git-lfs",
        "is a Git-LFS pointer, not the weights: run `git lfs pull` in its folder, or download the file itself",
    ),
    (b"<", "is a web page, not weights: the download was answered with a page. Download the file itself again"),
    (b"PK\x03\x04", "is a PyTorch pickle, which can run code when read: use the .safetensors file of the weights"),
    (b"\x80", "is a Python pickle, which can run code when read: use the .safetensors file of the weights"),
    (b"GGUF", "is a GGUF file, which is not supported: use the .safetensors file of the weights"),
)

Shape = tuple[int, ...]
Module = TypeVar("Module", bound=nn.Module)


class CheckpointError(ValueError):
    """Weights that cannot be used; the message names the file and says what to do."""


def load_state_dict(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads all tensors of a ``.safetensors`` file, of an ``.index.json`` with its shards, or of a folder of either.

    Returns tensors (on the CPU, as stored, mapped from the file) and metadata. Raises ``CheckpointError``.
    """
    path = find_weights(Path(path))
    if not path.name.endswith(".json"):
        return _read_file(path)
    listed, metadata = _read_index(path)
    shards = sorted(set(listed.values()))
    absent = [shard for shard in shards if not (path.parent / shard).exists()]
    if absent:
        raise CheckpointError(
            f"{path.name} needs {_listing(absent)}, which {'is' if len(absent) == 1 else 'are'} not in {path.parent}: "
            "download the missing shards into this folder"
        )
    for shard in shards:  # all of them before the first is read
        _check_file(path.parent / shard)
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        found, shard_metadata = _read_file(path.parent / shard)
        twice = sorted(set(found) & set(tensors))
        unkept = sorted(name for name, where in listed.items() if where == shard and name not in found)
        if twice or unkept:
            fault = f"repeats {_listing(twice)} of another shard" if twice else f"does not hold {_listing(unkept)}"
            raise CheckpointError(f"{shard} {fault}, against {path.name}: download index and shards again")
        tensors |= found
        metadata |= shard_metadata
    return tensors, metadata


def find_weights(path: Path) -> Path:
    """The one ``.safetensors`` file or index that ``path`` (a file or a folder) stands for."""
    if not path.exists():
        raise CheckpointError(f"there are no weights at {path}: check the path, or download the weights to it")
    if path.is_file():
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
        f"the folder {path} holds {_listing(p.name for p in candidates)} and nothing says which to use: choose one "
        "file, or add the index that belongs to these shards"
    )


def check_names(found: Mapping[str, Iterable[int]], expected: Mapping[str, Iterable[int]], source: str) -> None:
    """Compares tensor names and shapes. Raises ``CheckpointError`` that lists what is missing, surplus or misshapen.

    source: what to call the weights, mostly the file's name
    """
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    misshapen = [
        f"{name} {list(found[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    faults = [
        f"{kind} ({len(names)}): {_listing(names)}"
        for kind, names in (("missing", missing), ("surplus", surplus), ("of another shape", misshapen))
        if names
    ]
    if faults:
        raise CheckpointError(
            f"the tensors of {source} are not those of the model. " + "; ".join(faults) + ". "
            "Choose weights that were made for this model and this version"
        )


def check_numbers(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Raises ``CheckpointError`` if whole numbers stand in the place of weights, as in some quantised files."""
    wrong = [name for name in found if expected[name].is_floating_point() and not found[name].is_floating_point()]
    if wrong:
        raise CheckpointError(
            f"{source} holds whole numbers instead of weights in {_listing(wrong)}: choose a file in bf16, fp16, fp32 "
            "or fp8"
        )


def config_of(metadata: Mapping[str, str]) -> ModelConfig:
    """The configuration that weights carry in their metadata; without one they are taken for the release."""
    if CONFIG_KEY not in metadata:
        return RELEASE
    try:
        return ModelConfig.from_json(metadata[CONFIG_KEY])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"the weights' metadata {CONFIG_KEY!r} does not describe a model this version knows ({error}): "
            "update this package, or choose other weights"
        ) from error


def expected_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Name and shape of every tensor of the joint model, in its order, without memory for them."""
    return shapes_of(JointModel(config, device="meta").state_dict())


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Name -> shape."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def load_model(path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> JointModel:
    """The joint model with the weights at ``path``, for inference.

    dtype: of all floating-point weights; None keeps them as stored
    Raises ``CheckpointError``, before a model is built if the names or shapes are wrong.
    """
    tensors, metadata = load_state_dict(path)
    config = config_of(metadata)
    return fill(lambda: JointModel(config), tensors, Path(path).name, device, dtype)


def fill(
    build: Callable[[], Module],
    tensors: dict[str, Tensor],
    source: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Module:
    """Builds a module without memory and gives it ``tensors``, strictly; it is frozen and in evaluation mode.

    ``tensors`` is emptied on the way, so that weights are not held twice while they are converted.
    """
    with torch.device("meta"):
        module = build()
    check_names(shapes_of(tensors), shapes_of(module.state_dict()), source)
    check_numbers(tensors, module.state_dict(), source)
    converted = {}
    for name in list(tensors):
        tensor = tensors.pop(name)
        converted[name] = tensor.to(device, dtype if tensor.is_floating_point() else None)
    module.load_state_dict(converted, strict=True, assign=True)
    return module.requires_grad_(False).eval()


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    _check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} cannot be read ({error}): download it again") from error


def _check_file(path: Path) -> None:
    """Raises ``CheckpointError`` unless ``path`` is a whole safetensors file. Reads its header only."""
    size = _check_beginning(path)
    with path.open("rb") as file:
        length, brace = int.from_bytes(file.read(8), "little"), file.read(1)
        if brace != b"{":
            raise CheckpointError(f"{path.name} is not a safetensors file: choose the .safetensors file of the weights")
        if 8 + length > size:
            raise CheckpointError(
                f"{path.name} is truncated: its header alone should have {8 + length} bytes, the file has {size}: "
                "download it again"
            )
        try:
            header = json.loads(brace + file.read(length - 1))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            expected = 8 + length + max(ends, default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise CheckpointError(f"{path.name} has a damaged header: download it again") from error
    if size != expected:
        fault = "is truncated" if size < expected else "has something after its end"
        raise CheckpointError(f"{path.name} {fault}: it should have {expected} bytes and has {size}: download it again")


def _check_beginning(path: Path) -> int:
    """Size of the file in bytes, if it is not empty and not one of the impostors."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            beginning = file.read(512)
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be opened ({error.strerror}): check its rights") from error
    if not size:
        raise CheckpointError(f"{path.name} is empty: download it again")
    for signature, sentence in IMPOSTORS:
        # the header's length comes first in safetensors: 8 bytes that may begin with any byte, then a brace
        if beginning.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(signature) and beginning[8:9] != b"{":
            raise CheckpointError(f"{path.name} {sentence}")
    return size


def _read_index(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Tensor name -> shard, and the metadata that is text."""
    _check_beginning(path)
    try:
        index = json.loads(path.read_bytes())
        listed, metadata = dict(index["weight_map"]), dict(index.get("metadata") or {})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path.name} is not an index of shards (it needs a 'weight_map'): download it again"
        ) from error
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


def _listing(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - NAMES_LISTED
    return ", ".join(names[:NAMES_LISTED]) + (f" and {more} more" if more > 0 else "")
