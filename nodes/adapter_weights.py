"""Weight files, plain or quantised for the host, as tensors that the host's layers load."""

from __future__ import annotations

from pathlib import Path

import comfy.quant_ops
import comfy.utils
import torch
from torch import Tensor, nn

from ..uniavgen_core.checkpoint import (
    CheckpointError,
    check_names,
    check_numbers,
    common_prefix,
    formats_of,
    load_state_dict,
    released,
    shapes_of,
    with_side_tensors,
)
from ..uniavgen_core.config import ModelConfig
from ..uniavgen_core.model.joint import JointModel


def read_file(path: Path, dtype: torch.dtype | None = None) -> tuple[dict[str, Tensor], ModelConfig]:
    """Weights and configuration in a file or behind an index, quantised layers as the host wants them.

    dtype: what the user wants the weights to be in memory, or None
    Raises ``CheckpointError`` if the tensors do not fit, or the host cannot run them in this way.
    """
    stored, metadata = load_state_dict(path)
    prefix = common_prefix(stored)
    try:  # older files and those described in their metadata become layers that are described beside their weights
        stored, metadata = comfy.utils.convert_old_quants(stored, prefix, metadata=metadata)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path.name} has a damaged description of its quantised layers: download it again"
        ) from error
    tensors, config = released(stored, metadata, prefix)
    formats = formats_of(tensors, path.name)
    model = JointModel(config, device="meta").state_dict()
    shapes = shapes_of(tensors)
    check_names(shapes, with_side_tensors(shapes_of(model), shapes, formats), path.name)
    check_numbers(tensors, model, path.name, quantised=formats)
    check_formats(set(formats.values()), path.name, dtype)
    return tensors, config


def check_formats(formats: set[str], source: str, dtype: torch.dtype | None) -> None:
    """Raises ``CheckpointError`` for quantised layers that this host does not know or that are to be cast."""
    unknown = sorted(formats - set(comfy.quant_ops.QUANT_ALGOS))
    if unknown:
        raise CheckpointError(
            f"{source} is quantised as {', '.join(unknown)}, which this ComfyUI cannot run: update ComfyUI, or choose "
            f"a file in bf16 or {', '.join(comfy.quant_ops.QUANT_ALGOS)}"
        )
    if formats and dtype is not None:
        raise CheckpointError(
            f"{source} is already quantised ({', '.join(sorted(formats))}): set weight_dtype to default"
        )


def check_loaded(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Raises ``CheckpointError`` if a layer of the host took its quantised weight for a plain one."""
    layers = (name.removesuffix(".comfy_quant") for name in tensors if name.endswith(".comfy_quant"))
    plain = [layer for layer in layers if getattr(model.get_submodule(layer), "layout_type", None) is None]
    if plain:
        raise CheckpointError(
            f"this ComfyUI cannot run {plain[0]} quantised ({len(plain)} layers): update ComfyUI, or choose a file in "
            "which only linear layers are quantised"
        )
