"""Vocos, through the vocos package: for UniAVGen's own mel, or the public one behind a bridge.

The package is optional: `pip install vocos` adds encodec, and einops and torchaudio where they are missing. ComfyUI has
these two, and no version of torch is asked for. Of its config.yaml only numbers are used: no class that it names is
imported but the ones listed here, and encodec is never downloaded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..audio.mel import MAX_FREQUENCY, MEL_BINS, WINDOW
from ..checkpoint import CheckpointError, fill, load_state_dict, read_pickle
from ..files import read_small
from ..geometry import HOP_LENGTH, SAMPLE_RATE
from .bridge import PUBLIC_HOP, to_public_mel
from .neural import NeuralVocoder

CONFIG = "config.yaml"
PICKLE = "pytorch_model.bin"  # as published; of which nothing but tensors is read
MOST_CONFIG, DEEPEST = 1 << 13, 16  # bytes and levels of a config.yaml: of deeper ones reading takes minutes
MOST_LAYERS, MOST_SIZE = 64, 1 << 16  # beyond these nothing is built
INSTALL = "pip install vocos"

# What a config.yaml says of its mel under feature_extractor.init_args; the values of the public model are what vocos
# takes where nothing is said.
PUBLIC = {
    "sample_rate": SAMPLE_RATE,
    "n_fft": 1024,
    "hop_length": PUBLIC_HOP,
    "n_mels": 100,
    "padding": "center",
    "f_min": 0,
    "f_max": SAMPLE_RATE / 2,
    "mel_scale": "htk",
    "norm": None,
}
OWN = {
    "sample_rate": SAMPLE_RATE,
    "n_fft": WINDOW,
    "hop_length": HOP_LENGTH,
    "n_mels": MEL_BINS,
    "padding": "same",
    "f_min": 0,
    "f_max": MAX_FREQUENCY,
    "mel_scale": "slaney",
    "norm": "slaney",
}


class Network(nn.Module):
    """Features [B, C, L] -> waveform [B, samples]."""

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.backbone(features))


def load_vocos(folder: Path) -> NeuralVocoder:
    """The vocoder in a folder with config.yaml and model.safetensors or pytorch_model.bin.

    A Vocos for UniAVGen's mel says so in its config: feature_extractor.init_args hold the values of ``OWN``. One that
    says nothing else than ``PUBLIC`` is bridged; any other is refused. Raises ``CheckpointError`` or ``ValueError``.
    """
    try:
        import yaml
        from vocos.heads import ISTFTHead
        from vocos.models import VocosBackbone, VocosResNetBackbone
    except (ImportError, OSError) as error:  # OSError: a torchaudio that does not fit torch
        raise ValueError(
            f"a Vocos needs the package vocos ({error}): {INSTALL}, with the Python that runs this; or use the "
            "BigVGAN of the release (code2wav_bigvgan_model)"
        ) from error
    try:
        text = read_small(folder / CONFIG, MOST_CONFIG).decode("utf-8")
        depth = 0
        for event in yaml.parse(text):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
                raise ValueError("it refers to its own parts, or is nested too deeply")
        config = yaml.safe_load(text)
        (backbone, sizes), (head, windows) = (_part(config, name) for name in ("backbone", "head"))
        if sizes.get("adanorm_num_embeddings"):
            raise ValueError("it is conditioned on the bandwidth of a codec")
        for name, size in (*sizes.items(), *windows.items()):
            if isinstance(size, int) and size > (MOST_LAYERS if name.startswith("num_") else MOST_SIZE):
                raise ValueError(f"{name} is too large")
        backbones = {kind.__name__: kind for kind in (VocosBackbone, VocosResNetBackbone)}
        heads = {ISTFTHead.__name__: ISTFTHead}

        def build() -> Network:
            return Network(backbones[backbone](**sizes), heads[head](**windows))

        with torch.device("meta"):
            context = reach(build(), windows["n_fft"], windows["hop_length"])
        mel = PUBLIC | (config["feature_extractor"].get("init_args") or {})
        parts = {"n_mels": sizes["input_channels"], "padding": windows.get("padding", "same")}
        parts["hop_length"] = windows["hop_length"]
    except Exception as error:  # whatever stands in the file
        raise CheckpointError(
            f"{folder / CONFIG} does not describe a Vocos of convolutions and an inverse Fourier transform "
            f"({type(error).__name__}: {error}): choose another, or download it again"
        ) from error
    if mel not in (OWN, PUBLIC) or mel | parts != mel:
        differences = ", ".join(
            f"{key} {value} instead of {OWN.get(key)}" for key, value in mel.items() if value != OWN.get(key)
        )
        raise CheckpointError(
            f"the Vocos in {folder} was trained on another mel than UniAVGen's "
            f"({differences or 'its parts differ from what it says of its mel'}), and is not the public "
            "vocos-mel-24khz either, which can be bridged: use one of these, or the BigVGAN of the release "
            "(code2wav_bigvgan_model)"
        )
    tensors = {
        name: tensor
        for name, tensor in _weights(folder).items()
        if not name.startswith("feature_extractor.")  # makes mels of sound, which UniAVGen does itself
    }
    network = fill(build, tensors, folder.name, dtype=torch.float32)
    if mel == OWN:
        return NeuralVocoder(network, context)
    return NeuralVocoder(network, context, PUBLIC_HOP, to_public_mel)


def reach(network: Network, n_fft: int, hop: int) -> int:
    """Frames on each side that a sample depends on: every convolution in turn, then the overlapping windows."""
    convolutions = (layer for layer in network.backbone.modules() if isinstance(layer, nn.Conv1d))
    frames = sum(layer.dilation[0] * (layer.kernel_size[0] - 1) // 2 for layer in convolutions)
    return frames + n_fft // (2 * hop) + 1


def _part(config: dict[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    """The class's own name and its arguments."""
    return config[name]["class_path"].rpartition(".")[2], dict(config[name]["init_args"])


def _weights(folder: Path) -> dict[str, Tensor]:
    if any(folder.glob("*.safetensors")):
        return load_state_dict(folder)[0]
    if not os.path.lexists(folder / PICKLE):
        raise CheckpointError(f"{folder} holds neither a .safetensors file nor {PICKLE}: download the weights to it")
    return read_pickle(folder / PICKLE)
