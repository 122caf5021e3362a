"""How loud a sound is (EBU R128), and the gain that makes the clips of one question equally loud."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TARGET = -18.0  # LUFS: what AES TD1008 recommends for speech on phones and computers
CEILING = -1.0  # dB below full scale that peaks may reach: EBU R128
BLOCK = 0.4  # seconds that the measure needs at least
OVERSAMPLING = 4  # finds peaks between the samples: BS.1770, annex 2


@dataclass(frozen=True)
class Loudness:
    """level: integrated, LUFS; peak: between the samples too, dB of full scale"""

    level: float
    peak: float


def loudness_of(waveform: np.ndarray, sample_rate: int) -> Loudness | None:
    """Of a sound [1 or 2 channels, samples] as both speakers play it. None: silent, or shorter than 0.4 s.

    A single channel is played by both speakers, which makes it 3 dB louder than one channel alone.
    """
    if waveform.shape[1] <= BLOCK * sample_rate:
        return None
    import pyloudnorm
    from scipy.signal import resample_poly

    both = np.broadcast_to(waveform, (2, waveform.shape[1])).astype(np.float64)
    level = pyloudnorm.Meter(sample_rate).integrated_loudness(both.T)
    if not math.isfinite(level):
        return None
    peak = np.abs(resample_poly(both, OVERSAMPLING, 1, axis=1)).max()
    return Loudness(float(level), 20 * math.log10(peak))


def gains(sounds: Sequence[Loudness | None], target: float = TARGET) -> list[float]:
    """dB for each sound so that all are equally loud: at the target, or below it where one of them would clip.

    Silence stays as it is.
    """
    reachable = [sound.level + CEILING - sound.peak for sound in sounds if sound]
    level = min([target, *reachable])
    return [level - sound.level if sound else 0.0 for sound in sounds]
