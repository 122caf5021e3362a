"""How far and how wide the mouth is open at each moment of speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from .drawing import Array

if TYPE_CHECKING:
    from .speech import Phoneme

REST = (0.0, 0.5)  # opening and width of a silent mouth
SMOOTHING = (0.030, 0.035)  # seconds: how gradually opening and width change

# espeak's phonemes of American English -> opening, width (0 is pursed, 1 drawn out).
_SHAPES = {
    "a A: A@ aa aI aI3 aI@ aU": (0.95, 0.55),
    "V 3 3: @r": (0.7, 0.5),
    "E e e@ eI": (0.6, 0.75),
    "i i: ; i@ i@3 I I2 I#": (0.35, 0.95),
    "u: U w": (0.3, 0.0),
    "0 O O2 O: O@ o@ oU OI": (0.7, 0.2),
    "@ @2 @L a#": (0.4, 0.5),
    "b m p": (0.0, 0.5),
    "f v": (0.06, 0.55),
    "T D": (0.2, 0.55),
    "s z": (0.12, 0.8),
    "S Z tS dZ": (0.2, 0.25),
    "d l L n n- t t2 t#": (0.2, 0.55),
    "r r- 3r": (0.3, 0.25),
    "g h j k N": (0.3, 0.55),
}
SHAPES = {name: shape for names, shape in _SHAPES.items() for name in names.split()}


def shape(name: str) -> tuple[float, float]:
    """Opening and width of the mouth at a phoneme, from 0 to 1; stress marks do not count."""
    bare = name.strip("',%=")
    if bare not in SHAPES:
        raise ValueError(f"no mouth is known for the phoneme {name!r}: add it to SHAPES in training/mouths.py.")
    return SHAPES[bare]


def curves(phonemes: Sequence[Phoneme], times: Array) -> Array:
    """Opening and width [F, 2], from 0 to 1, at the times [F] in seconds.

    Each phoneme holds its shape and silence holds `REST`; those steps are smoothed by a Gaussian, exactly.
    """
    changes, values = [], [REST]
    for index, phoneme in enumerate(phonemes):
        changes.append(phoneme.start)
        values.append(shape(phoneme.name))
        if index + 1 == len(phonemes) or phonemes[index + 1].start > phoneme.end + 1e-3:
            changes.append(phoneme.end)
            values.append(REST)
    steps = np.diff(np.array(values), axis=0)  # [steps, 2]
    late = np.asarray(times)[:, None, None] - np.array(changes)[None, :, None]  # [F, steps, 1]
    return (REST + (ndtr(late / SMOOTHING) * steps).sum(1)).clip(0, 1).astype(np.float32)
