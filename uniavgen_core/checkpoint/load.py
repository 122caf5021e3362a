"""Tensors of a file -> the joint model, or any module, with these weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..config import RELEASE, ModelConfig
from ..model.joint import JointModel
from .errors import CheckpointError
from .names import Shape, check_held, check_names, check_numbers, common_prefix, shapes_of
from .quantised import bytes_of, is_quantised
from .reading import load_state_dict

# ModelConfig.to_json() of the model the tensors belong to: in the metadata, or as bytes in a tensor of this name where
# the host writes the file and leaves no place for metadata
CONFIG_KEY = "uniavgen_config"

Module = TypeVar("Module", bound=nn.Module)


class WithoutFirstNumbers(TorchFunctionMode):
    """Embeddings that are built without memory draw no random numbers: PyTorch would import its compiler for that,
    which takes seconds, sets a variable of the environment and adds a warnings filter."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        return kwargs["tensor"] if function is nn.init.normal_ else function(*args, **kwargs)


def config_of(metadata: Mapping[str, str]) -> ModelConfig:
    """The configuration that weights carry in their metadata; without one they are taken for the release."""
    if CONFIG_KEY not in metadata:
        return RELEASE
    try:
        return ModelConfig.from_json(metadata[CONFIG_KEY])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"the weights' metadata {CONFIG_KEY!r} does not describe a model this version knows ({error}): "
            "update this package, or choose other weights"
        ) from error


def released(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], prefix: str
) -> tuple[dict[str, Tensor], ModelConfig]:
    """Tensors under their released names, and the configuration they carry.

    prefix: what `common_prefix` gave for the names as they were stored
    """
    tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    if CONFIG_KEY in tensors:
        text = bytes_of(tensors.pop(CONFIG_KEY)).decode("utf-8", "replace")
        metadata = {CONFIG_KEY: text, **metadata}
    return tensors, config_of(metadata)


def expected_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Name and shape of every tensor of the joint model, in its order, without memory for them."""
    with WithoutFirstNumbers():
        return shapes_of(JointModel(config, device="meta").state_dict())


def load_model(path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> JointModel:
    """The joint model with the weights at ``path``, for inference.

    dtype: of all floating-point weights; None keeps them as stored
    Raises ``CheckpointError``, before a model is built if the names or shapes are wrong.
    """
    stored, metadata = load_state_dict(path)
    tensors, config = released(stored, metadata, common_prefix(stored))
    if is_quantised(tensors):
        raise CheckpointError(
            f"{Path(path).name} is quantised for ComfyUI, which alone can run it: use a file in bf16, fp16 or fp32 here"
        )
    del stored
    return fill(lambda: JointModel(config), tensors, Path(path).name, device, dtype)


def fill(
    build: Callable[[], Module],
    tensors: dict[str, Tensor],
    source: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Module:
    """Builds a module without memory and gives it ``tensors``, strictly; it is frozen and in evaluation mode.

    ``tensors`` is emptied on the way, so that weights are not held twice while they are converted.
    """
    with torch.device("meta"), WithoutFirstNumbers():
        module = build()
    check_names(shapes_of(tensors), shapes_of(module.state_dict()), source)
    check_numbers(tensors, module.state_dict(), source)
    if dtype is not None:
        check_held(tensors, dtype, source)
    converted = {}
    for name in list(tensors):
        tensor = tensors.pop(name)
        converted[name] = tensor.to(device, dtype if tensor.is_floating_point() else None)
    module.load_state_dict(converted, strict=True, assign=True)
    return module.requires_grad_(False).eval()
