"""Frames of any number -> latents, a part at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from uniavgen_core.video.encode import LEAD_LATENTS, PART_LATENTS, encode_frames

SIDE = 32


class Reaching:
    """Each latent is the sum of all colours as far back as the Wan2.2 encoder looks; it counts what it is given."""

    def __init__(self) -> None:
        self.frames: list[int] = []

    def encode(self, pixels: Tensor) -> Tensor:
        self.frames.append(pixels.shape[2])
        sums = pixels.double().mean(dim=(0, 1, 3, 4)).cumsum(0)  # [F]
        before = torch.cat((torch.zeros(4 * LEAD_LATENTS + 1), sums))[: len(sums)]
        return (sums - before)[None, None, ::4, None, None]


class Counted:
    """Grey pictures, each another; it counts how many are read at a time."""

    def __init__(self, count: int) -> None:
        self.grey = torch.rand(count, generator=torch.manual_seed(0))
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.grey)

    def __getitem__(self, part: slice) -> Tensor:
        self.read.append(len(self.grey[part]))
        return self.grey[part, None, None, None].expand(-1, SIDE, SIDE, 3)


@pytest.mark.parametrize("count, latents", [(1, None), (9, 5), (4 * 68, 68), (4 * 69, 70), (700, None), (300, 200)])
def test_parts_are_those_of_the_whole(count: int, latents: int | None) -> None:
    vae, frames = Reaching(), Counted(count)
    encoded = encode_frames(vae, frames, SIDE, SIDE, latents)
    latents = latents or (count - 1) // 4 + 1
    still = torch.cat((frames.grey, frames.grey[-1:].expand(4 * latents)))[: 4 * latents - 3]
    whole = Reaching().encode((still.mul(255).round() / 255 * 2 - 1)[None, None, :, None, None])
    torch.testing.assert_close(encoded, whole, atol=1e-4, rtol=0)
    most = 4 * (LEAD_LATENTS + PART_LATENTS) - 3
    assert max(vae.frames) <= most
    assert max(frames.read) <= most
    assert len(vae.frames) == (1 if latents <= LEAD_LATENTS + PART_LATENTS else -(-latents // PART_LATENTS))
