"""A model whose clips count: pictures, tokens and samples say which they are in the whole clip."""

from __future__ import annotations

import torch
from conftest import small_config
from torch import Tensor, nn

from uniavgen_core.audio.mel import normalize
from uniavgen_core.bundle import Bundle
from uniavgen_core.geometry import HOP_LENGTH
from uniavgen_core.sampling import Guidance
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.types import AVLatent, Conditions, Velocity

CHANNELS, MEL = small_config().video_channels, small_config().mel_bins
MOST_FRAMES, MOST_SAMPLES = 4096, 1 << 23  # that can be counted; powers of two, so that nothing is rounded


class ClockVae:
    """A latent holds the number of its last frame; decoding counts back to its first. Frame n is as bright as n."""

    def encode(self, pixels: Tensor) -> Tensor:
        """[B, 3, F, H, W] in [-1, 1] -> [B, C, T, H/16, W/16]."""
        numbers = (pixels[:, :1, ::4, ::16, ::16] + 1) / 2 * MOST_FRAMES
        return numbers.expand(-1, CHANNELS, -1, -1, -1)

    def decode(self, latents: Tensor) -> Tensor:
        first, rest = latents[:, :1, :1], latents[:, :1, 1:]
        back = torch.tensor([-3.0, -2, -1, 0]).repeat(rest.shape[2]).view(-1, 1, 1)
        numbers = torch.cat((first, rest.repeat_interleave(4, dim=2) + back), dim=2)
        pixels = numbers.repeat_interleave(16, dim=3).repeat_interleave(16, dim=4) / MOST_FRAMES * 2 - 1
        return pixels.expand(-1, 3, -1, -1, -1)


class ClockVocoder:
    """Token j holds the number j; its samples are 240 j ... 240 j + 239."""

    def decode(self, log_mel: Tensor) -> Tensor:
        tokens = normalize(log_mel.double())[:, :1].round()  # [B, 1, L]
        return (tokens.repeat_interleave(HOP_LENGTH, 2) * HOP_LENGTH + within(tokens.shape[2])) / MOST_SAMPLES


class CaptionEncoder:
    def encode(self, captions: list[str]) -> Tensor:
        return torch.zeros(len(captions), 1, 7)


class ClockModel(nn.Module):
    """Pictures and sound go on counting from what is given, or from 0. ``told`` keeps what was said in each window."""

    def __init__(self) -> None:
        super().__init__()
        self.config, self.told = small_config(), []
        self.patch_embedding = nn.Linear(1, 1)

    def prepare(self, latent: AVLatent, conditions: Conditions, **_: object) -> None:
        self.told.append(conditions.speech[0].tolist())

    def forward(self, latent: AVLatent, timestep: Tensor, conditions: Conditions, **_: object) -> Velocity:
        wanted = go_on(latent)
        time = float(timestep[0]) / 1000
        return Velocity((latent.video - wanted.video) / time, (latent.audio - wanted.audio) / time)


def go_on(part: AVLatent) -> AVLatent:
    video, audio = part.video.clone(), part.audio.clone()
    for i in range(part.clean_video, video.shape[2]):
        video[:, :, i] = video[:, :, i - 1] + 4 if i else 0
    for j in range(part.clean_audio, audio.shape[2]):
        audio[..., j] = audio[..., j - 1] + 1 if j else 0
    return AVLatent(video, audio, part.clean_video, part.clean_audio)


def within(tokens: int) -> Tensor:
    return torch.arange(HOP_LENGTH, dtype=torch.float64).repeat(tokens)


def clock_bundle() -> Bundle:
    return Bundle(
        ClockModel(),
        CaptionEncoder(),
        ClockVae(),
        ClockVocoder(),
        Vocabulary(tuple(" abcdefghij")),
        32,
        "clock",
        Guidance.for_layers(4),
    )
