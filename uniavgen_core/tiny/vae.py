"""A linear patch autoencoder with the shape of the Wan2.2 VAE: stride 4 x 16 x 16, 48 channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..geometry import SPATIAL_STRIDE as S
from ..geometry import TEMPORAL_STRIDE, check_frames
from .config import FIRST_PATCH, REST_PATCH, TINY


class TinyVAE(nn.Module):
    """Pixels <-> latents by one matrix for the first frame and one for every later four (implements VideoAutoencoder).

    A latent pixel is the patch's coordinates on 48 orthonormal functions, divided by a scale per channel so that
    natural pictures give about unit variance. What those functions cannot hold is lost: pictures come back blurred.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = TINY.video_channels
        self.first_basis = nn.Parameter(torch.empty(channels, FIRST_PATCH))  # rows are orthonormal
        self.first_scale = nn.Parameter(torch.empty(channels))
        self.rest_basis = nn.Parameter(torch.empty(channels, REST_PATCH))
        self.rest_scale = nn.Parameter(torch.empty(channels))

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
        pixels = pixels.to(self.first_basis)
        first = to_patches(pixels[:, :, :1], 1) @ (self.first_basis / self.first_scale[:, None]).T
        rest = to_patches(pixels[:, :, 1:], TEMPORAL_STRIDE) @ (self.rest_basis / self.rest_scale[:, None]).T
        return torch.cat((first, rest), dim=1).movedim(-1, 1)  # [B, T, h, w, 48] -> [B, 48, T, h, w]

    def decode(self, latents: Tensor) -> Tensor:
        """[B, 48, T, H/16, W/16] -> [B, 3, F, H, W] in [-1, 1]. Raises ``ValueError`` for other shapes."""
        if latents.ndim != 5 or latents.shape[1] != self.first_basis.shape[0] or not latents.shape[2]:
            raise ValueError(
                f"the VAE decodes latents [batch, {self.first_basis.shape[0]}, latents, height, width], "
                f"not {list(latents.shape)}"
            )
        patches = latents.to(self.first_basis).movedim(1, -1)  # [B, T, h, w, 48]
        first = from_patches((patches[:, :1] * self.first_scale) @ self.first_basis, 1)
        rest = from_patches((patches[:, 1:] * self.rest_scale) @ self.rest_basis, TEMPORAL_STRIDE)
        return torch.cat((first, rest), dim=2).clamp(-1, 1)


def to_patches(pixels: Tensor, frames: int) -> Tensor:
    """[B, 3, T * frames, 16h, 16w] -> [B, T, h, w, 3 * frames * 16 * 16], ordered colour, frame, row, column."""
    batch, colours, length, height, width = pixels.shape
    grid = (length // frames, height // S, width // S)
    x = pixels.reshape(batch, colours, grid[0], frames, grid[1], S, grid[2], S)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, *grid, colours * frames * S * S)


def from_patches(patches: Tensor, frames: int) -> Tensor:
    """The inverse of `to_patches`."""
    batch, length, rows, columns, _ = patches.shape
    x = patches.reshape(batch, length, rows, columns, 3, frames, S, S).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return x.reshape(batch, 3, length * frames, rows * S, columns * S)
