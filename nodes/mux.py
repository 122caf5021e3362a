"""UniAVGen Mux: pictures or a source video, and sound -> a VIDEO of one length."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..uniavgen_core.audio.sound import Sound, to_model_sound, writable
from ..uniavgen_core.geometry import VIDEO_FPS, ClipLength
from ..uniavgen_core.pipeline import join
from ..uniavgen_core.types import Clip
from ..uniavgen_core.video.mux import AAC_RATES, all_finite, check_level, fit_sound, mix, sound_samples
from ..uniavgen_core.windows import continued
from .adapter_latent import to_core
from .adapter_output import DubbedVideo, ExactVideo
from .adapter_video import FromFile, check_batch, opaque, open_video
from .checks import verdict
from .notices import says_what_it_notices
from .remarks import on_fitted_sound, on_image_beside_source
from .search import searched_as

NTSC = tuple(Fraction(1000 * whole, 1001) for whole in (24, 30, 48, 60, 120))


class UniAVGenMux(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenMux",
            display_name="UniAVGen Mux",
            category="UniAVGen",
            description="Joins pictures and sound. The sound is cut or filled up with silence to the pictures' length. "
            "With a source, its own pictures stay as they are: size, rate and quality.",
            **searched_as("combine audio and video, add audio to video, create video, dub, voice over, 合成视频"),
            inputs=[
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="What is seen, from 'VAE Decode'. Not used with a source.",
                ),
                io.Audio.Input(
                    "audio",
                    tooltip="What is heard, from 'UniAVGen Vocos Decode'; cut or filled up to the pictures' length.",
                ),
                io.Float.Input(
                    "fps",
                    default=float(VIDEO_FPS),
                    min=1.0,
                    max=240.0,
                    step=0.001,
                    tooltip="Pictures a second. The model draws 16. 23.976, 29.97 and their like are meant exactly. "
                    "A source keeps its own rate.",
                ),
                io.Video.Input(
                    "source", optional=True, tooltip="The video that was dubbed: its pictures are used, not images."
                ),
                io.Float.Input(
                    "original_level",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="How loud the source's own sound stays below the new one: 0 is not at all, 1 as it was.",
                ),
                io.Video.Input(
                    "earlier",
                    optional=True,
                    tooltip="The clip that was continued: it comes first, and what the new one repeats of it is cut.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="With an earlier clip: the AV LATENT of the new one, which tells how much it repeats.",
                ),
            ],
            outputs=[
                io.Video.Output(display_name="VIDEO", tooltip="Pictures and sound of one length, for 'Save Video'.")
            ],
        )

    @classmethod
    def validate_inputs(cls, fps: float | None = None, original_level: float | None = None) -> bool | str:
        rate = verdict(exact_rate, fps)
        return verdict(check_level, original_level) if rate is True else rate

    @classmethod
    @says_what_it_notices
    def execute(
        cls,
        audio,
        fps: float,
        images: Tensor | None = None,
        source=None,
        original_level: float = 0.0,
        earlier=None,
        latent: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        rate = exact_rate(fps)
        check_level(original_level)
        waveform = one_after_the_other(audio["waveform"], images)
        if not torch.isfinite(waveform).all():
            raise ValueError("the sound holds numbers that are NaN or infinite: nothing can be joined")
        sound = writable(Sound(waveform, int(audio["sample_rate"])), AAC_RATES)
        waveform, sample_rate = sound.waveform, sound.sample_rate
        if source is not None and earlier is not None:
            raise ValueError("a source was dubbed and an earlier clip was continued: connect one of the two")
        if source is not None:
            on_image_beside_source(images)
            return io.NodeOutput(dub(source, waveform, sample_rate, original_level))
        if images is None:
            raise ValueError("there are no pictures: connect images, or the source video that was dubbed")
        if original_level:
            raise ValueError("original_level mixes in the sound of a source, and none is connected: set it to 0")
        images = opaque(images)
        if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
            raise ValueError(f"the pictures must be [frames, height, width, 3], not {list(images.shape)}: connect some")
        if not all_finite(images):
            raise ValueError("the pictures hold numbers that are NaN or infinite: nothing can be joined")
        if earlier is not None:
            overlap = repeated_latents(latent, len(images))
            return io.NodeOutput(lengthen(earlier, images, waveform, sample_rate, rate, overlap))
        on_fitted_sound(waveform.shape[1] / sample_rate, float(len(images) / rate))
        sound = fit_sound(waveform, sound_samples(len(images), rate, sample_rate))
        return io.NodeOutput(ExactVideo(images, sound, sample_rate, rate))


def one_after_the_other(waveforms: Tensor, images: Tensor | None) -> Tensor:
    """Sounds of a batch of clips [B, C, n], whose pictures come one clip after the other -> one sound [C, samples]."""
    check_batch(waveforms)
    if len(waveforms) > 1 and (images is None or len(images) % len(waveforms)):
        raise ValueError(
            f"{len(waveforms)} sounds do not share {0 if images is None else len(images)} pictures evenly: "
            "connect the pictures and the sounds of the same clips"
        )
    return waveforms.movedim(0, 1).flatten(1)


def dub(video: Any, waveform: Tensor, sample_rate: int, level: float) -> ExactVideo | DubbedVideo:
    """A VIDEO with another sound [channels, n], its own below it at ``level``; as long as its pictures."""
    source = open_video(video)
    on_fitted_sound(waveform.shape[1] / sample_rate, float(source.duration))
    sound = fit_sound(waveform, round(source.duration * sample_rate))
    if level:
        own = source.sound()
        sound = mix(sound, to_model_sound(own.waveform, own.sample_rate, sample_rate).to(sound), level)
    if isinstance(source, FromFile):
        return DubbedVideo(source.footage, sound, sample_rate)
    return ExactVideo(source.images, sound, sample_rate, source.rate)


def lengthen(
    video: Any, images: Tensor, waveform: Tensor, sample_rate: int, rate: Fraction, latents: int
) -> ExactVideo:
    """A VIDEO at 16 pictures a second, and after it the pictures and sound that go on from its last latents."""
    if rate != VIDEO_FPS:
        raise ValueError(f"what goes on from an earlier clip has {VIDEO_FPS} pictures a second: set fps to {VIDEO_FPS}")
    source = open_video(video)
    own = source.sound()
    before = Clip(source.frames(*images.shape[1:3])[:], own.waveform, VIDEO_FPS, own.sample_rate)
    whole = join(before, Clip(images.cpu(), waveform.cpu(), VIDEO_FPS, sample_rate), latents)
    sound = fit_sound(whole.waveform, sound_samples(len(whole.frames), rate, whole.sample_rate))
    return ExactVideo(whole.frames, sound, whole.sample_rate, rate)


def repeated_latents(latent: dict[str, Any] | None, frames: int) -> int:
    """How many latents of an earlier clip a new one begins with. Raises ``ValueError`` if its LATENT does not tell."""
    whole = None if latent is None else to_core(latent)
    if whole is None or not continued(whole):
        raise ValueError(
            "how much of the earlier clip the new one repeats is not known: connect 'latent' with the AV LATENT that "
            "the sampler made of it"
        )
    if ClipLength.from_latents(whole.video.shape[2]).frames != frames:
        raise ValueError(f"the latent is not that of these {frames} images: connect the one they were decoded from")
    return continued(whole)


def exact_rate(fps: float) -> Fraction:
    """Pictures a second, to the thousandth; what is rounded from 24000/1001 and its like is that. Raises
    ``ValueError`` for what is no rate."""
    if not (math.isfinite(fps) and 1 <= fps <= 240):
        raise ValueError(f"fps must be a number from 1 to 240, not {fps}")
    near = (rate for rate in NTSC if fps in (round(float(rate), 3), round(float(rate), 2)))
    return next(near, Fraction(round(fps * 1000), 1000))
