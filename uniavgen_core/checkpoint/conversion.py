"""Tensors of a source -> groups of a new file in another number format, and what each of them loses by that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite, sqrt

import torch
from torch import Tensor

from .errors import CheckpointError
from .quantised import DESCRIPTION
from .stream import Group, Layout, Source

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max  # 448
SIDE_MULTIPLE = 16  # rows and columns that products in 8 bits need
# JSON with spaces at its end, so that what comes after it is aligned
FP8_DESCRIPTION = json.dumps({"format": "float8_e4m3fn"}).encode().ljust(32)


@dataclass
class Loss:
    """How far a tensor's new numbers are from its old ones.

    place: the tensor and its file, as an error calls them
    """

    name: str
    place: str
    before: torch.dtype
    after: torch.dtype
    squares: float = 0.0
    squared_error: float = 0.0
    largest: float = 0.0
    largest_error: float = 0.0

    def add(self, old: Tensor, new: Tensor) -> None:
        """Two pieces in float32."""
        error = new - old
        self.squares += float(torch.dot(old, old))
        self.squared_error += float(torch.dot(error, error))
        self.largest = max(self.largest, largest(old, self.place))
        self.largest_error = max(self.largest_error, largest(error, self.place))

    @property
    def relative(self) -> float:
        """Relative L2 error."""
        return sqrt(self.squared_error / self.squares) if self.squares else 0.0

    @property
    def relative_largest(self) -> float:
        """The largest error against the largest number."""
        return self.largest_error / self.largest if self.largest else 0.0


@dataclass
class Conversion:
    """A source that is to be written anew.

    dtype: of all floating-point tensors that are not quantised; None keeps each as it is
    quantised: names of weights that become fp8 with a scale of their own, as the host runs them
    names: the source's name -> the new one, of every tensor that is written
    losses: filled while the groups are read
    """

    source: Source
    names: dict[str, str]
    dtype: torch.dtype | None
    quantised: re.Pattern[str] | None = None
    losses: list[Loss] = field(default_factory=list)

    def groups(self) -> Iterator[Group]:
        for name, new in self.names.items():
            layout = self.source.layouts[name]
            if self.is_quantised(new, layout):
                layer = new.removesuffix(".weight")
                layouts = {
                    f"{layer}.weight_scale": Layout(torch.float32, ()),
                    new: Layout(FP8, layout.shape),
                    f"{layer}.{DESCRIPTION}": Layout(torch.uint8, (len(FP8_DESCRIPTION),)),
                }
                yield Group(layouts, self.in_fp8(name))
            else:
                dtype = self.dtype if self.dtype is not None and layout.dtype.is_floating_point else layout.dtype
                yield Group({new: Layout(dtype, layout.shape)}, self.cast(name, dtype))

    def is_quantised(self, name: str, layout: Layout) -> bool:
        """Whether it is a large matrix of those to be quantised."""
        matrix = len(layout.shape) == 2 and not any(side % SIDE_MULTIPLE for side in layout.shape)
        return matrix and self.quantised is not None and self.quantised.fullmatch(name) is not None

    def cast(self, name: str, dtype: torch.dtype) -> Iterator[Tensor]:
        loss = self._loss(name, dtype)
        for piece in self.source.pieces(name):
            new = piece.to(dtype)
            if dtype != piece.dtype:
                loss.add(piece.float(), new.float())
            elif dtype.is_floating_point:
                largest(piece.float(), loss.place)
            yield new

    def in_fp8(self, name: str) -> Iterator[Tensor]:
        """Scale, weight and description: two readings, because the scale follows from the largest number."""
        loss = self._loss(name, FP8)
        most = max((largest(piece.float(), loss.place) for piece in self.source.pieces(name)), default=0.0)
        scale = torch.tensor(most / LARGEST if most else 1.0)
        yield scale
        for piece in self.source.pieces(name):
            old = piece.float()
            new = (old / scale).clamp_(-LARGEST, LARGEST).to(FP8)
            loss.add(old, new.float() * scale)
            yield new
        yield torch.frombuffer(bytearray(FP8_DESCRIPTION), dtype=torch.uint8)

    def _loss(self, name: str, after: torch.dtype) -> Loss:
        place = f"{self.source.file_of(name).name}: {name}"
        loss = Loss(self.names[name], place, self.source.layouts[name].dtype, after)
        self.losses.append(loss)
        return loss


def largest(piece: Tensor, place: str) -> float:
    """The largest absolute number of a piece in float32. Raises ``CheckpointError`` for what no weight can be."""
    found = max(abs(float(end)) for end in piece.aminmax())
    if not isfinite(found):
        raise CheckpointError(f"{place} holds numbers that are NaN or infinite: download it again")
    return found
