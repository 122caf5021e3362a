"""What tests of vocoders share: small random ones of each kind, as files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniBigVGANConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavBigVGANModel
from vocos import Vocos
from vocos.feature_extractors import MelSpectrogramFeatures
from vocos.pretrained import instantiate_class

from uniavgen_core.vocoder import NeuralVocoder, load_vocoder, vocos

RELEASE = {  # of the published config.json
    "mel_dim": 80,
    "upsample_initial_channel": 1536,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "upsample_rates": [5, 3, 2, 2, 2, 2],
    "upsample_kernel_sizes": [11, 7, 4, 4, 4, 4],
}
SMALL = {**RELEASE, "upsample_initial_channel": 64}
EXACT = 2e-5  # sums in another order
DECIBEL = 20 / math.log(10)


def mel(frames: int, items: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(items, 80, frames, generator=torch.Generator().manual_seed(seed)) * 2 - 5


def vocos_config(declared: dict, bins: int = 80, hop: int = 240, padding: str = "same", **backbone) -> dict:
    backbone = {"input_channels": bins, "dim": 16, "intermediate_dim": 24, "num_layers": 3} | backbone
    head = {"dim": 16, "n_fft": 1024, "hop_length": hop, "padding": padding}
    return {
        "feature_extractor": {"class_path": "vocos.feature_extractors.MelSpectrogramFeatures", "init_args": declared},
        "backbone": {"class_path": "vocos.models.VocosBackbone", "init_args": backbone},
        "head": {"class_path": "vocos.heads.ISTFTHead", "init_args": head},
    }


PUBLIC_CONFIG = vocos_config({"n_mels": 100, "padding": "center"}, bins=100, hop=256, padding="center")


def save_vocos(folder: Path, config: dict, pickle: bool = False) -> Vocos:
    """A random Vocos in a folder, and itself. The file has the published layout, mel filters included."""
    torch.manual_seed(1)
    parts = [instantiate_class((), config[name]) for name in ("backbone", "head")]
    model = Vocos(MelSpectrogramFeatures(), *parts).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
        model.head.out.bias.sub_(2)
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if pickle:
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors")
    return model


@pytest.fixture(scope="module")
def bigvgan_model() -> Qwen2_5OmniToken2WavBigVGANModel:
    torch.manual_seed(0)
    model = Qwen2_5OmniToken2WavBigVGANModel(Qwen2_5OmniBigVGANConfig(**SMALL)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.1 if "act" in name else parameter[0].numel() ** -0.5))
        model.conv_post.weight.mul_(0.2 / model(mel(60)).std() * 0.01)  # it clips nearly all of that
        model.conv_post.weight.mul_(0.2 / model(mel(60)).std())
    return model


@pytest.fixture(scope="module")
def bigvgan_folder(bigvgan_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "code2wav_bigvgan_model"
    bigvgan_model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def own_config() -> dict:
    return vocos_config(vocos.OWN)


@pytest.fixture(scope="module")
def both(bigvgan_folder, own_config, tmp_path_factory) -> dict[str, NeuralVocoder]:
    folder = tmp_path_factory.mktemp("models")
    save_vocos(folder / "own", own_config)
    save_vocos(folder / "public", PUBLIC_CONFIG)
    folders = {"BigVGAN": bigvgan_folder, "Vocos": folder / "own", "public Vocos": folder / "public"}
    return {name: load_vocoder(path) for name, path in folders.items()}


KINDS = ("BigVGAN", "Vocos", "public Vocos")
