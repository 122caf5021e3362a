"""The sampling loop: Euler steps along the flow from noise to data, video and audio together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..config import MAX_TIMESTEP
from ..model import JointModel
from ..model.attention import AttentionFunction, scaled_dot_product
from ..model.prepared import Prepared
from ..types import AVLatent, Conditions
from .guidance import Guidance, Mode


def check_seed(seed: int) -> int:
    """Returns the seed if every random generator takes it, else raises ``ValueError``."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"the seed must be at least 0 and below 2**64, not {seed}")
    return seed


def draw_noise(latent: AVLatent, seed: int) -> AVLatent:
    """Gaussian float32 noise of the latent's shapes, drawn on the CPU (video first), on the latent's device."""
    generator = torch.Generator().manual_seed(seed)
    return latent.map(lambda x: torch.randn(x.shape, generator=generator).to(x.device))


@torch.inference_mode()
def sample(
    model: JointModel,
    latent: AVLatent,
    positive: Conditions,
    negative: Conditions,
    guidance: Guidance,
    timesteps: Tensor,
    noise: AVLatent,
    callback: Callable[[int, int, AVLatent], None] | None = None,
    attention: AttentionFunction = scaled_dot_product,
) -> tuple[AVLatent, tuple[Tensor, ...]]:
    """Integrates from ``noise`` over ``timesteps`` [steps + 1], falling in [0, 1000], to 0.

    latent: the clip; only its given leading parts are read
    callback: called after each step with its index, the number of steps and the present guess of the result

    Returns the latent, given parts not yet written over it (`AVLatent.with_clean_from`), and the face masks
    [B, T, H/32, W/32] of the last conditional pass.
    """
    guidance.check_layers(model.config.num_layers)
    steps, dtype = len(timesteps) - 1, model.patch_embedding.weight.dtype
    given = latent.map(lambda part: part.to(dtype))
    prepared = model.prepare(given, positive, attention=attention)
    prepared_negative: Prepared | None = None  # of both kinds of unconditional pass
    x = noise
    for step, (t, t_next) in enumerate(zip(timesteps.tolist()[:-1], timesteps.tolist()[1:], strict=True)):
        mode = guidance.mode(t, timesteps)
        seen = x.with_clean_from(latent).map(lambda part: part.to(dtype))
        time = torch.full((x.video.shape[0],), t, device=x.video.device)
        velocity = conditional = model(seen, time, positive, attention=attention, prepared=prepared)
        if mode is not Mode.NONE:
            told = {"skip_layers": guidance.skip_layers, "attention": attention}
            prepared_negative = prepared_negative or model.prepare(given, negative, **told)
            unconditional = model(
                seen, time, guidance.unconditional(negative, mode), prepared=prepared_negative, **told
            )
            velocity = guidance.combine(conditional, unconditional)
        if callback is not None:
            callback(step, steps, AVLatent(*(a - t / MAX_TIMESTEP * v for a, v in pairs(x, velocity))))
        x = AVLatent(*(a + (t_next - t) / MAX_TIMESTEP * v for a, v in pairs(x, velocity)))
    return x, conditional.face_masks


def pairs(x: AVLatent, velocity: AVLatent) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Video with its velocity, audio with its velocity."""
    return (x.video, velocity.video), (x.audio, velocity.audio)
