"""Small networks of the evaluation's kinds, as files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor


def tiny_dino(path: Path) -> dict[str, Tensor]:
    """Weights under DINO's names: patches of 16, a width of 64, one block, for 224 x 224."""
    torch.manual_seed(0)
    shapes = {
        "cls_token": (1, 1, 64),
        "pos_embed": (1, 197, 64),
        "patch_embed.proj.weight": (64, 3, 16, 16),
        "patch_embed.proj.bias": (64,),
        "norm.weight": (64,),
        "norm.bias": (64,),
        **{f"blocks.0.norm{part}.{kind}": (64,) for part in (1, 2) for kind in ("weight", "bias")},
        "blocks.0.attn.qkv.weight": (192, 64),
        "blocks.0.attn.qkv.bias": (192,),
        "blocks.0.attn.proj.weight": (64, 64),
        "blocks.0.attn.proj.bias": (64,),
        "blocks.0.mlp.fc1.weight": (256, 64),
        "blocks.0.mlp.fc1.bias": (256,),
        "blocks.0.mlp.fc2.weight": (64, 256),
        "blocks.0.mlp.fc2.bias": (64,),
    }
    weights = {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}
    torch.save(weights, path)
    return weights
