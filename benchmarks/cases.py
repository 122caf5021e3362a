"""What is measured: sizes of model and clip, tasks, and inputs that both sides get."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from uniavgen_core.config import RELEASE, BranchConfig, ModelConfig
from uniavgen_core.geometry import ClipLength
from uniavgen_core.model import JointModel
from uniavgen_core.text.speech import empty_speech
from uniavgen_core.types import JOINT, TO_AUDIO_ONLY, TO_VIDEO_ONLY, UNIMODAL, AVLatent, Conditions, Interaction

CAPTION_TOKENS, SPEECH_TOKENS = 64, 48
TIME = torch.tensor([700.0])  # of a forward


@dataclass(frozen=True)
class Size:
    """A model and a clip: T latents of height x width; as many audio tokens as last as long, or ``tokens``."""

    config: ModelConfig
    latents: int
    height: int
    width: int
    tokens: int = 0

    def __post_init__(self) -> None:
        if not self.tokens:
            object.__setattr__(self, "tokens", ClipLength.from_latents(self.latents).tokens)


# the speech embedding is as large as in the release, whose code fixes it
SIZES = {
    "small": Size(
        replace(
            RELEASE,
            video=BranchConfig(256, 1024, 2),
            audio=BranchConfig(128, 512, 1),
            num_layers=4,
            text_dim=128,
        ),
        latents=6,
        height=8,
        width=8,
    ),
    "medium": Size(
        replace(
            RELEASE,
            video=BranchConfig(512, 2048, 4),
            audio=BranchConfig(256, 1024, 2),
            num_layers=6,
            text_dim=512,
        ),
        latents=21,
        height=16,
        width=16,
    ),
    "wide": Size(replace(RELEASE, num_layers=1), latents=3, height=16, width=16),  # one layer at release width
}
RELEASE_SIZE = Size(RELEASE, latents=21, height=46, width=82)  # 81 frames of 736 x 1312


@dataclass(frozen=True)
class Task:
    """video, audio: whether all of it is given; the interaction of the conditional pass."""

    interaction: Interaction
    video: bool = False
    audio: bool = False


TASKS = {
    "joint": Task(JOINT),
    "unimodal": Task(UNIMODAL),
    "dubbing": Task(TO_AUDIO_ONLY, video=True),
    "audio-driven": Task(TO_VIDEO_ONLY, audio=True),
}


def make_model(config: ModelConfig, device: str = "cpu", dtype: torch.dtype = torch.float32) -> JointModel:
    """Random weights of which every one matters and none makes numbers explode."""
    model = JointModel(config, device=device, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 and "modulation" not in name else 0.1
            parameter.copy_((1.0 if "norm" in name and name.endswith("weight") else 0.0) + scale * noise)
    return model.eval().requires_grad_(False)


def make_inputs(size: Size, task: Task, device: str = "cpu") -> tuple[AVLatent, Conditions, Conditions]:
    """The latent with its given parts, and what both passes are told."""
    generator = torch.Generator().manual_seed(1)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    config = size.config
    latent = AVLatent(
        randn(1, config.video_channels, size.latents, size.height, size.width),
        randn(1, config.mel_bins, size.tokens),
        size.latents if task.video else 1,
        size.tokens if task.audio else 0,
    )
    speech = torch.randint(0, config.speech_vocab, (1, SPEECH_TOKENS), generator=generator).to(device)
    image = latent.video[:, :, :1]
    positive = Conditions(randn(1, CAPTION_TOKENS, config.text_dim), speech, image, None, task.interaction)
    negative = replace(positive, caption=randn(1, 8, config.text_dim), speech=empty_speech().to(device))
    return latent, positive, negative
