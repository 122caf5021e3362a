"""Writes the files that the tiny model loads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from uniavgen_core.checkpoint import CONFIG_KEY

from .model import Learner


def pack_model(learner: Learner, folder: Path) -> None:
    """The joint model, with its configuration, and the caption encoder, in bfloat16."""
    config = {CONFIG_KEY: learner.model.config.to_json()}
    write_part(folder / "model.safetensors", learner.model.state_dict(), torch.bfloat16, config)
    write_part(folder / "caption_encoder.safetensors", learner.captions.state_dict(), torch.bfloat16)


def write_part(
    path: Path, weights: Mapping[str, Tensor], dtype: torch.dtype, metadata: Mapping[str, str] | None = None
) -> None:
    """Weights in a number format. The file appears when it is whole."""
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in weights.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(serialize(tensors, metadata or {}))
    os.replace(unfinished, path)


def serialize(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Bytes of a safetensors file that depend on nothing but the arguments (the library shuffles the metadata)."""
    data = save(dict(tensors), dict(metadata))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]
