"""Which tokens of one modality see which of the other: index tables, functions of the clip's lengths alone.

A clip has T latents, F = 4 (T - 1) + 1 frames and L audio tokens. Products are in float64 and float32 as in the
released `align_audio_to_video` and `forward_video_to_audio`, because their rounding decides indices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

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
    """Audio tokens of each latent's own time, without a margin: [T, W].

    Shorter windows repeat their last token, which so weighs more there; the first latent, a single frame, has one.
    """
    rate = tokens / ClipLength.from_latents(latents).frames
    bounds = [(math.floor(start * rate), math.ceil(stop * rate)) for start, stop in latent_frames(latents)]
    length = max(stop - start for start, stop in bounds)
    return torch.tensor([[min(start + i, stop - 1, tokens - 1) for i in range(length)] for start, stop in bounds])


@dataclass(frozen=True)
class FrameContexts:
    """What audio tokens see of the video: C places one after the other, n tokens at each.

    tokens: [C, n] int64, audio tokens; a place with fewer repeats its last one
    latent: that of the first place; T stands for the last latent doubled
    weights: [C, n], how much each token sees of the latent after it instead; None: nothing
    """

    tokens: Tensor
    latent: int
    weights: Tensor | None = None

    def split(self, places: int) -> list[FrameContexts]:
        """The same in parts of so many places."""
        latents = range(self.latent, self.latent + len(self.tokens), places)
        weights = [None] * len(latents) if self.weights is None else self.weights.split(places)
        return [FrameContexts(*part) for part in zip(self.tokens.split(places), latents, weights, strict=True)]

    def to(self, device: torch.device) -> FrameContexts:
        weights = None if self.weights is None else self.weights.to(device)
        return FrameContexts(self.tokens.to(device), self.latent, weights)


def frame_positions(latents: int, tokens: int) -> Tensor:
    """Position of each audio token on the axis of frames: [L] float32."""
    return torch.arange(tokens, dtype=torch.float32) / (tokens / ClipLength.from_latents(latents).frames)


def frame_contexts(latents: int, tokens: int, first: int = 0) -> list[FrameContexts]:
    """Video contexts of the audio tokens ``first`` ... L - 1, interpolated between neighbouring frames.

    A latent's four frames hold the same tokens, so only tokens between two latents need a mix of their own. Past
    the last frame's start both weights of the release are kept for the same frame, so it counts double there.
    """
    last = ClipLength.from_latents(latents).frames - 1
    position = frame_positions(latents, tokens)
    lower = position.floor().clamp(0, last)
    upper = (lower + 1).clamp(0, last)
    weight = 1 - (upper - position)
    doubled = lower == upper
    lower, upper = (latent_of(frame.long()) for frame in (lower, upper))
    upper = torch.where(weight == 0, lower, upper)
    lower, upper = (torch.where(doubled, latents, latent) for latent in (lower, upper))

    rest = torch.arange(first, tokens)
    within = by_latent(rest[lower[rest] == upper[rest]], lower)
    between = by_latent(rest[lower[rest] != upper[rest]], lower)
    return [*within, *(replace(contexts, weights=weight[contexts.tokens]) for contexts in between)]


def nearest_contexts(latents: int, tokens: int, first: int = 0) -> list[FrameContexts]:
    """Video contexts of the audio tokens ``first`` ... L - 1 without interpolation: the latent of their own time."""
    own = latent_of(frame_positions(latents, tokens).long())
    return by_latent(torch.arange(first, tokens), own)


def by_latent(tokens: Tensor, latent: Tensor) -> list[FrameContexts]:
    """One place for all those of ``tokens`` that see the same ``latent`` [L]; several lists where latents are left out.

    So what is seen of neighbours is a part of the whole, and never copied.
    """
    seen = latent[tokens].unique().tolist()
    groups = [tokens[latent[tokens] == one] for one in seen]
    length = max((len(group) for group in groups), default=0)
    places = [torch.cat((group, group[-1:].expand(length - len(group)))) for group in groups]
    starts = [i for i, one in enumerate(seen) if one - 1 not in seen]
    bounds = pairwise([*starts, len(seen)])
    return [FrameContexts(torch.stack(places[start:stop]), seen[start]) for start, stop in bounds]


def context_order(contexts: list[FrameContexts], tokens: int) -> Tensor:
    """Where each audio token stands in the contexts' tokens, all in one row: [L]; 0 for tokens in none of them."""
    order = torch.zeros(tokens, dtype=torch.int64)
    if contexts:
        row = torch.cat([group.tokens.flatten() for group in contexts])
        order[row] = torch.arange(len(row))
    return order


def latent_of(frame: Tensor) -> Tensor:
    """The latent that holds a frame: 0 -> 0, 1 ... 4 -> 1, 5 ... 8 -> 2."""
    return (frame + TEMPORAL_STRIDE - 1) // TEMPORAL_STRIDE
