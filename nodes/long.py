"""UniAVGen Long Sampler: a clip of any length, window by window."""

from __future__ import annotations

from typing import Any

import torch
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io
from torch import Tensor

from ..uniavgen_core.config import MAX_TIMESTEP
from ..uniavgen_core.geometry import TEMPORAL_STRIDE, TRAINED_FRAMES, ClipLength, check_frames
from ..uniavgen_core.sampling import check_seed, timesteps
from ..uniavgen_core.task import interactions
from ..uniavgen_core.types import AVLatent
from ..uniavgen_core.windows import OVERLAP, Window, continued, cut, first_frame, paste, plan_windows, texts
from .adapter_conditioning import (
    FACE_MASKS,
    INTERACTION,
    SPEECH,
    VOICE,
    Conditioning,
    FaceMasks,
    script_of,
    with_values,
)
from .adapter_guider import ModalityAwareGuider
from .adapter_latent import check_masks, face_mask, to_core, to_host
from .adapter_model import config_of_model
from .adapter_video import HostVae
from .checks import verdict
from .condition import check_vae
from .inputs import check_guidance, guidance_inputs, read_guidance, sampling_inputs
from .notices import says_what_it_notices
from .progress import shown_on_node
from .sample import run
from .search import searched_as


class UniAVGenLongSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenLongSampler",
            display_name="UniAVGen Long Sampler",
            category="UniAVGen",
            description="The Joint Sampler for clips longer than the model was trained on: window by window, each "
            "going on from the end of the one before and saying its part of the speech.",
            **searched_as("long video, sliding window, context windows, 长视频"),
            inputs=[
                *sampling_inputs(),
                *guidance_inputs(),
                io.Vae.Input("vae", tooltip="The VAE of 'UniAVGen Conditions': it draws the frame a window starts at."),
                io.Int.Input(
                    "window",
                    default=TRAINED_FRAMES,
                    min=5,
                    max=4097,
                    step=4,
                    tooltip="Frames made at a time, 4n + 1: more take more memory and leave fewer seams. The model was "
                    "trained on 81.",
                ),
                io.Int.Input(
                    "overlap",
                    default=OVERLAP,
                    min=1,
                    max=1024,
                    tooltip="Latents of the window before that the next one goes on from; n are 4n - 3 frames. "
                    "More hold the windows together better, and make more of them.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="AV LATENT", tooltip="For 'VAE Decode' and 'UniAVGen Vocos Decode'."),
                io.Mask.Output(display_name="face mask", tooltip="Where the model saw the face, for each frame."),
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
        window=None,
        overlap=None,
    ) -> bool | str:
        verdicts = (
            verdict(timesteps, steps, shift),
            verdict(check_guidance, s_v, s_a, start, end, unit, outside, skip_layer),
            verdict(check_windows, window, overlap),
        )
        return next((sentence for sentence in verdicts if sentence is not True), True)

    @classmethod
    @says_what_it_notices
    def execute(
        cls,
        model,
        positive,
        negative,
        latent,
        seed: int,
        steps: int,
        shift: float,
        sampler: str,
        vae,
        window: int,
        overlap: int,
        **guidance: Any,
    ) -> io.NodeOutput:
        guidance = read_guidance(config_of_model(model).num_layers, **guidance)
        check_seed(seed)
        check_vae(vae)
        check_masks(latent)
        whole = to_core(latent)
        length = ClipLength.from_latents(whole.video.shape[2])
        windows = plan_windows(length, window, overlap, continued(whole))
        said = texts(script_of(positive).text, windows)
        for text, part_window in zip(said, windows, strict=True):
            part_window.check_text(text)
        sigmas = timesteps(steps, shift) / MAX_TIMESTEP
        masks = []
        with shown_on_node(model, steps * len(windows)) as callback:
            for index, part_window in enumerate(windows):
                part = cut(whole, part_window, first_frame(HostVae(vae), whole, part_window))
                seen = FaceMasks()
                guider = ModalityAwareGuider(
                    model,
                    with_values(saying(positive, said[index], part, False), **{FACE_MASKS: seen}),
                    saying(negative, said[index], part, True),
                    guidance,
                )
                samples = run(
                    guider,
                    to_host(part),
                    sigmas,
                    sampler,
                    (seed + index) % 2**64,
                    lambda step, *rest, done=index * steps: callback(done + step, *rest),
                )
                whole = paste(whole, part_window, AVLatent(*samples.unbind()))
                masks.append(face_mask(seen.masks, part.video))
        return io.NodeOutput(
            {**latent, "samples": NestedTensor([whole.video, whole.audio])}, join_masks(masks, windows)
        )


def saying(conditioning: Conditioning, text: str, part: AVLatent, unconditional: bool) -> Conditioning:
    """The conditioning of a window: what is said in it, and which way the branches hear each other there."""
    script = script_of(conditioning).saying(text)
    ids = script.negative_ids() if unconditional else script.ids()
    ways = interactions(part, VOICE in conditioning[0][1])
    return with_values(conditioning, **{SPEECH: ids, INTERACTION: ways[unconditional]})


def join_masks(masks: list[Tensor], windows: list[Window]) -> Tensor:
    """Masks [B * F, H, W] of each window -> those of the whole clip, without what windows repeat."""
    joined = []
    for mask, window in zip(masks, windows, strict=True):
        clips = mask.unflatten(0, (-1, window.length.frames))  # [B, F, H, W]
        joined.append(clips[:, window.repeated :])
    return torch.cat(joined, dim=1).flatten(0, 1)


def check_windows(window: int, overlap: int) -> None:
    """Raises ``ValueError`` if no clip can be made of such windows."""
    longer = check_frames(window) + TEMPORAL_STRIDE
    plan_windows(ClipLength(longer), window, overlap)
