"""Talking faces as pictures: a still portrait, a mouth that moves and eyes that blink."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .drawing import Array, to_bytes
from .lips import mouth_opening, paint_mouths
from .looks import Face
from .portrait import paint_eyes, portrait

__all__ = ["Face", "mouth_opening", "render"]


def render(face: Face, opening: Array, width: Array, blinks: Array) -> NDArray[np.uint8]:
    """The face in F frames: uint8 [F, 128, 128, 3].

    Mouth opening and width and the eyes' blinks (1 is shut) are [F] from 0 to 1. Blinks of equal value are drawn once.
    """
    lids, which = np.unique(blinks, return_inverse=True)
    stills = np.repeat(portrait(face)[None], len(lids), 0)
    for still, lid in zip(stills, lids, strict=True):
        paint_eyes(still, face, float(lid))
    frames = to_bytes(stills)[which]
    paint_mouths(frames, face, opening, width)
    return frames
