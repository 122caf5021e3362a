"""Smooth shapes on a small picture: outlines in pixels, drawn four times as large and averaged."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline

SIDE = 128  # pixels, of every picture; pixel i covers [i, i + 1)
SUPERSAMPLING = 4
Y, X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + 0.5  # the pixels' middles

Array = NDArray[np.float32]


def ellipse(x: float, y: float, half_width: float, half_height: float, start: float = 0, stop: float = 360) -> Array:
    """Outline [N, 2] of an ellipse, or of the arc between two angles in degrees (0 right, 90 down)."""
    angles = np.radians(np.linspace(start, stop, 49))
    return np.stack([x + half_width * np.cos(angles), y + half_height * np.sin(angles)], 1)


def rounded(points: ArrayLike, count: int = 96) -> Array:
    """A smooth closed outline [count, 2] through the points [N, 2]."""
    closed = np.concatenate([points, points[:1]])
    return CubicSpline(np.arange(len(closed)), closed, bc_type="periodic")(np.linspace(0, len(closed) - 1, count))


def curve(points: ArrayLike, count: int = 32) -> Array:
    """A smooth open line [count, 2] through the points [N, 2]."""
    return CubicSpline(np.arange(len(points)), points)(np.linspace(0, len(points) - 1, count))


def glow(x: float, y: float, half_width: float, half_height: float) -> Array:
    """A soft spot [SIDE, SIDE]: 1 in the middle, 1/e at the given distances."""
    return np.exp(-(((X - x) / half_width) ** 2) - ((Y - y) / half_height) ** 2)


def coverage(outline: Array, rows: slice, columns: slice) -> Array:
    """Share of each pixel of the rows and columns that lies inside the outline."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    large = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    points = (outline - (columns.start, rows.start)) * SUPERSAMPLING - 0.5
    ImageDraw.Draw(large).polygon(points.ravel().tolist(), fill=255)
    return np.asarray(large.reduce(SUPERSAMPLING), np.float32) / 255


def bounds(outline: Array) -> tuple[slice, slice]:
    """The rows and columns of the picture that the outline touches."""
    low, high = np.floor(outline.min(0)).astype(int), np.ceil(outline.max(0)).astype(int)
    (left, top), (right, bottom) = np.clip(low, 0, SIDE - 1), np.clip(high, 1, SIDE)
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def paint(canvas: Array, colour: Array, outline: Array, *, within: Array | None = None, strength: float = 1) -> None:
    """Fills the outline on ``canvas`` [SIDE, SIDE, 3] with a colour [3] or a picture of its size.

    ``within`` is a second outline: only what lies in both is filled.
    """
    rows, columns = bounds(outline)
    share = strength * coverage(outline, rows, columns)
    if within is not None:
        share *= coverage(within, rows, columns)
    fill = colour[rows, columns] if colour.ndim == 3 else colour
    canvas[rows, columns] += share[..., None] * (fill - canvas[rows, columns])


def to_bytes(picture: Array) -> NDArray[np.uint8]:
    """Colours from 0 to 255 as whole numbers."""
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)
