"""Trains the tiny VAE on drawn faces and, for pictures of another kind, on random textures.

clips -> PCA of their patches -> matrices to begin with -> encoder and decoder together
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from uniavgen_core.geometry import TEMPORAL_STRIDE
from uniavgen_core.tiny.config import TINY
from uniavgen_core.tiny.vae import TinyVAE, to_patches

from .clips import make_clip
from .loop import Loop, adam

FRAMES = 9  # of each sample: the first latent and two more
CLIP_FRAMES = 33
FACES = 1200
BATCH = 8
STEPS = 3500
LEARNING_RATE = 2e-3
LATENT_NOISE = 0.1  # the decoder learns to live with what a generated latent is off by
TEXTURES = 1  # samples of a batch that are no faces
MOUTH = (slice(72, 114), slice(38, 90))  # rows, columns of the picture that count more
MOUTH_WEIGHT = 8.0


def read_faces(count: int = FACES) -> Tensor:
    """Clips of the training split: uint8 [count, 33, 128, 128, 3]."""
    return torch.from_numpy(np.stack([make_clip(seed, CLIP_FRAMES).frames for seed in range(count)]))


def textures(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Clouds of every coarseness that drift a little: [count, 3, FRAMES, size, size] in [-1, 1]."""
    across = torch.fft.fftfreq(size)
    distance = (across[:, None] ** 2 + across**2).sqrt().clamp(min=1 / size)
    steepness = 1 + 1.5 * torch.rand(count, 1, 1, 1, generator=generator)
    noise = torch.randn(count, 3, size, size, generator=generator)
    picture = torch.fft.ifft2(torch.fft.fft2(noise) * distance**-steepness).real
    mix = torch.randn(count, 3, 3, generator=generator) + 2  # colours go mostly together
    picture = torch.einsum("nij,njyx->niyx", mix, picture)
    picture = picture / picture.std(dim=(1, 2, 3), keepdim=True) * 0.5
    shift = torch.randint(-1, 2, (count, 2), generator=generator).tolist()
    frames = [
        torch.stack([picture[n].roll((i * dy // 4, i * dx // 4), (1, 2)) for i in range(FRAMES)], dim=1)
        for n, (dy, dx) in enumerate(shift)
    ]
    return torch.stack(frames).clamp(-1, 1)


def batch(faces: Tensor, step: int, seed: int) -> Tensor:
    """Pixels [BATCH, 3, FRAMES, 128, 128] in [-1, 1], those of that step."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    count = BATCH - TEXTURES
    chosen = torch.randint(len(faces), (count,), generator=generator).tolist()
    starts = torch.randint(CLIP_FRAMES - FRAMES + 1, (count,), generator=generator).tolist()
    pixels = torch.stack([faces[n, start : start + FRAMES] for n, start in zip(chosen, starts, strict=True)])
    pixels = pixels.movedim(-1, 1).float() / 127.5 - 1
    return torch.cat((pixels, textures(TEXTURES, pixels.shape[-1], generator)))


def principal(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [D], the 48 main directions [48, D] of patches [N, D] and the spread along each [48]."""
    mean = patches.mean(dim=0)
    covariance = (patches - mean).T @ (patches - mean) / len(patches)
    variance, directions = torch.linalg.eigh(covariance)
    chosen = slice(-TINY.video_channels, None)
    return mean, directions[:, chosen].T.flip(0), variance[chosen].flip(0).clamp(min=1e-8).sqrt()


@torch.no_grad()
def begin(vae: TinyVAE, pixels: Tensor) -> None:
    """Sets the encoder to the whitened principal components of these pixels [N, 3, FRAMES, 128, 128]."""
    parts = (
        (vae.encode_first, to_patches(pixels[:, :, :1], 1)),
        (vae.encode_rest, to_patches(pixels[:, :, 1:], TEMPORAL_STRIDE)),
    )
    for layer, patches in parts:
        mean, directions, spread = principal(patches.flatten(0, -2))
        layer.weight.copy_(directions / spread[:, None])
        layer.bias.copy_(-layer.weight @ mean)


def loss_of(vae: TinyVAE, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """How far decoded noisy latents are from the pixels, and how far the latents are from unit variance."""
    latents = vae.encode(pixels)
    drawn = vae.decode(latents + LATENT_NOISE * torch.randn(latents.shape, generator=generator))
    weight = torch.ones(pixels.shape[-2:])
    weight[MOUTH] = MOUTH_WEIGHT
    error = drawn - pixels
    edges = sum((error.diff(dim=d).abs() * weight.narrow(d, 1, weight.shape[d] - 1)).mean() for d in (-1, -2))
    spread = torch.cat((latents[:, :, :1].flatten(2), latents[:, :, 1:].flatten(2)), dim=2)
    unit = (spread.var(dim=(0, 2)) - 1).square().mean() + spread.mean(dim=(0, 2)).square().mean()
    motion = (error.diff(dim=2).abs() * weight).mean()
    return (weight * (error.abs() + 4 * error.square())).mean() + edges + motion + 0.01 * unit


def train(loop: Loop, steps: int = STEPS, seed: int = 0) -> TinyVAE:
    """The VAE after so many steps, averaged over the last of them."""
    torch.manual_seed(seed)
    faces = read_faces()
    vae = TinyVAE()
    begin(vae, torch.cat([batch(faces, -1 - n, seed) for n in range(24)]))

    def loss(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed * 999_983 + step)
        return {"loss": loss_of(vae, batch(faces, step, seed), generator)}

    return loop.run("vae", vae, loss, steps, [adam(vae.parameters(), LEARNING_RATE)])


def quality(vae: TinyVAE, count: int = 16) -> dict[str, float]:
    """PSNR in dB of unseen faces, of the whole picture and of the mouth."""
    clips = np.stack([make_clip(seed, CLIP_FRAMES, "test").frames for seed in range(count)])
    pixels = torch.from_numpy(clips).movedim(-1, 1).float() / 127.5 - 1
    with torch.inference_mode():
        error = (vae.decode(vae.encode(pixels)) - pixels) / 2
    whole, mouth = error.square().mean(), error[..., MOUTH[0], MOUTH[1]].square().mean()
    return {"picture": float(-10 * whole.log10()), "mouth": float(-10 * mouth.log10())}
