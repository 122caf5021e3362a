"""UniAVGen Conditions: texts and given material -> what the sampler is told, and the clip to fill."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor
from torch.nn.functional import pad

from ..uniavgen_core.audio.mel import MEL_BINS
from ..uniavgen_core.config import RELEASE
from ..uniavgen_core.geometry import RELEASE_SHORT_SIDE, TRAINED_FRAMES, ClipLength, check_frames
from ..uniavgen_core.pipeline import clip_size
from ..uniavgen_core.types import AVLatent
from ..uniavgen_core.video.picture import check_picture, fit_picture
from .adapter_conditioning import IMAGE, with_values
from .adapter_latent import to_host
from .checks import verdict


class UniAVGenConditions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenConditions",
            display_name="UniAVGen Conditions",
            category="UniAVGen",
            description="Puts the reference image beside the texts and makes the latent of video and sound to fill. "
            "What is connected decides the task.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="From 'UniAVGen Text Encode'."),
                io.Conditioning.Input("negative", tooltip="From 'UniAVGen Text Encode'."),
                io.Vae.Input("vae", tooltip="Wan2.2 VAE, or the tiny model's own VAE."),
                io.Image.Input(
                    "reference_image",
                    tooltip="The person; the clip's first frame looks like it. Of several pictures the first is used.",
                ),
                io.Int.Input(
                    "frames",
                    default=TRAINED_FRAMES,
                    min=1,
                    max=4097,
                    step=4,
                    tooltip="Frames at 16 a second, 4n + 1. The model was trained on 81 (5 seconds).",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=8192,
                    step=32,
                    tooltip="Width of the clip, a multiple of 32. 0 for both sizes: as large as the model expects, in "
                    "the picture's proportions.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=8192,
                    step=32,
                    tooltip="Height of the clip, a multiple of 32. 0 for both sizes: as large as the model expects, in "
                    "the picture's proportions.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For the sampler or the guider."),
                io.Conditioning.Output(display_name="negative", tooltip="For the sampler or the guider."),
                io.Latent.Output(display_name="AV LATENT", tooltip="Video and sound, with masks over what is given."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, frames: int | None = None, width: int | None = None, height: int | None = None
    ) -> bool | str:
        length = verdict(check_frames, frames)
        return verdict(check_wish, width, height) if length is True else length

    @classmethod
    def execute(
        cls, positive, negative, vae, reference_image: Tensor, frames: int, width: int, height: int
    ) -> io.NodeOutput:
        length = ClipLength(frames)
        image = encode_picture(vae, reference_image[:1, ..., :3], width, height)  # [1, 48, 1, h, w]
        video = pad(image, (0, 0, 0, 0, 0, length.latents - 1))
        audio = video.new_zeros(1, MEL_BINS, length.tokens)
        return io.NodeOutput(
            with_values(positive, **{IMAGE: image}),
            with_values(negative, **{IMAGE: image}),
            to_host(AVLatent(video, audio, clean_video=1)),
        )


def encode_picture(vae: Any, picture: Tensor, width: int, height: int) -> Tensor:
    """The picture [1, H, W, 3] in the size asked for, 0 = fitted -> latent [1, 48, 1, H/16, W/16], float32.

    Raises ``ValueError`` for a VAE of another family, a picture that is none, or a size that is none.
    """
    channels = getattr(vae, "latent_channels", None)
    if channels != RELEASE.video_channels:
        raise ValueError(
            f"this VAE makes latents of {channels} channels, UniAVGen needs {RELEASE.video_channels}: use wan2.2_vae, "
            "or the tiny model's own VAE"
        )
    short_side = getattr(vae, "uniavgen_short_side", RELEASE_SHORT_SIDE)
    size = clip_size(check_picture(picture), height or None, width or None, short_side)
    frame = fit_picture(picture, *size)  # [1, 3, 1, H, W] in [-1, 1]
    return vae.encode((frame[:, :, 0].movedim(1, -1) + 1) / 2).float()


def check_wish(width: int, height: int) -> None:
    """Raises ``ValueError`` unless width and height are a size, or 0 x 0."""
    if width or height:
        clip_size((1, 1), height or None, width or None, RELEASE_SHORT_SIDE)
