"""Seconds, frames, latents, tokens, samples and picture sizes: every length is derived here."""

from __future__ import annotations

import math
from dataclasses import dataclass

VIDEO_FPS = 16
TEMPORAL_STRIDE = 4  # frames a latent, except the first, which is one frame
SPATIAL_STRIDE = 16  # pixels a latent
PATCH_SIZE = 2  # latents a token, in rows and in columns
SIZE_MULTIPLE = SPATIAL_STRIDE * PATCH_SIZE
SAMPLE_RATE = 24_000
HOP_LENGTH = 240  # samples a mel frame, which is one audio token
SAMPLES_PER_FRAME = SAMPLE_RATE // VIDEO_FPS
TRAINED_FRAMES = 81
MAX_FRAMES = 16_385  # 17 minutes
MAX_SIDE = 8192  # pixels
RELEASE_SHORT_SIDE = 720


def check_frames(frames: int) -> int:
    """Returns ``frames`` if the VAE can hold it (4n + 1, at least 1), else raises ``ValueError``."""
    if frames > MAX_FRAMES:
        raise ValueError(f"a clip cannot have {frames} frames: it can have {MAX_FRAMES} at most")
    if frames < 1 or frames % TEMPORAL_STRIDE != 1:
        below = max(1, (frames - 1) // TEMPORAL_STRIDE * TEMPORAL_STRIDE + 1)
        raise ValueError(
            f"a clip cannot have {frames} frames: the number must be 4n + 1. "
            f"The next ones are {below} and {below + TEMPORAL_STRIDE}."
        )
    return frames


def cover_frames(frames: int) -> int:
    """The shortest clip of 4n + 1 frames that holds so many."""
    return -(-(frames - 1) // TEMPORAL_STRIDE) * TEMPORAL_STRIDE + 1


def check_size(width: int, height: int) -> tuple[int, int]:
    """Returns ``(width, height)`` in pixels if both are positive multiples of 32, else raises ``ValueError``."""
    for name, value in (("width", width), ("height", height)):
        if value > MAX_SIDE:
            raise ValueError(f"{name} {value} is too large: it can be {MAX_SIDE} at most")
        if value < SIZE_MULTIPLE or value % SIZE_MULTIPLE:
            below = max(SIZE_MULTIPLE, value // SIZE_MULTIPLE * SIZE_MULTIPLE)
            raise ValueError(
                f"{name} {value} must be a multiple of {SIZE_MULTIPLE}. "
                f"The next ones are {below} and {below + SIZE_MULTIPLE}."
            )
    return width, height


@dataclass(frozen=True)
class ClipLength:
    """The length of a clip in every unit. 81 frames = 21 latents = 506 tokens = 121500 samples = 5.0625 s."""

    frames: int = TRAINED_FRAMES

    def __post_init__(self) -> None:
        check_frames(self.frames)

    @classmethod
    def from_latents(cls, latents: int) -> ClipLength:
        return cls((latents - 1) * TEMPORAL_STRIDE + 1)

    @property
    def latents(self) -> int:
        return (self.frames - 1) // TEMPORAL_STRIDE + 1

    @property
    def samples(self) -> int:
        return self.frames * SAMPLES_PER_FRAME

    @property
    def tokens(self) -> int:
        """Whole mel frames in the clip (a frame lasts 6.25 of them)."""
        return self.samples // HOP_LENGTH

    @property
    def seconds(self) -> float:
        return self.frames / VIDEO_FPS


def fit_size(height: int, width: int, short_side: int = RELEASE_SHORT_SIDE) -> tuple[int, int]:
    """Size ``(height, width)`` in pixels that the release gives a picture of the given size.

    The shorter side becomes ``short_side`` rounded up to a multiple of 32; the other is scaled alike and rounded
    up to a multiple of 32 (released behaviour, `utils/eval_dataset.py`, in float64 as there).
    """
    target = math.ceil(short_side / SIZE_MULTIPLE) * SIZE_MULTIPLE
    scale = min(height, width) / target
    return tuple(math.ceil(side / scale / SIZE_MULTIPLE) * SIZE_MULTIPLE for side in (height, width))
