"""The mouth of a drawn face, for all frames of a clip at once, and how far a mouth in a picture is open."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .drawing import SIDE, Array, to_bytes
from .looks import Face

MAX_OPENING = 19  # pixels between the lips
NARROWEST, WIDENING = 8, 9  # half the mouth's width in pixels, at width 0 and what width 1 adds
ABOVE, BELOW, BESIDE = 14, 19, 21  # pixels around the mouth's middle that it can cover
ACROSS = 3  # samples a pixel from left to right; from top to bottom the shares are exact
SMILE = 2.2  # pixels: how much higher the corners are
TOP_SHARE = 0.4  # of the opening, above the mouth's middle
TEETH_SHARE, TONGUE_SHARE = 0.2, 0.2  # of the opening, so that the dark part's height follows it exactly

INSIDE = np.array((52, 14, 20), np.float32)
TONGUE = np.array((150, 62, 66), np.float32)
TEETH = np.array((238, 233, 224), np.float32)

# Where mouths are looked for: every face's middle column is well inside, noses, chins and shoulders are outside.
SEARCH_ROWS, SEARCH_COLUMNS = slice(80, 107), slice(56, 72)
DARK, LIGHT = 26, 54  # green values of the dark inside, and just below the darkest lips
COLUMNS_TOGETHER = 5


def paint_mouths(frames: NDArray[np.uint8], face: Face, opening: Array, width: Array) -> None:
    """Draws the mouths on ``frames`` [F, 128, 128, 3] in place; opening and width [F] from 0 to 1."""
    x, y = face.mouth
    top, left = round(y) - ABOVE, round(x) - BESIDE
    height, columns = ABOVE + BELOW, 2 * BESIDE
    rows = np.arange(top, top + height, dtype=np.float32)[None, :, None]
    across = (left + (np.arange(columns * ACROSS, dtype=np.float32) + 0.5) / ACROSS - x)[None]

    def share(upper: Array, lower: Array) -> Array:
        """Share [F, height, columns, 1] of each pixel between two lines [F, columns * ACROSS] (y downwards)."""
        start, stop = np.maximum(upper[:, None], rows), np.minimum(lower[:, None], rows + 1)
        fine = np.maximum(stop - start, 0)
        return sum(fine[..., start::ACROSS] for start in range(ACROSS))[..., None] / ACROSS

    outer = (NARROWEST + WIDENING * width)[:, None].astype(np.float32)
    gap = (MAX_OPENING * opening)[:, None].astype(np.float32)
    bow = np.clip(1 - (across / outer) ** 2, 0, None)  # 1 in the middle, 0 at the corners
    arch = np.sqrt(np.clip(1 - (across / (outer - 1.6)) ** 2, 0, None))
    level = y - SMILE * (1 - bow)  # where the closed lips meet
    upper, lower = level - TOP_SHARE * gap * arch, level + (1 - TOP_SHARE) * gap * arch
    full = np.where(outer > 0, 1.25 - 0.03 * (outer - NARROWEST), 0)  # pursed lips are fuller
    dip = 0.7 * np.exp(-((across / 2.2) ** 2))
    lip_top = upper - full * (3 * bow**0.8 - dip)
    lip_bottom = lower + full * 3.8 * bow**0.7

    window = (slice(None), slice(top, top + height), slice(left, left + columns))
    crop = frames[window].astype(np.float32)
    shade = np.clip((rows[0] + 0.5 - y) / 12, -1, 1)[..., None]  # the upper lip lies in shadow

    def fill(colour: Array, where: Array) -> None:
        crop[...] += where * (colour - crop)

    fill(face.lips * (0.97 + 0.08 * shade), share(lip_top, lip_bottom))
    shine = (
        share(lower + 0.9 * bow, lower + 2.2 * bow) * np.exp(-((across.reshape(-1, ACROSS).mean(1) / 5) ** 2))[:, None]
    )
    fill(np.minimum(face.lips + 60, 255), 0.35 * shine)
    fill(face.lips * 0.72, share(upper - 0.5 * bow**0.5, upper + 0.4 * bow**0.5))
    fill(INSIDE, share(upper, lower))
    fill(TEETH, share(upper, upper + TEETH_SHARE * gap * arch) * 0.96)
    fill(TONGUE, share(lower - TONGUE_SHARE * gap * arch**3, lower))
    frames[window] = to_bytes(crop)


def mouth_opening(frames: NDArray[np.uint8]) -> Array:
    """How far the mouth is open in each frame [F, 128, 128, 3]: [F], near 0 closed and 1 wide open.

    The height of the dark inside, where it is highest. Green tells it best from skin and lips of any tone.
    """
    if frames.ndim != 4 or frames.shape[1:] != (SIDE, SIDE, 3):
        raise ValueError(f"frames must be of shape [F, {SIDE}, {SIDE}, 3], not {list(frames.shape)}.")
    green = frames[:, SEARCH_ROWS, SEARCH_COLUMNS, 1].astype(np.float32)
    heights = np.clip((LIGHT - green) / (LIGHT - DARK), 0, 1).sum(1)
    together = np.lib.stride_tricks.sliding_window_view(heights, COLUMNS_TOGETHER, axis=1).mean(-1)
    return together.max(1) / (MAX_OPENING * (1 - TEETH_SHARE - TONGUE_SHARE))
