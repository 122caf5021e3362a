"""The host's VIDEO, AUDIO and VAE as the core's footage, sound and video autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import torch
from comfy_api.latest import InputImpl
from torch import Tensor

from ..uniavgen_core.audio.sound import Sound, check_rate, check_waveform, read_sound
from ..uniavgen_core.types import Frames
from ..uniavgen_core.video.footage import Footage, FootageFrames, read_footage, resample_times
from ..uniavgen_core.video.mux import all_finite
from ..uniavgen_core.video.picture import resize, to_bytes

MAX_DENOMINATOR = 1001  # of pictures a second: a host that hands on 29.97... as a float means 30000/1001


class Source(Protocol):
    """What a VIDEO shows and sounds like.

    size: (height, width) of its pictures; count: how many it has at 16 a second; duration: in seconds
    """

    size: tuple[int, int]
    count: int
    duration: Fraction

    def frames(self, height: int, width: int) -> Frames:
        """Its pictures in this size, at 16 a second."""

    def sound(self) -> Sound:
        """All it sounds like, from its first picture on. Raises ``ValueError`` if it has no sound."""


@dataclass(frozen=True)
class FromFile:
    """A whole file, read by its own timestamps, turned upright."""

    footage: Footage

    @property
    def duration(self) -> Fraction:
        return self.footage.duration

    @property
    def size(self) -> tuple[int, int]:
        return self.footage.height, self.footage.width

    @property
    def count(self) -> int:
        return len(self.footage.on_screen)

    def frames(self, height: int, width: int) -> Frames:
        return FootageFrames(self.footage, height, width)

    def sound(self) -> Sound:
        return read_sound(self.footage.path)


@dataclass(frozen=True)
class FromComponents:
    """Pictures at a constant rate, as the host hands them over."""

    images: Tensor  # [F, H, W, 3]
    audio: dict[str, Any] | None
    rate: Fraction

    @property
    def duration(self) -> Fraction:
        return len(self.images) / self.rate

    @property
    def size(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    @property
    def indices(self) -> list[int]:
        return resample_times([i / self.rate for i in range(len(self.images))], self.duration)

    @property
    def count(self) -> int:
        return len(self.indices)

    def frames(self, height: int, width: int) -> Frames:
        return ResizedFrames(self.images, self.indices, height, width)

    def sound(self) -> Sound:
        if not self.audio or not self.audio["waveform"].numel():
            raise ValueError("the video has no sound: connect one with a sound track")
        return sound_of(self.audio)


@dataclass(frozen=True)
class ResizedFrames:
    """Those of ``images`` [F, H, W, 3] that ``indices`` name, in another size (implements Frames)."""

    images: Tensor
    indices: list[int]
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, part: slice) -> Tensor:
        pictures = (resize(to_bytes(self.images[index]), self.height, self.width) for index in self.indices[part])
        return torch.stack([torch.from_numpy(pixels).float() / 255 for pixels in pictures])


def open_video(video: Any) -> Source:
    """VIDEO -> what it shows and sounds like. Raises ``ValueError`` if it has no pictures, or is no whole file."""
    path = file_of(video)
    if path is not None:
        return FromFile(read_footage(path))
    components = video.get_components()
    images = opaque(components.images)
    if images.ndim != 4 or 0 in images.shape or images.shape[-1] != 3:
        raise ValueError("the video has no pictures: connect one that shows something")
    if not all_finite(images):
        raise ValueError("the pictures of the video hold numbers that are NaN or infinite")
    return FromComponents(images, components.audio, Fraction(components.frame_rate).limit_denominator(MAX_DENOMINATOR))


def file_of(video: Any) -> Path | None:
    """The file that a VIDEO is, all of it, or None."""
    if not isinstance(video, InputImpl.VideoFromFile):
        return None
    if any(getattr(video, "get_active_trim_window", lambda: (0, 0))()):  # since ComfyUI 0.10
        return None
    source = video.get_stream_source()
    return Path(source) if isinstance(source, str) else None


def sound_of(audio: dict[str, Any]) -> Sound:
    """AUDIO -> the first sound of its batch. Raises ``ValueError`` for what cannot be heard."""
    waveforms, rate = audio["waveform"], audio["sample_rate"]
    check_batch(waveforms)
    check_waveform(waveforms[0])
    check_rate(rate)
    return Sound(waveforms[0], int(rate))


def check_batch(waveforms: Tensor) -> None:
    """Raises ``ValueError`` unless these are sounds [batch, channels, samples], at least one."""
    if waveforms.ndim != 3 or not len(waveforms):
        raise ValueError(f"an AUDIO must be [batch, channels, samples], with a sound, not {list(waveforms.shape)}")


def opaque(images: Tensor) -> Tensor:
    """IMAGE [F, H, W, 3 or 4] -> [F, H, W, 3]; what is transparent becomes white, as in files. Others stay."""
    if images.ndim != 4 or images.shape[-1] != 4:
        return images
    colours, alpha = images[..., :3], images[..., 3:]
    return colours * alpha + (1 - alpha)


@dataclass(frozen=True)
class HostVae:
    """The host's VAE as the core calls it. Latents are of the host's scale, not normalised."""

    vae: Any

    def encode(self, pixels: Tensor) -> Tensor:
        """[1, 3, F, H, W] in [-1, 1] -> [1, 48, T, H/16, W/16]."""
        return self.vae.encode((pixels[0].movedim(0, -1) + 1) / 2).float()

    def decode(self, latents: Tensor) -> Tensor:
        """[1, 48, T, H/16, W/16] -> [1, 3, F, H, W] in [-1, 1]."""
        return self.vae.decode(latents).movedim(-1, 1).float() * 2 - 1
