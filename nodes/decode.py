"""UniAVGen Vocos Decode: mel -> sound."""

from __future__ import annotations

import logging

import torch
from comfy_api.latest import io

from ..uniavgen_core.audio.mel import MEL_BINS, denormalize
from ..uniavgen_core.geometry import HOP_LENGTH, SAMPLE_RATE, ClipLength
from ..uniavgen_core.pipeline import check_finite
from ..uniavgen_core.video.mux import fit_sound
from .adapter_latent import GAIN, parts
from .load import VocoderSocket
from .notices import says_what_it_notices
from .search import searched_as

log = logging.getLogger(__name__)


class UniAVGenVocosDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenVocosDecode",
            display_name="UniAVGen Vocos Decode",
            category="UniAVGen",
            description="Turns the sound of a latent into a waveform at 24 kHz, as long as its pictures.",
            **searched_as("vocoder decode, audio decode, mel to audio, latent to audio"),
            inputs=[
                io.Latent.Input("latent", tooltip="What becomes sound: an AV LATENT, or the latent of a mel alone."),
                VocoderSocket.Input(
                    "vocoder",
                    tooltip="How it sounds: from 'Load UniAVGen Vocoder'; the tiny model's is in 'Load UniAVGen'.",
                ),
            ],
            outputs=[io.Audio.Output(display_name="AUDIO", tooltip="The sound, 24 kHz, mono.")],
        )

    @classmethod
    @says_what_it_notices
    def execute(cls, latent, vocoder) -> io.NodeOutput:
        mel, samples = sound_of(latent)
        if (mel == 0).all(dim=1).any():
            log.warning("no sampler has made the sound of this latent: is one bypassed?")
        with torch.inference_mode():
            waveform = vocoder.decode(denormalize(mel.float()))  # [B, 1, L * 240]
        check_finite("decoding", waveform)
        fitted = torch.stack([fit_sound(sound / latent.get(GAIN, 1.0), samples) for sound in waveform])
        return io.NodeOutput({"waveform": fitted.cpu(), "sample_rate": SAMPLE_RATE})


def sound_of(latent: dict) -> tuple[torch.Tensor, int]:
    """The mel [B, 80, L] of a LATENT and the samples it should fill. Raises ``ValueError`` if there is none, or it is
    not finite."""
    samples = latent["samples"]
    if not samples.is_nested and samples.ndim == 3 and samples.shape[1] == MEL_BINS:
        mel, length = samples, samples.shape[2] * HOP_LENGTH
    else:
        video, mel = parts(latent)
        length = ClipLength.from_latents(video.shape[2]).samples
    if not torch.isfinite(mel).all():
        raise ValueError("the sound of the latent holds numbers that are NaN or infinite: sample it again")
    return mel, length
