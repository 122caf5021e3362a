"""A small patch autoencoder with the shape of the Wan2.2 VAE: stride 4 x 16 x 16, 48 channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry import SPATIAL_STRIDE as S
from ..geometry import TEMPORAL_STRIDE, check_frames
from ..interruption import check_interruption
from .config import FIRST_PATCH, REST_PATCH, TINY, VAE_BLOCKS, VAE_CHANNELS, VAE_STRIDE

LATENTS_AT_ONCE = 4


class Residual(nn.Module):
    """Two convolutions over 3 x 3 places beside the way past them: [N, C, h, w] -> the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.gelu(self.first(F.gelu(x))))


class TinyVAE(nn.Module):
    """Pixels <-> latents (implements VideoAutoencoder): one map for the first frame, one for every later four.

    A patch of 4 x 16 x 16 pixels becomes the 48 channels of a latent pixel by one matrix, of about unit variance for
    the drawn faces it was trained on. The decoder draws every frame by itself, with convolutions across the patches.
    """

    def __init__(self) -> None:
        super().__init__()
        latent, grid = TINY.video_channels, VAE_CHANNELS * (S // VAE_STRIDE) ** 2
        self.encode_first = nn.Linear(FIRST_PATCH, latent)
        self.encode_rest = nn.Linear(REST_PATCH, latent)
        self.decode_first = nn.Linear(latent, grid)
        self.decode_rest = nn.Linear(latent, TEMPORAL_STRIDE * grid)
        self.blocks = nn.Sequential(*(Residual(VAE_CHANNELS) for _ in range(VAE_BLOCKS)))
        self.head = nn.Conv2d(VAE_CHANNELS, 3 * VAE_STRIDE**2, 3, padding=1)

    def encode(self, pixels: Tensor) -> Tensor:
        """[B, 3, F, H, W] in [-1, 1] -> [B, 48, T, H/16, W/16], F = 4(T-1) + 1.

        Raises ``ValueError`` for another number of frames and for sizes that 16 does not divide.
        """
        if pixels.ndim != 5 or pixels.shape[1] != 3 or pixels.shape[3] % S or pixels.shape[4] % S:
            raise ValueError(
                f"the VAE encodes pixels [batch, 3, frames, height, width] of sizes divisible by {S}, "
                f"not {list(pixels.shape)}"
            )
        check_frames(pixels.shape[2])
        pixels = pixels.to(self.encode_first.weight)
        first = self.encode_first(to_patches(pixels[:, :, :1], 1))
        rest = self.encode_rest(to_patches(pixels[:, :, 1:], TEMPORAL_STRIDE))
        return torch.cat((first, rest), dim=1).movedim(-1, 1)  # [B, T, h, w, 48] -> [B, 48, T, h, w]

    def decode(self, latents: Tensor) -> Tensor:
        """[B, 48, T, H/16, W/16] -> [B, 3, F, H, W] in [-1, 1]. Raises ``ValueError`` for other shapes."""
        if latents.ndim != 5 or latents.shape[1] != TINY.video_channels or not latents.shape[2]:
            raise ValueError(
                f"the VAE decodes latents [batch, {TINY.video_channels}, latents, height, width], "
                f"not {list(latents.shape)}"
            )
        patches = latents.to(self.encode_first.weight).movedim(1, -1)  # [B, T, h, w, 48]
        frames = [self.draw(from_patches(self.decode_first(patches[:, :1]), VAE_CHANNELS, 1))]
        for part in patches[:, 1:].split(LATENTS_AT_ONCE, dim=1):
            check_interruption()
            frames.append(self.draw(from_patches(self.decode_rest(part), VAE_CHANNELS, TEMPORAL_STRIDE)))
        return torch.cat(frames, dim=2)

    def draw(self, x: Tensor) -> Tensor:
        """Frames [B, C, F, H/4, W/4] -> pixels [B, 3, F, H, W] in [-1, 1]."""
        grid = x.movedim(2, 1).flatten(0, 1)  # [B * F, C, H/4, W/4]
        pixels = F.pixel_shuffle(self.head(F.gelu(self.blocks(grid))), VAE_STRIDE).clamp(-1, 1)
        return pixels.unflatten(0, (x.shape[0], x.shape[2])).movedim(1, 2)


def to_patches(pixels: Tensor, frames: int) -> Tensor:
    """[B, 3, T * frames, 16h, 16w] -> [B, T, h, w, 3 * frames * 16 * 16], ordered colour, frame, row, column."""
    batch, colours, length, height, width = pixels.shape
    grid = (length // frames, height // S, width // S)
    x = pixels.reshape(batch, colours, grid[0], frames, grid[1], S, grid[2], S)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, *grid, colours * frames * S * S)


def from_patches(patches: Tensor, channels: int, frames: int) -> Tensor:
    """[B, T, h, w, channels * frames * s * s], ordered alike -> [B, channels, T * frames, s * h, s * w]."""
    batch, length, rows, columns, numbers = patches.shape
    s = round((numbers // (channels * frames)) ** 0.5)
    x = patches.reshape(batch, length, rows, columns, channels, frames, s, s).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return x.reshape(batch, channels, length * frames, rows * s, columns * s)
