"""The VAE's training: what it begins with and what it is shown."""

from __future__ import annotations

import torch

from training import vae
from uniavgen_core.tiny.vae import TinyVAE


def test_principal_components_explain_what_there_is():
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(60, 48, generator=generator))[0].T  # [48, 60]
    spread = torch.linspace(3, 0.5, 48)
    patches = torch.randn(20_000, 48, generator=generator) * spread @ directions + 7
    mean, found, along = vae.principal(patches)
    torch.testing.assert_close(mean, torch.full((60,), 7.0), atol=0.1, rtol=0)
    torch.testing.assert_close(along, spread, atol=0.1, rtol=0.05)
    assert (found @ found.T - torch.eye(48)).abs().max() < 1e-4
    assert (found[0] @ directions[0]).abs() > 0.9


def test_it_begins_with_latents_of_unit_variance():
    generator = torch.Generator().manual_seed(0)
    pixels = vae.textures(24, 64, generator)
    assert pixels.shape == (24, 3, vae.FRAMES, 64, 64) and pixels.abs().max() == 1
    assert not torch.equal(pixels[:, :, 0], pixels[:, :, -1])  # they drift
    model = TinyVAE()
    vae.begin(model, pixels)
    with torch.no_grad():
        latents = model.encode(pixels)
    for part in (latents[:, :, :1], latents[:, :, 1:]):
        torch.testing.assert_close(part.std(dim=(0, 2, 3, 4)), torch.ones(48), atol=0.02, rtol=0)
        assert part.mean(dim=(0, 2, 3, 4)).abs().max() < 0.02


def test_a_batch_is_the_same_each_time_and_ends_with_textures():
    faces = torch.arange(3 * 33, dtype=torch.uint8).reshape(3, 33, 1, 1, 1).expand(3, 33, 128, 128, 3)
    batch = vae.batch(faces, 4, 0)
    assert batch.shape == (vae.BATCH, 3, vae.FRAMES, 128, 128)
    assert torch.equal(batch, vae.batch(faces, 4, 0)) and not torch.equal(batch, vae.batch(faces, 5, 0))
    steps = batch[: -vae.TEXTURES].diff(dim=2)
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 127.5), atol=1e-5, rtol=0)  # frames in a row


def test_the_loss_is_none_for_what_is_perfect_and_counts_the_mouth():
    class Perfect(TinyVAE):
        """Whose decoder knows what it was given."""

        off = 0.0

        def encode(self, pixels):
            self.pixels = pixels
            noise = torch.randn(2, 48, 200, 4, 4, generator=torch.Generator().manual_seed(0))
            return (noise - noise.mean((0, 2, 3, 4), True)) / noise.std((0, 2, 3, 4), keepdim=True, correction=1)

        def decode(self, latents):
            drawn = self.pixels.clone()
            drawn[..., self.where[0], self.where[1]] += self.off
            return drawn

    model, pixels = Perfect(), torch.zeros(2, 3, 5, 128, 128)
    losses = []
    for off, where in ((0.0, (0, 0)), (0.1, (90, 64)), (0.1, (10, 10))):
        model.off, model.where = off, where
        losses.append(float(vae.loss_of(model, pixels, torch.Generator().manual_seed(1))))
    assert losses[0] < 1e-3 and losses[1] > losses[2] > losses[0]
