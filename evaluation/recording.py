"""A decoded clip: pictures and sound in memory, at the rates that a measure asks for."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np


class Unmeasurable(Exception):
    """Why a clip has no number: a sentence for the report. No error of the request; other clips go on."""


@dataclass(frozen=True)
class Recording:
    """Pictures and sound of one clip, which begin together.

    frames: uint8 [F, H, W, 3], at ``fps`` pictures a second; none: [0, 0, 0, 3]
    sound: float32 [samples], one channel at ``sample_rate`` Hz; none: [0]
    """

    frames: np.ndarray
    fps: Fraction
    sound: np.ndarray
    sample_rate: int

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 [F, H, W, 3], not {self.frames.dtype} {list(self.frames.shape)}")
        if self.sound.ndim != 1 or not np.isfinite(self.sound).all():
            raise ValueError(f"sound must be finite, one channel [samples], not {list(self.sound.shape)}")

    def frames_at(self, fps: int | Fraction) -> np.ndarray:
        """[F', H, W, 3]: at each moment of that rate the picture that is shown then.

        Raises `Unmeasurable` without pictures.
        """
        if not len(self.frames):
            raise Unmeasurable("it has no pictures")
        count = round(len(self.frames) * Fraction(fps) / self.fps)
        shown = [min(int(index * self.fps / fps), len(self.frames) - 1) for index in range(max(1, count))]
        return self.frames[shown]

    def sound_at(self, sample_rate: int) -> np.ndarray:
        """float32 [samples'], resampled. Raises `Unmeasurable` without sound, or where all of it is silent."""
        if not len(self.sound):
            raise Unmeasurable("it has no sound")
        if not self.sound.any():
            raise Unmeasurable("its sound is silent")
        if sample_rate == self.sample_rate:
            return self.sound
        from scipy.signal import resample_poly

        share = Fraction(sample_rate, self.sample_rate)
        return resample_poly(self.sound, share.numerator, share.denominator).astype(np.float32)
