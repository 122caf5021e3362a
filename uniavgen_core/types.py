"""Typed values that the stages hand on: text, picture -> Conditions, AVLatent -> AVLatent -> Clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Interaction:
    """Which direction of the cross-modal interaction acts."""

    audio_to_video: bool = True
    video_to_audio: bool = True

    def __bool__(self) -> bool:
        return self.audio_to_video or self.video_to_audio


JOINT = Interaction()
TO_VIDEO_ONLY = Interaction(video_to_audio=False)
TO_AUDIO_ONLY = Interaction(audio_to_video=False)
UNIMODAL = Interaction(False, False)


@dataclass(frozen=True)
class AVLatent:
    """Video latents and audio tokens of one clip, with the leading part of each that is given, not generated.

    video: [B, 48, T, H/16, W/16], normalised Wan2.2 latents
    audio: [B, 80, L], normalised log-mel
    clean_video, clean_audio: how many leading latents and tokens are given
    """

    video: Tensor
    audio: Tensor
    clean_video: int = 0
    clean_audio: int = 0

    def __post_init__(self) -> None:
        if self.video.ndim != 5 or self.audio.ndim != 3 or self.video.shape[0] != self.audio.shape[0]:
            raise ValueError(
                "an AV latent needs video [B, C, T, H, W] and audio [B, mel, L] of one batch size, "
                f"not {list(self.video.shape)} and {list(self.audio.shape)}"
            )
        if not 0 <= self.clean_video <= self.video.shape[2] or not 0 <= self.clean_audio <= self.audio.shape[2]:
            raise ValueError(
                f"{self.clean_video} given latents and {self.clean_audio} given tokens do not fit a clip of "
                f"{self.video.shape[2]} latents and {self.audio.shape[2]} tokens"
            )

    def map(self, function: Callable[..., Tensor], *others: AVLatent) -> AVLatent:
        """Applies ``function`` to video and to audio, together with those of ``others``."""
        return replace(
            self,
            video=function(self.video, *(other.video for other in others)),
            audio=function(self.audio, *(other.audio for other in others)),
        )

    def with_clean_from(self, given: AVLatent) -> AVLatent:
        """This latent with the given leading parts of ``given`` written over it."""
        k, n = given.clean_video, given.clean_audio
        return AVLatent(
            torch.cat([given.video[:, :, :k], self.video[:, :, k:]], dim=2),
            torch.cat([given.audio[:, :, :n], self.audio[:, :, n:]], dim=2),
            k,
            n,
        )


@dataclass(frozen=True)
class Conditions:
    """What one pass of the model is told besides the noisy latent. A task is nothing but these values.

    caption: [B, N, text_dim], what is seen; the model pads with zeros to its text_len
    speech: [B, M] int64, what is said, as vocabulary ids; -1 is the filler
    reference_image: [B, 48, 1, H/16, W/16], the person, prepended to the video
    reference_voice: [B, 80, R] normalised log-mel, prepended to the audio, or None
    interaction: which direction of the interaction acts
    """

    caption: Tensor
    speech: Tensor
    reference_image: Tensor
    reference_voice: Tensor | None = None
    interaction: Interaction = field(default_factory=Interaction)


@dataclass(frozen=True)
class Velocity:
    """What the model predicts: noise - data, and what it took for the face.

    video: [B, 48, T, H/16, W/16] (the reference image has no part in it)
    audio: [B, 80, L]
    face_masks: one [B, T, H/32, W/32] in [0, 1] per A2V aligner that was asked, else empty
    """

    video: Tensor
    audio: Tensor
    face_masks: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Clip:
    """Pictures with sound.

    frames: [F, H, W, 3] in [0, 1]
    waveform: [channels, samples] in [-1, 1]
    fps: pictures a second; sample_rate: samples a second
    """

    frames: Tensor
    waveform: Tensor
    fps: int
    sample_rate: int


class Frames(Protocol):
    """Pictures [F, H, W, 3] in [0, 1] at 16 a second, of which parts are read when asked for. A tensor is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor: ...


class CaptionEncoder(Protocol):
    """Text of what is seen -> hidden states [B, N, text_dim] (umT5-xxl in the release)."""

    def encode(self, captions: list[str]) -> Tensor: ...


class VideoAutoencoder(Protocol):
    """Pixels [B, 3, F, H, W] in [-1, 1] <-> normalised latents [B, 48, T, H/16, W/16], F = 4(T-1) + 1."""

    def encode(self, pixels: Tensor) -> Tensor: ...

    def decode(self, latents: Tensor) -> Tensor: ...


class Vocoder(Protocol):
    """Log-mel [B, 80, L] as `audio.mel` makes it, not normalised -> waveform [B, 1, L * 240] at 24 kHz."""

    def decode(self, log_mel: Tensor) -> Tensor: ...
