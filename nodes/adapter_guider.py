"""MA-CFG as a host GUIDER. Every decision is the core's Guidance; this brings in the host's passes and patches."""

from __future__ import annotations

import math
from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..uniavgen_core.config import MAX_TIMESTEP
from ..uniavgen_core.sampling import Guidance, Mode
from ..uniavgen_core.types import UNIMODAL
from .adapter_conditioning import INTERACTION, SKIP_LAYERS, Conditioning, check_conditioning, with_values
from .adapter_model import config_of_model

# which conditioning the unconditional pass of a step has
UNCONDITIONAL = {Mode.MODALITY_AWARE: "unimodal", Mode.PLAIN: "negative"}


class ModalityAwareGuider(comfy.samplers.CFGGuider):
    """One conditional and at most one unconditional pass a step, with a scale for each modality.

    What a pass is told travels in its conditioning, so that caches and compiled models keep the passes apart.
    """

    def __init__(self, model: ModelPatcher, positive: Conditioning, negative: Conditioning, guidance: Guidance):
        config = config_of_model(model)
        guidance.check_layers(config.num_layers)
        for conditioning in (positive, negative):
            check_conditioning(conditioning, config)
        super().__init__(model)
        self.guidance = guidance
        self.cfg = guidance.scale_video
        negative = with_values(negative, **{SKIP_LAYERS: guidance.skip_layers})
        unimodal = with_values(negative, **{INTERACTION: UNIMODAL})
        self.inner_set_conds({"positive": positive, "negative": negative, "unimodal": unimodal})

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any], seed: int | None = None
    ) -> Tensor:
        """The guided guess of the clean latent. x, packed: [B, 1, N]; timestep: sigmas [B]."""
        timesteps = model_options["transformer_options"]["sample_sigmas"] * MAX_TIMESTEP
        # a sampler may compute the first sigma again and end a rounding error above it
        mode = self.guidance.mode(min(float(timestep[0] * MAX_TIMESTEP), float(timesteps[0])), timesteps)
        positive = self.conds["positive"]
        if mode is Mode.NONE and model_options.get("disable_cfg1_optimization"):  # a sampler that reads both passes
            return guided(
                self.inner_model, x, timestep, positive, self.conds["negative"], torch.ones_like(x[:1]), model_options
            )
        if mode is Mode.NONE:
            return comfy.samplers.sampling_function(
                self.inner_model, x, timestep, None, positive, 1.0, model_options=model_options, seed=seed
            )
        return guided(
            self.inner_model, x, timestep, positive, self.conds[UNCONDITIONAL[mode]], self.scale(x), model_options
        )

    def scale(self, x: Tensor) -> Tensor:
        """The guidance scale of every number in the pack: [1, 1, N]."""
        video = math.prod(self.inner_model.latent_format.pack.shapes[0][1:])
        scale = torch.full((1, 1, x.shape[-1]), self.guidance.scale_audio, device=x.device, dtype=x.dtype)
        scale[..., :video] = self.guidance.scale_video
        return scale


def guided(
    model: Any, x: Tensor, sigma: Tensor, positive: list, negative: list, scale: Tensor, model_options: dict[str, Any]
) -> Tensor:
    """The host's `sampling_function` for a scale that is a tensor: both passes, then all patches on guidance."""
    conds = [positive, negative]
    shared = {"conds": conds, "input": x, "sigma": sigma, "model": model, "model_options": model_options}
    if "sampler_calc_cond_batch_function" in model_options:
        out = model_options["sampler_calc_cond_batch_function"](shared)
    else:
        out = comfy.samplers.calc_cond_batch(model, conds, x, sigma, model_options)
    for patch in model_options.get("sampler_pre_cfg_function", []):
        out = patch({**shared, "conds_out": out, "cond_scale": scale, "timestep": sigma})
    return comfy.samplers.cfg_function(
        model, out[0], out[1], scale, x, sigma, model_options=model_options, cond=positive, uncond=negative
    )
