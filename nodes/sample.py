"""Schedule, guider, and the two with the host's samplers in one node."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io
from torch import Tensor

from ..uniavgen_core.config import MAX_TIMESTEP
from ..uniavgen_core.sampling import check_seed, timesteps
from .adapter_conditioning import FACE_MASKS, FaceMasks, with_values
from .adapter_guider import ModalityAwareGuider
from .adapter_latent import check_masks, check_one_pass, face_mask, parts, paste_given
from .adapter_model import config_of_model
from .checks import verdict
from .inputs import check_guidance, guidance_inputs, read_guidance, sampling_inputs, schedule_inputs, told_inputs
from .notices import says_what_it_notices
from .progress import Callback, shown_on_node
from .search import searched_as


class UniAVGenSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenSchedule",
            display_name="UniAVGen Schedule",
            category="UniAVGen",
            description="The released schedule, for SamplerCustomAdvanced.",
            **searched_as("sigmas, scheduler"),
            inputs=schedule_inputs(),
            outputs=[
                io.Sigmas.Output(
                    display_name="SIGMAS",
                    tooltip="The noise left after each step, falling from 1 to 0; for SamplerCustomAdvanced.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, steps: int | None = None, shift: float | None = None) -> bool | str:
        return verdict(timesteps, steps, shift)

    @classmethod
    def execute(cls, steps: int, shift: float) -> io.NodeOutput:
        return io.NodeOutput(timesteps(steps, shift) / MAX_TIMESTEP)


class UniAVGenGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenGuider",
            display_name="UniAVGen MA-CFG Guider",
            category="UniAVGen",
            description="Modality-aware guidance for SamplerCustomAdvanced: one unconditional pass in which video and "
            "sound do not hear each other, and a strength for each.",
            **searched_as("CFG, guidance, MA-CFG, modality-aware guidance"),
            inputs=[
                io.Model.Input("model", tooltip="What draws the clip: from 'Load UniAVGen', with LoRAs if you like."),
                *told_inputs(),
                *guidance_inputs(),
            ],
            outputs=[io.Guider.Output(display_name="GUIDER", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def validate_inputs(
        cls, s_v=None, s_a=None, start=None, end=None, unit=None, outside=None, skip_layer=None
    ) -> bool | str:
        return verdict(check_guidance, s_v, s_a, start, end, unit, outside, skip_layer)

    @classmethod
    def execute(cls, model, positive, negative, **guidance: Any) -> io.NodeOutput:
        guidance = read_guidance(config_of_model(model).num_layers, **guidance)
        return io.NodeOutput(ModalityAwareGuider(model, positive, negative, guidance))


class UniAVGenJointSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenJointSampler",
            display_name="UniAVGen Joint Sampler",
            category="UniAVGen",
            description="Draws video and sound together: released schedule, modality-aware guidance and a sampler of "
            "ComfyUI in one node.",
            **searched_as("KSampler, talking head, lip sync, image to video with sound, 对口型, 数字人"),
            inputs=[
                *sampling_inputs(),
                *guidance_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="AV LATENT", tooltip="For 'VAE Decode' and 'UniAVGen Vocos Decode'."),
                io.Mask.Output(
                    display_name="face mask",
                    tooltip="Where the model saw the face, a mask for each frame: mean of its aligners in the last "
                    "step. All 0 if no pass of the run computed it.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        steps=None,
        shift=None,
        s_v=None,
        s_a=None,
        start=None,
        end=None,
        unit=None,
        outside=None,
        skip_layer=None,
    ) -> bool | str:
        schedule = verdict(timesteps, steps, shift)
        guidance = verdict(check_guidance, s_v, s_a, start, end, unit, outside, skip_layer)
        return guidance if schedule is True else schedule

    @classmethod
    @says_what_it_notices
    def execute(
        cls, model, positive, negative, latent, seed: int, steps: int, shift: float, sampler: str, **guidance: Any
    ) -> io.NodeOutput:
        guidance = read_guidance(config_of_model(model).num_layers, **guidance)
        check_seed(seed)
        check_one_pass(latent)
        seen = FaceMasks()
        guider = ModalityAwareGuider(model, with_values(positive, **{FACE_MASKS: seen}), negative, guidance)
        with shown_on_node(model, steps) as callback:
            samples = run(guider, latent, timesteps(steps, shift) / MAX_TIMESTEP, sampler, seed, callback)
        return io.NodeOutput({**latent, "samples": samples}, face_mask(seen.masks, samples.unbind()[0]))


def run(
    guider: ModalityAwareGuider,
    latent: dict[str, Any],
    sigmas: Tensor,
    sampler: str,
    seed: int,
    callback: Callback,
) -> NestedTensor:
    """Sampling by the host, with its cancelling. Kept parts come back to the last bit.

    callback: called by the host after each step
    Raises ``ValueError`` if the latent is of another family.
    """
    samples = NestedTensor([part.float() for part in parts(latent)])
    check_masks(latent)
    with global_random_state_kept():
        result = guider.sample(
            comfy.sample.prepare_noise(samples, seed),
            samples,
            comfy.samplers.sampler_object(sampler),
            sigmas,
            denoise_mask=latent.get("noise_mask"),
            callback=callback,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        ).to(comfy.model_management.intermediate_device())
    return paste_given(result, latent)


def global_random_state_kept() -> AbstractContextManager[None]:
    """The host seeds PyTorch's global generators for its noise; afterwards they are as they were."""
    return torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else [])
