"""Sound -> the MFCC that SyncNet hears, with python_speech_features as the published code calls it."""

from __future__ import annotations

from types import ModuleType

import numpy as np

SAMPLE_RATE = 16_000
COLUMN_RATE = 100  # MFCC columns a second
COEFFICIENTS = 13
FULL_SCALE = 32_768  # of 16 bits: the published code reads such files, and the first number is the log of the energy


def library() -> ModuleType:
    """python_speech_features. Raises ``ImportError`` with a sentence."""
    try:
        import python_speech_features
    except ImportError as error:
        raise ImportError(
            f"SyncNet needs python_speech_features: pip install python_speech_features ({error})"
        ) from error
    return python_speech_features


def mfcc(sound: np.ndarray) -> np.ndarray:
    """float [samples], -1 to 1 at 16 kHz -> float32 [13, columns], 100 a second.

    The library's defaults: windows of 25 ms without taper, 26 mel bands, pre-emphasis .97, lifter 22, log of the energy
    in place of the first number. Raises ``ImportError`` as `library` does.
    """
    whole = np.clip(np.round(sound.astype(np.float64) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    found = library().mfcc(whole, SAMPLE_RATE, numcep=COEFFICIENTS, winstep=1 / COLUMN_RATE)
    return np.ascontiguousarray(found.T, np.float32)
