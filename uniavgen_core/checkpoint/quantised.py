"""Quantised layers as ComfyUI stores them: a weight in few bits, and tensors beside it that say how to read it.

A layer's ``comfy_quant`` holds JSON bytes with the format's name (ComfyUI's QUANTIZATION.md and `ops.py`). Older files
(``scaled_fp8``, ``scale_weight``) are brought to this form by the host's own `convert_old_quants`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import CheckpointError, listing

DESCRIPTION = "comfy_quant"
OLD_MARK = "scaled_fp8"
OLD_SCALES = ("scale_weight", "scale_input")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Format:
    """needs, may: the tensors that must and that may stand beside the weight; packed: numbers of a row in one."""

    needs: tuple[str, ...] = ("weight_scale",)
    may: tuple[str, ...] = ()
    packed: int = 1


FORMATS = {
    "float8_e4m3fn": Format(may=("input_scale",)),
    "float8_e5m2": Format(may=("input_scale",)),
    "mxfp8": Format(may=("input_scale",)),
    "nvfp4": Format(("weight_scale", "weight_scale_2"), ("input_scale", "pre_quant_scale"), packed=2),
    "int8_tensorwise": Format(),
    "convrot_w4a4": Format(packed=2),
    "asym_w4a8_int8": Format(("weight_s_rel", "weight_s_channel"), ("weight_codebook",), packed=2),
}
SIDE_TENSORS = {DESCRIPTION, *OLD_SCALES, *(name for form in FORMATS.values() for name in (*form.needs, *form.may))}


def formats_of(tensors: Mapping[str, Tensor], source: str) -> dict[str, str]:
    """Quantised layer -> format. Raises ``CheckpointError`` for a description that says nothing known."""
    formats = {}
    for name in tensors:
        layer, _, last = name.rpartition(".")
        if last != DESCRIPTION:
            continue
        try:
            formats[layer] = json.loads(bytes_of(tensors[name]))["format"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(f"{source}: {name} is damaged: download the file again") from error
    unknown = sorted({str(form) for form in formats.values()} - set(FORMATS))
    if unknown:
        raise CheckpointError(
            f"{source} is quantised as {listing(unknown)}, which this version does not know: choose a file in bf16, "
            f"fp16 or {', '.join(FORMATS)}"
        )
    return formats


def bytes_of(tensor: Tensor) -> bytes:
    """What lies in a tensor, whatever its number format."""
    return tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes()


def with_side_tensors(
    expected: Mapping[str, Shape], found: Mapping[str, Iterable[int]], formats: Mapping[str, str]
) -> dict[str, Shape]:
    """Names and shapes of a model -> those of its file with quantised layers.

    The tensors beside a weight may have any shape. Beside nothing, or beside what is not a matrix, they stay surplus.
    """
    out = dict(expected)
    for layer, name in formats.items():
        weight, form = f"{layer}.weight", FORMATS[name]
        if weight not in found or len(expected.get(weight, ())) != 2:
            continue
        rows, columns = expected[weight]
        out[weight] = (rows, -(-columns // form.packed))
        beside = [DESCRIPTION, *form.needs, *(side for side in form.may if f"{layer}.{side}" in found)]
        out |= {f"{layer}.{side}": tuple(found.get(f"{layer}.{side}", ())) for side in beside}
    return out


def is_quantised(names: Iterable[str]) -> bool:
    """Whether a file has tensors of quantised layers, new or old."""
    return any(name == OLD_MARK or name.rpartition(".")[2] in SIDE_TENSORS for name in names)
