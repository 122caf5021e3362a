"""The plot of the lip-sync score: the curve, its least and the scales are where the numbers say."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.sync import plot
from evaluation.sync.score import SyncScore

INSIDE = np.s_[plot.TOP : plot.HEIGHT - plot.BOTTOM + 1]  # rows between the title and the numbers below


def scored(offset: int, depth: float = 3.0) -> SyncScore:
    """A valley at the offset, 10 elsewhere."""
    distances = [10.0] * 31
    distances[15 - offset] -= depth
    return SyncScore(depth, 10.0 - depth, offset, tuple(distances), 50)


def places(pixels: np.ndarray, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns within the scales."""
    rows, columns = (pixels[INSIDE] == colour).all(axis=2).nonzero()
    return rows + plot.TOP, columns


@pytest.mark.parametrize("offset", [-15, -4, 0, 3, 15])
def test_the_least_is_marked_at_its_offset(offset: int) -> None:
    pixels = plot.picture(scored(offset))
    assert pixels.shape == (plot.HEIGHT, plot.WIDTH, 3) and pixels.dtype == np.uint8
    rows, columns = places(pixels, plot.MARK)
    expected = plot.LEFT + (offset + 15) / 30 * (plot.WIDTH - plot.LEFT - plot.RIGHT)
    assert columns.mean() == pytest.approx(expected, abs=1)
    assert rows.max() - rows.min() > 0.7 * (plot.HEIGHT - plot.TOP - plot.BOTTOM)  # down from the median


def test_the_curve_reaches_over_all_offsets_and_is_level_where_the_distances_are() -> None:
    rows, columns = places(plot.picture(scored(0)), plot.CURVE)
    assert columns.min() == pytest.approx(plot.LEFT, abs=4)
    assert columns.max() == pytest.approx(plot.WIDTH - plot.RIGHT, abs=4)
    left, right = rows[columns < 200].mean(), rows[columns > 500].mean()
    assert left == pytest.approx(right, abs=1)


@pytest.mark.parametrize("depth", [0.0, 1e-4, 40.0])
def test_flat_and_deep_curves_stay_inside(depth: float) -> None:
    rows, columns = places(plot.picture(scored(2, depth)), plot.CURVE)
    assert len(columns) > 500
    assert rows.min() >= plot.TOP and rows.max() <= plot.HEIGHT - plot.BOTTOM


def test_the_numbers_are_written_above() -> None:
    """Another title for another number, and no other difference within it."""
    one, other = (plot.picture(SyncScore(2.0, 8.0, 1, (10.0,) * 14 + (8.0,) + (10.0,) * 16, n)) for n in (5, 9))
    assert np.array_equal(one, other)
    assert not np.array_equal(one[: plot.TOP - 6], plot.picture(scored(1))[: plot.TOP - 6])
