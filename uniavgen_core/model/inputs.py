"""What the joint model refuses to start with."""

from __future__ import annotations

from ..config import ModelConfig
from ..types import AVLatent, Conditions


def check_inputs(config: ModelConfig, latent: AVLatent, conditions: Conditions) -> None:
    """Raises ``ValueError`` with a sentence if shapes do not fit the model or each other."""
    batch, channels, latents, height, width = latent.video.shape
    mel_bins, tokens = latent.audio.shape[1:]
    if channels != config.video_channels:
        raise ValueError(f"the video latent has {channels} channels, the model needs {config.video_channels}")
    if mel_bins != config.mel_bins:
        raise ValueError(f"the audio has {mel_bins} mel bins, the model needs {config.mel_bins}")
    if not latents or not tokens:
        raise ValueError(f"a clip of {latents} latents and {tokens} audio tokens is empty")
    if height % config.patch_size or width % config.patch_size:
        raise ValueError(f"latent height {height} and width {width} must be even: picture sizes are multiples of 32")

    reference = tuple(conditions.reference_image.shape)
    if reference != (batch, channels, 1, height, width):
        raise ValueError(
            f"the reference image's latent {list(reference)} does not fit the clip's {list(latent.video.shape)}: "
            "it needs the same sizes and one frame"
        )
    caption = tuple(conditions.caption.shape)
    if len(caption) != 3 or caption[0] != batch or caption[1] > config.text_len or caption[2] != config.text_dim:
        raise ValueError(
            f"the caption is encoded as {list(caption)}, the model needs [{batch}, up to {config.text_len}, "
            f"{config.text_dim}]: use the text encoder that belongs to the model"
        )
    speech = tuple(conditions.speech.shape)
    if len(speech) != 2 or speech[0] != batch or not speech[1]:
        raise ValueError(f"the speech ids have the shape {list(speech)}, the model needs [{batch}, tokens]")
    if conditions.reference_voice is not None:
        voice = tuple(conditions.reference_voice.shape)
        if len(voice) != 3 or voice[:2] != (batch, config.mel_bins):
            raise ValueError(
                f"the reference voice is {list(voice)}, the model needs [{batch}, {config.mel_bins}, tokens]"
            )
