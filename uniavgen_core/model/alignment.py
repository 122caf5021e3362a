"""Which tokens of one modality see which of the other: index tables, functions of the clip's lengths alone.

A clip has T latents, F = 4 (T - 1) + 1 frames and L audio tokens. Products are in float64 and float32 as in the
released `align_audio_to_video` and `forward_video_to_audio`, because their rounding decides indices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from ..geometry import TEMPORAL_STRIDE, ClipLength

MARGIN_FRAMES = 2  # on each side of a latent's own frames (window size 5 of the release)


def latent_frames(latents: int) -> list[tuple[int, int]]:
    """First frame and the one after the last of every latent: (0, 1), (1, 5), (5, 9), ..."""
    first_frames = range(1, TEMPORAL_STRIDE * (latents - 1), TEMPORAL_STRIDE)
    return [(0, 1)] + [(start, start + TEMPORAL_STRIDE) for start in first_frames]


def audio_windows(latents: int, tokens: int) -> Tensor:
    """Audio tokens that each latent frame sees: [T, W] int64 indices in [0, L).

    Windows are brought to one length by taking in more tokens; indices outside the clip repeat its ends.
    (The release counts one token, not one frame, as the first latent's own span.)
    """
    rate = tokens / ClipLength.from_latents(latents).frames
    before, after = math.floor(MARGIN_FRAMES * rate), math.ceil(MARGIN_FRAMES * rate)
    bounds = [(-before, 1 + after)]
    for start, stop in latent_frames(latents)[1:]:
        bounds.append((math.floor(start * rate) - before, math.ceil(stop * rate) + after))

    length = max(stop - start for start, stop in bounds[1:] or bounds)
    starts = []
    for start, stop in bounds:
        missing = length - (stop - start)
        if start < 0:
            start -= missing
        elif stop < tokens:
            start -= missing // 2
        starts.append(start)
    return (torch.tensor(starts)[:, None] + torch.arange(length)).clamp(0, tokens - 1)


def own_windows(latents: int, tokens: int) -> Tensor:
    """Audio tokens of each latent's own time, without a margin: [T, W]; shorter windows repeat their last token."""
    rate = tokens / ClipLength.from_latents(latents).frames
    bounds = [(math.floor(start * rate), math.ceil(stop * rate)) for start, stop in latent_frames(latents)]
    length = max(stop - start for start, stop in bounds)
    return torch.tensor([[min(start + i, stop - 1, tokens - 1) for i in range(length)] for start, stop in bounds])


@dataclass(frozen=True)
class FrameContext:
    """A run of consecutive audio tokens and the video they see.

    start, stop: the audio tokens
    lower, upper: the two latents they lie between; the number T stands for the last latent doubled
    weights: how much of ``upper`` each token sees (float32, [stop - start]); None: all tokens see just ``lower``
    """

    start: int
    stop: int
    lower: int
    upper: int
    weights: Tensor | None = None


def frame_positions(latents: int, tokens: int) -> Tensor:
    """Position of each audio token on the axis of frames: [L] float32."""
    return torch.arange(tokens, dtype=torch.float32) / (tokens / ClipLength.from_latents(latents).frames)


def frame_contexts(latents: int, tokens: int, first: int = 0) -> list[FrameContext]:
    """Video context of the audio tokens ``first`` ... L - 1, interpolated between neighbouring frames.

    A latent's four frames hold the same tokens, so only tokens between two latents need a mix of their own. Past
    the last frame's start both weights of the release are kept for the same frame, so it counts double there.
    """
    last = ClipLength.from_latents(latents).frames - 1
    position = frame_positions(latents, tokens)
    lower = position.floor().clamp(0, last)
    upper = (lower + 1).clamp(0, last)
    weight = 1 - (upper - position)
    doubled = lower == upper
    lower, upper = (-(-frame // TEMPORAL_STRIDE) for frame in (lower.long(), upper.long()))  # frames -> latents
    upper = torch.where(weight == 0, lower, upper)
    lower, upper = (torch.where(doubled, latents, latent) for latent in (lower, upper))

    pairs = list(zip(lower.tolist(), upper.tolist(), strict=True))
    contexts = []
    for (low, up), run in groupby(range(first, tokens), key=pairs.__getitem__):
        run = list(run)
        start, stop = run[0], run[-1] + 1
        contexts.append(FrameContext(start, stop, low, up, None if low == up else weight[start:stop]))
    return contexts


def nearest_contexts(latents: int, tokens: int, first: int = 0) -> list[FrameContext]:
    """Video context of the audio tokens ``first`` ... L - 1 without interpolation: the latent of their own time."""
    frames = frame_positions(latents, tokens).long().tolist()
    own = [-(-frame // TEMPORAL_STRIDE) for frame in frames]
    runs = [(latent, list(run)) for latent, run in groupby(range(first, tokens), key=own.__getitem__)]
    return [FrameContext(run[0], run[-1] + 1, latent, latent) for latent, run in runs]
