"""UniAVGen Mux: pictures and sound -> a VIDEO of one length."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from comfy_api.latest import InputImpl, Types, io

from ..uniavgen_core.geometry import VIDEO_FPS
from ..uniavgen_core.video.mux import fit_sound, sound_samples
from .checks import verdict


class UniAVGenMux(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenMux",
            display_name="UniAVGen Mux",
            category="UniAVGen",
            description="Joins pictures and sound. The sound is cut or filled up with silence to the pictures' length.",
            inputs=[
                io.Image.Input("images", tooltip="The pictures, from 'VAE Decode'."),
                io.Audio.Input("audio", tooltip="The sound, from 'UniAVGen Vocos Decode'."),
                io.Float.Input(
                    "fps",
                    default=float(VIDEO_FPS),
                    min=1.0,
                    max=240.0,
                    step=0.001,
                    tooltip="Pictures a second. The model draws 16.",
                ),
            ],
            outputs=[io.Video.Output(display_name="VIDEO", tooltip="For 'Save Video'.")],
        )

    @classmethod
    def validate_inputs(cls, fps: float | None = None) -> bool | str:
        return verdict(exact_rate, fps)

    @classmethod
    def execute(cls, images, audio, fps: float) -> io.NodeOutput:
        rate = exact_rate(fps)
        waveform, sample_rate = audio["waveform"][0], audio["sample_rate"]  # [channels, samples]
        for name, values in (("pictures", images), ("sound", waveform)):
            if not torch.isfinite(values).all():
                raise ValueError(f"the {name} hold numbers that are NaN or infinite: nothing can be joined")
        sound = fit_sound(waveform, sound_samples(len(images), rate, sample_rate))
        fitted = {"waveform": sound[None], "sample_rate": sample_rate}
        video = Types.VideoComponents(images=images[..., :3], audio=fitted, frame_rate=rate)
        return io.NodeOutput(InputImpl.VideoFromComponents(video))


def exact_rate(fps: float) -> Fraction:
    """Pictures a second, to the thousandth. Raises ``ValueError`` for what is no rate."""
    if not (math.isfinite(fps) and 1 <= fps <= 240):
        raise ValueError(f"fps must be a number from 1 to 240, not {fps}")
    return Fraction(round(fps * 1000), 1000)
