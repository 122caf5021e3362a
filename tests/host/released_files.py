"""Small random files in the layout of the release: path -> content."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from host.hosts import ROOT
from safetensors import safe_open
from safetensors.torch import save
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniBigVGANConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavBigVGANModel

from uniavgen_core.parts import INDEX, VOCODER_FOLDER

TINY_WEIGHTS = ROOT / "uniavgen_core" / "tiny" / "weights" / "model.safetensors"


def model_files() -> dict[str, bytes]:
    """The tiny model as two shards and their index."""
    with safe_open(TINY_WEIGHTS, framework="pt") as file:
        names = list(file.keys())
        halves = [{name: file.get_tensor(name) for name in part} for part in (names[::2], names[1::2])]
        shards = {
            f"diffusion_pytorch_model-0000{number}-of-00002.safetensors": save(half, file.metadata())
            for number, half in enumerate(halves, 1)
        }
    placed = {name: shard for shard, half in zip(shards, halves, strict=True) for name in half}
    return {**shards, INDEX: json.dumps({"weight_map": placed}).encode()}


def vocoder_files() -> dict[str, bytes]:
    """A BigVGAN with few channels in its folder."""
    torch.manual_seed(0)
    model = Qwen2_5OmniToken2WavBigVGANModel(Qwen2_5OmniBigVGANConfig(upsample_initial_channel=64))
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return {f"{VOCODER_FOLDER}/{path.name}": path.read_bytes() for path in Path(folder).iterdir()}


def write(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
