"""Frames of any number -> latents, so many at a time that minutes need no more memory than seconds."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry import TEMPORAL_STRIDE
from ..interruption import check_interruption
from ..types import Frames, VideoAutoencoder
from .picture import fit_picture

PART_LATENTS = 40  # encoded at a time: 10 seconds
LEAD_LATENTS = 28  # before them, which a latent of the Wan2.2 encoder depends on: 112 frames


def encode_frames(vae: VideoAutoencoder, frames: Frames, height: int, width: int, latents: int | None = None) -> Tensor:
    """Pictures as the first frames of a clip of ``latents``, in which the last one stands still to the end; None is
    as many as the pictures fill.

    Returns [1, 48, T, height/16, width/16], equal to what the encoder gives for all at once.
    """
    count = len(frames)
    latents = (count - 1) // TEMPORAL_STRIDE + 1 if latents is None else latents
    if latents <= LEAD_LATENTS + PART_LATENTS:
        parts = [(0, 0, latents)]
    else:
        starts = range(0, latents, PART_LATENTS)
        parts = [(max(0, start - LEAD_LATENTS), start, min(start + PART_LATENTS, latents)) for start in starts]
    encoded = []
    for first, start, stop in parts:
        # latent n ends with frame 4n, and alone at the beginning of a part it is that frame
        needed = range(TEMPORAL_STRIDE * first, TEMPORAL_STRIDE * (stop - 1) + 1)
        shown = frames[min(needed[0], count - 1) : min(needed[-1] + 1, count)]
        pixels = torch.empty(1, 3, len(needed), height, width)
        for place in range(len(needed)):
            check_interruption()
            pixels[:, :, place] = fit_picture(shown[min(place, len(shown) - 1)][None], height, width)[:, :, 0]
        encoded.append(vae.encode(pixels)[:, :, start - first :])
    return torch.cat(encoded, dim=2)
