"""What a run saw and made, as pictures to look at."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor
from torch.nn.functional import interpolate

from ..uniavgen_core.audio.mel import denormalize
from ..uniavgen_core.audio.picture import mel_picture
from ..uniavgen_core.audio.places import rough_places
from ..uniavgen_core.text.speech import spoken_words
from .checks import check_number, verdict
from .decode import sound_of
from .search import searched_as

TINT = (1.0, 0.25, 0.0)


class UniAVGenFaceMaskOverlay(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenFaceMaskOverlay",
            display_name="UniAVGen Face Mask Overlay",
            category="UniAVGen",
            description="Tints the pictures where a mask is set, for example where the model saw the face.",
            **searched_as("preview mask, show face mask"),
            inputs=[
                io.Image.Input("images", tooltip="What is tinted, from 'VAE Decode'."),
                io.Mask.Input("mask", tooltip="A mask for each picture, or one for all: the face mask of a sampler."),
                io.Float.Input(
                    "strength",
                    default=0.6,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much the tint covers where the mask is 1: 0 nothing, 1 all.",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="The tinted pictures.")],
        )

    @classmethod
    def validate_inputs(cls, strength: float | None = None) -> bool | str:
        return verdict(check_strength, strength)

    @classmethod
    def execute(cls, images: Tensor, mask: Tensor, strength: float) -> io.NodeOutput:
        check_strength(strength)
        return io.NodeOutput(overlay(images[..., :3], mask, strength))


class UniAVGenMelPicture(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenMelPicture",
            display_name="UniAVGen Mel Picture",
            category="UniAVGen",
            description="Draws the sound of a latent: time to the right, pitch upwards, loud is bright. "
            "Above it the words of the speech, about where they are heard.",
            **searched_as("spectrogram, mel spectrogram, preview audio, 频谱图"),
            inputs=[
                io.Latent.Input("latent", tooltip="Whose sound is drawn: an AV LATENT, or the latent of a mel alone."),
                io.String.Input(
                    "speech",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="What is said in it: its words are written above the mel, roughly where they are heard. A "
                    "guess by the number of letters, which can be off by a word or two; no alignment.",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="A picture for each sound of the batch.")],
        )

    @classmethod
    def execute(cls, latent, speech: str = "") -> io.NodeOutput:
        mel, _ = sound_of(latent)
        words = spoken_words(speech)
        pictures = [
            torch.from_numpy(mel_picture(sound, rough_places(words, sound))) for sound in denormalize(mel.float())
        ]
        return io.NodeOutput(torch.stack(pictures).float() / 255)


def check_strength(strength: float) -> None:
    """Raises ``ValueError`` for what is no share."""
    check_number("the strength of the tint", strength, 0, 1)


def overlay(images: Tensor, mask: Tensor, strength: float) -> Tensor:
    """Pictures [F, H, W, 3] tinted by masks [F or 1, h, w] in [0, 1]. Raises ``ValueError`` for another number."""
    if len(mask) not in (1, len(images)):
        raise ValueError(
            f"there are {len(images)} pictures and {len(mask)} masks: connect one mask for each picture, or one for all"
        )
    size = tuple(images.shape[1:3])
    share = interpolate(mask[:, None].to(images).clamp(0, 1), size=size, mode="bilinear").movedim(1, -1) * strength
    return images * (1 - share) + share * images.new_tensor(TINT)
