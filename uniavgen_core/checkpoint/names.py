"""Whether tensors are those of a model: names, shapes, and that they are numbers of a network."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from math import isfinite

import torch
from torch import Tensor

from ..interruption import check_interruption
from .errors import CheckpointError, listing
from .signatures import recognise

PREFIXES = ("model.diffusion_model.", "diffusion_model.")  # how the host writes a diffusion model
NAMES_OF_ANOTHER = 3  # listed when the file is known to be another model
PIECE = 1 << 20  # numbers that are looked at, or read, at once
WIDE = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
LARGEST_BITS = {torch.float8_e4m3fn: 0x7E, torch.float8_e5m2: 0x7B}  # of a finite number, without its sign

Shape = tuple[int, ...]


def common_prefix(names: Iterable[str]) -> str:
    """What the host put before all names, or nothing."""
    names = list(names)
    return next((prefix for prefix in PREFIXES if names and all(name.startswith(prefix) for name in names)), "")


def check_names(
    found: Mapping[str, Iterable[int]], expected: Mapping[str, Iterable[int]], source: str, known: bool = True
) -> None:
    """Compares tensor names and shapes. Raises ``CheckpointError`` that lists what is missing, surplus or misshapen,
    and calls another model by its name.

    source: what to call the weights, mostly the file's name
    known: whether to look for another model's signs
    """
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    misshapen = [
        f"{name} {list(found[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    other = recognise(found) if known else None
    most = {} if other is None else {"most": NAMES_OF_ANOTHER}
    faults = [
        f"{kind} ({len(names)}): {listing(names, **most)}"
        for kind, names in (("missing", missing), ("surplus", surplus), ("of another shape", misshapen))
        if names
    ]
    if not faults:
        return
    if other is not None:
        raise CheckpointError(f"{source} is {other.what}: {other.instead} ({'; '.join(faults)})")
    raise CheckpointError(
        f"the tensors of {source} are not those of the model. " + "; ".join(faults) + ". "
        "Choose weights that were made for this model and this version"
    )


def check_numbers(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str, quantised: Container[str] = ()
) -> None:
    """Raises ``CheckpointError`` if whole numbers stand in the place of weights, except in ``quantised`` layers, or
    numbers that are none."""
    wrong = [
        name
        for name, tensor in expected.items()
        if tensor.is_floating_point() and not found[name].is_floating_point()
        if name.removesuffix(".weight") not in quantised
    ]
    if wrong:
        raise CheckpointError(
            f"{source} holds whole numbers instead of weights in {listing(wrong)}: choose a file in bf16, fp16, fp32 "
            "or fp8"
        )
    check_finite(found, source)


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raises ``CheckpointError`` that lists the tensors with numbers that are NaN or infinite. Reads all of them."""
    wrong = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not is_finite(tensor)]
    if wrong:
        raise CheckpointError(
            f"{source} holds numbers that are NaN or infinite in {listing(wrong)}: download it again, or choose other "
            "weights"
        )


def check_held(tensors: Mapping[str, Tensor], dtype: torch.dtype, source: str) -> None:
    """Raises ``CheckpointError`` that lists the tensors with numbers too large for the format they are to be cast to.
    Reads only those of formats that reach further."""
    most = torch.finfo(dtype).max
    far = [name for name, x in tensors.items() if x.is_floating_point() and torch.finfo(x.dtype).max > most]
    wrong = [name for name in far if not is_finite(tensors[name], dtype)]
    if wrong:
        raise CheckpointError(
            f"{source} holds numbers too large for {str(dtype).removeprefix('torch.')} in {listing(wrong)}: choose a "
            "number format that reaches further, or another file"
        )


def is_finite(tensor: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether all numbers of a tensor are: a piece at a time, as quickly as its format allows.

    dtype: in which they are to be, None for the tensor's own
    """
    check_interruption()
    pieces = tensor.reshape(-1).split(PIECE) if tensor.numel() else ()
    if dtype is None and (largest := LARGEST_BITS.get(tensor.dtype)) is not None:
        return all(int(piece.view(torch.uint8).bitwise_and(0x7F).amax()) <= largest for piece in pieces)
    pieces = pieces if tensor.dtype in WIDE else (piece.float() for piece in pieces)
    return all(isfinite(end.to(dtype or end.dtype)) for piece in pieces for end in piece.aminmax())


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Name -> shape."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
