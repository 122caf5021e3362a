"""What is given besides the texts -> the clip to fill and which way the branches hear each other.

    image, video, audio, voice -> Given -> plan -> Plan: AVLatent, Interaction of both passes

A task is nothing but what is given (spec, section 4):

| given                                       | task                            |
|---------------------------------------------|---------------------------------|
| image                                       | joint                           |
| image, voice                                | joint with cloned voice         |
| image, all of the audio                     | audio-driven (A2V)              |
| all of the video, with or without a voice   | dubbing (V2A)                   |
| the beginning of video and audio            | continuation, with or without a voice |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .audio.mel import MEL_BINS
from .geometry import ClipLength
from .types import JOINT, TO_AUDIO_ONLY, TO_VIDEO_ONLY, AVLatent, Interaction


@dataclass(frozen=True)
class Given:
    """What the clip shows and sounds like before anything is generated. Latents normalised, of one batch size.

    image: [B, 48, 1, H/16, W/16], the person
    video: [B, 48, k, H/16, W/16], the clip's leading latents; None: its first frame is the image
    audio: [B, 80, n], the clip's leading audio tokens, or None
    voice: [B, 80, R], tokens of a reference voice, or None
    gain: how many times louder the given audio is than the clip it comes from
    """

    image: Tensor
    video: Tensor | None = None
    audio: Tensor | None = None
    voice: Tensor | None = None
    gain: float = 1.0


@dataclass(frozen=True)
class Plan:
    """The clip with its given parts filled in, and the interaction of the conditional and of the plain
    unconditional pass."""

    latent: AVLatent
    interaction: Interaction
    negative_interaction: Interaction


def plan(given: Given, length: ClipLength, mel_bins: int = MEL_BINS, tokens: int | None = None) -> Plan:
    """Fills a clip of ``length`` with what is given. Raises ``ValueError`` if that is longer than the clip.

    tokens: of the clip's audio, if not as many as its length has

    Nothing is left to draw in dubbing, so sound only listens; nothing is left to say when all audio is given, so
    video only listens. With a reference voice the conditional pass keeps the sound from seeing, the unconditional
    one does not (released behaviour).
    """
    video = given.image if given.video is None else given.video
    audio = video.new_zeros(video.shape[0], mel_bins, 0) if given.audio is None else given.audio
    clean_video, clean_audio = video.shape[2], audio.shape[2]
    tokens = length.tokens if tokens is None else tokens
    if clean_video > length.latents:
        raise ValueError(
            f"the given video has {ClipLength.from_latents(clean_video).frames} frames, more than the clip's "
            f"{length.frames}: ask for a longer clip or give less"
        )
    if clean_audio > tokens:
        raise ValueError(
            f"the given sound lasts {clean_audio / 100:g} s, longer than the clip's {length.seconds:g} s: ask for a "
            "longer clip or give less"
        )
    if clean_video == length.latents and clean_audio == tokens:
        raise ValueError(
            f"all pictures and all sound of the clip's {length.frames} frames are given, so nothing is left to "
            "generate: ask for more frames"
        )
    latent = AVLatent(
        torch.nn.functional.pad(video, (0, 0, 0, 0, 0, length.latents - clean_video)),
        torch.nn.functional.pad(audio, (0, tokens - clean_audio)),
        clean_video,
        clean_audio,
    )
    return Plan(latent, *interactions(latent, given.voice is not None))


def interactions(latent: AVLatent, voice: bool) -> tuple[Interaction, Interaction]:
    """Which direction acts in the conditional and in the plain unconditional pass."""
    if latent.clean_audio == latent.audio.shape[2]:
        return TO_VIDEO_ONLY, TO_VIDEO_ONLY
    if latent.clean_video == latent.video.shape[2]:
        return TO_AUDIO_ONLY, TO_AUDIO_ONLY
    return (TO_VIDEO_ONLY, JOINT) if voice else (JOINT, JOINT)
