"""Shared fixtures: very small models with random weights."""

from __future__ import annotations

import signal
from collections.abc import Callable

import hypothesis
import pytest
import torch
from batches import servers, table  # noqa: F401

from uniavgen_core.config import BranchConfig, InteractionConfig, ModelConfig
from uniavgen_core.model import JointModel
from uniavgen_core.types import JOINT, AVLatent, Conditions, Interaction

hypothesis.settings.register_profile("any machine", deadline=None, derandomize=True)  # no test of speed, nor of luck
hypothesis.settings.load_profile("any machine")
pytest.register_assert_rewrite("downloads", "judges", "vocoders")


def small_config(**interaction) -> ModelConfig:
    """A configuration that runs in milliseconds; keywords go to its interaction."""
    return ModelConfig(
        video=BranchConfig(24, 32, 2),
        audio=BranchConfig(12, 16, 1),
        interaction=InteractionConfig(**interaction),
        num_layers=4,
        video_channels=6,
        mel_bins=5,
        freq_dim=8,
        text_len=6,
        text_dim=7,
        speech_vocab=11,
        speech_dim=8,
        speech_layers=2,
    )


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Gives every parameter random numbers large enough that each part of the model matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.3
            parameter.copy_(1 + noise if "norm" in name and name.endswith("weight") else noise)
    return model.eval().requires_grad_(False)


@pytest.fixture
def make_model() -> Callable[..., JointModel]:
    return lambda **interaction: randomise(JointModel(small_config(**interaction)))


@pytest.fixture
def make_case() -> Callable[..., tuple[AVLatent, Conditions]]:
    """Builds a random latent and conditions that fit `small_config`."""

    def make(
        *,
        batch: int = 1,
        latents: int = 3,
        height: int = 4,
        width: int = 6,
        tokens: int = 57,
        clean_video: int = 1,
        clean_audio: int = 0,
        voice: int = 0,
        interaction: Interaction = JOINT,
        seed: int = 1,
    ) -> tuple[AVLatent, Conditions]:
        generator = torch.Generator().manual_seed(seed)

        def randn(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator)

        latent = AVLatent(randn(batch, 6, latents, height, width), randn(batch, 5, tokens), clean_video, clean_audio)
        conditions = Conditions(
            caption=randn(batch, 4, 7),
            speech=torch.randint(-1, 11, (batch, 12), generator=generator),
            reference_image=randn(batch, 6, 1, height, width),
            reference_voice=randn(batch, 5, voice) if voice else None,
            interaction=interaction,
        )
        return latent, conditions

    return make


def pytest_configure() -> None:
    """Ctrl-C reaches the programs under test also where the tests run in the background, which would ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
