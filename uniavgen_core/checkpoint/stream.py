"""Tensors read and written in pieces, so that no more than a few of them are ever in memory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..files import fault_of, in_bytes
from ..whole import whole_or_nothing
from .errors import CheckpointError
from .names import PIECE, Shape
from .reading import Stored, locate

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Layout:
    """What a tensor looks like before it is read."""

    dtype: torch.dtype
    shape: Shape

    @property
    def numbers(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.numbers * self.dtype.itemsize


class Source(Protocol):
    """Tensors that can be looked at first and read later, more than once.

    files: what is read, which must not be written over
    """

    layouts: Mapping[str, Layout]
    files: set[Path]

    def pieces(self, name: str) -> Iterator[Tensor]:
        """The numbers of a tensor in their order: flat, in its own format, at most `PIECE` at a time."""
        ...

    def file_of(self, name: str) -> Path:
        """Where a tensor lies."""
        ...


class SafetensorsSource:
    """A file, an index or a folder. Raises ``CheckpointError`` for everything that is not whole."""

    def __init__(self, path: Path):
        self.stored, self.metadata = locate(path)
        self.layouts = {name: layout_of(name, stored) for name, stored in self.stored.items()}
        self.files = {stored.file for stored in self.stored.values()}

    def pieces(self, name: str) -> Iterator[Tensor]:
        stored, layout = self.stored[name], self.layouts[name]
        if fault := fault_of(stored.file):
            raise CheckpointError(fault)
        with stored.file.open("rb", buffering=0) as file:  # mapped memory would grow to the size of the file
            file.seek(stored.start)
            for first in range(0, layout.numbers, PIECE):
                piece = torch.empty(min(PIECE, layout.numbers - first), dtype=layout.dtype)
                if file.readinto(piece.view(torch.uint8).numpy()) != piece.nbytes:
                    raise CheckpointError(f"{stored.file.name} became shorter while it was read: download it again")
                yield piece

    def file_of(self, name: str) -> Path:
        return self.stored[name].file


def layout_of(name: str, stored: Stored) -> Layout:
    """Raises ``CheckpointError`` if the bytes do not hold what the header says."""
    dtype = DTYPES.get(stored.dtype)
    if dtype is None:
        raise CheckpointError(f"{stored.file.name}: {name} is stored as {stored.dtype}, which cannot be converted")
    layout = Layout(dtype, stored.shape)
    if stored.end - stored.start != layout.bytes:
        raise CheckpointError(f"{stored.file.name} has a damaged header ({name}): download it again")
    return layout


@dataclass(frozen=True)
class Group:
    """Tensors that lie one after the other in a file; ``pieces`` are the numbers of all of them in their order."""

    layouts: Mapping[str, Layout]
    pieces: Iterable[Tensor]

    @property
    def alignment(self) -> int:
        return max(layout.dtype.itemsize for layout in self.layouts.values())


def write(
    target: Path, groups: Iterable[Group], metadata: dict[str, str], written: Callable[[int], object] = lambda _: None
) -> None:
    """Writes a safetensors file that is there whole or not at all.

    groups: those of the widest number format come first in the file, so that each begins where its format may
    written: is told the bytes of each piece
    Raises ``CheckpointError``, before anything is written, if the disk is too full, ``OSError`` as `whole_or_nothing`.
    """
    groups = sorted(groups, key=lambda group: -group.alignment)
    text, end = header_of({name: layout for group in groups for name, layout in group.layouts.items()}, metadata)
    with whole_or_nothing(target) as unfinished, unfinished.open("wb") as file:
        check_space(target, len(text) + end)
        file.write(text)
        for group in groups:
            for piece in group.pieces:
                file.write(piece.contiguous().reshape(-1).view(torch.uint8).numpy())
                written(piece.nbytes)
        if file.tell() != len(text) + end:
            raise AssertionError("the tensors are not as long as their layouts say")
        file.flush()
        os.fsync(file.fileno())


def header_of(layouts: Mapping[str, Layout], metadata: dict[str, str]) -> tuple[bytes, int]:
    """The beginning of a file with these tensors in this order, and the bytes of all of them."""
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name, layout in layouts.items():
        start, end = end, end + layout.bytes
        header[name] = {"dtype": NAMES[layout.dtype], "shape": list(layout.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, end


def check_space(target: Path, needed: int) -> None:
    """Raises ``CheckpointError`` if the disk has less left."""
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise CheckpointError(
            f"{target.name} needs {in_bytes(needed)} and {target.parent} has {in_bytes(free)} left: make room, or "
            "choose another folder"
        )
