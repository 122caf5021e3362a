"""Parts whose answer is known, and a clip made with them."""

from __future__ import annotations

from dataclasses import fields

import torch
from conftest import small_config
from torch import Tensor, nn

from uniavgen_core.audio.mel import MEAN, STD
from uniavgen_core.audio.sound import Sound
from uniavgen_core.bundle import Bundle
from uniavgen_core.config import ModelConfig
from uniavgen_core.pipeline import Material, generate
from uniavgen_core.sampling import Guidance
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.types import AVLatent, Conditions, Velocity

CHANNELS, MEL = 6, 5  # of small_config
PICTURE = torch.full((1, 64, 48, 3), 0.25)
LOG_MEL = 0.5
MATERIAL = [field.name for field in fields(Material)]


class KnowingModel(nn.Module):
    """Always points straight at one clip: video 0.2, and the audio whose log-mel is 0.5. Keeps what it was told."""

    def __init__(self, config: ModelConfig, video: float = 0.2):
        super().__init__()
        self.config, self.video, self.told = config, video, []
        self.patch_embedding = nn.Linear(1, 1)

    def prepare(self, latent: AVLatent, conditions: Conditions, **_) -> None:
        """Nothing it knows takes preparation."""

    def forward(self, latent: AVLatent, timestep: Tensor, conditions: Conditions, *, skip_layers=(), **_):
        self.told.append((latent, conditions, skip_layers))
        time = timestep[0] / 1000
        return Velocity((latent.video - self.video) / time, (latent.audio - (LOG_MEL - MEAN) / STD) / time)


class FakeParts:
    """Caption encoder, VAE and vocoder in one: a caption is its length, a latent is the mean colour of its patch."""

    def __init__(self) -> None:
        self.captions: list[str] = []
        self.pixels: list[Tensor] = []

    def encode(self, given: list[str] | Tensor) -> Tensor:
        if isinstance(given, list):
            self.captions += given
            return torch.tensor([len(caption) for caption in given]).float()[:, None, None].expand(-1, 2, 7)
        self.pixels.append(given)
        patches = given[:, :, ::4].unfold(3, 16, 16).unfold(4, 16, 16).mean(dim=(1, -1, -2))  # [B, 1, h, w]
        return patches[:, None].expand(-1, CHANNELS, -1, -1, -1)

    def decode(self, given: Tensor) -> Tensor:
        if given.ndim == 3:  # log-mel: every sample is the mean of its frame
            return given.mean(dim=1, keepdim=True).repeat_interleave(240, dim=2)
        grey = given.mean(dim=1, keepdim=True).repeat_interleave(16, dim=3).repeat_interleave(16, dim=4)
        return torch.cat((grey[:, :, :1], grey[:, :, 1:].repeat_interleave(4, dim=2)), dim=2).expand(-1, 3, -1, -1, -1)


def known_bundle() -> Bundle:
    parts, vocabulary = FakeParts(), Vocabulary(tuple(" abcdefghij"))
    return Bundle(KnowingModel(small_config()), parts, parts, parts, vocabulary, 64, "fake", Guidance.for_layers(4))


def make(bundle: Bundle, **changes):
    arguments = {"picture": PICTURE, "speech": "a bad cab", "caption": "a cab", "frames": 5, "steps": 4, **changes}
    material = {name: arguments.pop(name) for name in MATERIAL if name in arguments}
    return generate(bundle, Material(**material), **arguments)


def tone(seconds: float, rate: int = 24_000) -> Sound:
    return Sound(torch.sin(torch.arange(round(seconds * rate)) * 0.1)[None] * 0.3, rate)
