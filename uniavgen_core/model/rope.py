"""Rotary positions in real arithmetic: interleaved pairs, tables built in float64 (spec of Wan2.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

THETA = 10_000.0


class RotaryTable(NamedTuple):
    """Cosine and sine of every token's angles, for both numbers of a pair: each [N, 1, head_dim] float32.

    The sine of a pair's first number has the other sign: (a, b) becomes (a cos - b sin, b cos + a sin).
    """

    cos: Tensor
    sin: Tensor

    @classmethod
    def from_angles(cls, angles: Tensor, device: torch.device) -> RotaryTable:
        """angles: [N, head_dim / 2]."""
        cos, sin = angles.cos().repeat_interleave(2, dim=1), angles.sin()
        sin = torch.stack((-sin, sin), dim=-1).flatten(1)
        return cls(*(part.float().unsqueeze(1).to(device) for part in (cos, sin)))


def rotate(x: Tensor, table: RotaryTable, heads: int) -> Tensor:
    """Rotates the pairs (2i, 2i + 1) of every head: x [..., N, heads * d] -> the same shape and dtype."""
    y = x.float().unflatten(-1, (heads, -1))  # [..., N, heads, d]
    first, second = y.unflatten(-1, (-1, 2)).unbind(-1)
    swapped = torch.stack((second, first), dim=-1).flatten(-2)
    return torch.addcmul(y * table.cos, swapped, table.sin).flatten(-2).to(x.dtype)


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """How many of a head's complex pairs turn with the frame, the row and the column."""
    pairs = head_dim // 2
    return pairs - 2 * (pairs // 3), pairs // 3, pairs // 3


def _angles(positions: Tensor, width: int) -> Tensor:
    """positions [N], width of the ladder in real numbers -> [N, width / 2] float64."""
    frequencies = THETA ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.outer(positions.double(), frequencies)


def rotary_1d(length: int, head_dim: int, device: torch.device, stretch: float = 1.0) -> RotaryTable:
    """Positions 0 ... length - 1, each times ``stretch``, on one axis over the whole head."""
    return RotaryTable.from_angles(_angles(stretch * torch.arange(length), head_dim), device)


def rotary_3d(frames: int, rows: int, columns: int, head_dim: int, device: torch.device) -> RotaryTable:
    """Frame, row and column of every token of a grid, frame-major: [frames * rows * columns, head_dim / 2].

    Each axis has a ladder over its own width; with ``frames`` = 1 the frame index is 0 for every token.
    """
    grid = torch.meshgrid(torch.arange(frames), torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [_angles(axis.flatten(), 2 * pairs) for axis, pairs in zip(grid, axis_pairs(head_dim), strict=True)]
    return RotaryTable.from_angles(torch.cat(angles, dim=1), device)


def rotary_leading(length: int, head_dim: int, device: torch.device) -> RotaryTable:
    """Positions 0 ... length - 1 on the pairs of the frame axis only, with the leading frequencies of the 1-axis table.

    The release turns the keys of audio-to-video attention so; the other pairs stay as they are.
    """
    angles = _angles(torch.arange(length), head_dim)
    angles[:, axis_pairs(head_dim)[0] :] = 0.0
    return RotaryTable.from_angles(angles, device)


def rotary_1d_frame_axis(positions: Tensor, head_dim: int, device: torch.device) -> RotaryTable:
    """Positions [N] (may be fractions) on the frame axis of `rotary_3d`, row and column 0."""
    frame, row, column = axis_pairs(head_dim)
    angles = torch.nn.functional.pad(_angles(positions, 2 * frame), (0, row + column))
    return RotaryTable.from_angles(angles, device)
