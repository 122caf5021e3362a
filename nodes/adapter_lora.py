"""LoRA files of any spelling through the host's own loader, and what each of their keys does."""

from __future__ import annotations

from typing import Any

import comfy.lora
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import LoRAAdapter, WeightAdapterBase
from torch import Tensor

from ..uniavgen_core.lora import assigned

ROOT = "diffusion_model."
OF_BIAS, DIRECT = ("diff_b", "b_norm"), ("diff", "set_weight", "w_norm")  # what the host adds as it is
LARGEST = torch.finfo(torch.float32).max  # of the numbers in which the host computes a change
WHOLE = ("alpha", "reshape_weight")  # which trainers also write as whole numbers


class ReadKeys(dict[str, Tensor]):
    """A LoRA's tensors by the host's names, and which of them the host has taken."""

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__(tensors)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Tensor:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        if key in self:
            self.read.add(key)
        return super().get(key, default)


def add_lora(model: ModelPatcher, tensors: dict[str, Tensor], strength: float) -> tuple[ModelPatcher, list[str]]:
    """The model with a LoRA, and the keys of the file that change nothing.

    Raises ``ValueError`` if half of a pair is missing, a tensor is empty or holds no weights, or a change has another
    shape than the weight it is for or grows beyond all numbers.
    """
    parameters = model.model.diffusion_model.state_dict()
    found, idle = assigned(tensors, parameters)
    lora = ReadKeys({f"{ROOT}{part}.{rest}": tensors[key] for key, (part, rest) in found.items()})
    try:
        patches = comfy.lora.load_lora(lora, comfy.lora.model_lora_keys_unet(model.model, {}), log_missing=False)
    except KeyError as error:
        raise ValueError(f"the LoRA is incomplete: {str(error.args[0]).removeprefix(ROOT)} is missing") from None
    except Exception as error:  # whatever the host's readers raise for tensors of other shapes than they know
        raise ValueError(
            f"the LoRA is damaged, or of a kind that ComfyUI does not know ({error}): choose another"
        ) from error
    check_weights({key: tensors[key] for key, (part, rest) in found.items() if f"{ROOT}{part}.{rest}" in lora.read})
    check_changes(model, patches, strength)
    patched = model.clone()
    added = set(patched.add_patches(patches, strength))
    for key, (part, rest) in found.items():
        name = f"{part}.bias" if rest in OF_BIAS else part if part in parameters else f"{part}.weight"
        kind = tuple if rest in OF_BIAS + DIRECT else WeightAdapterBase
        acts = ROOT + name in added and isinstance(patches[ROOT + name], kind)
        if not acts or f"{ROOT}{part}.{rest}" not in lora.read:
            idle.append(key)
    return patched, idle


def check_weights(tensors: dict[str, Tensor]) -> None:
    """Raises ``ValueError`` naming the first tensor that is empty, as of rank 0, or holds whole numbers."""
    for key, tensor in tensors.items():
        if not tensor.numel():
            raise ValueError(f"the LoRA changes nothing by {key}, which is empty: choose another")
        if not tensor.is_floating_point() and key.rpartition(".")[2] not in WHOLE:
            raise ValueError(
                f"the LoRA holds whole numbers instead of weights in {key}: choose one in bf16, fp16 or fp32"
            )


def check_changes(model: ModelPatcher, patches: dict[str, Any], strength: float) -> None:
    """Raises ``ValueError`` naming the first change that does not fit its weight, which the host would only log, or
    whose numbers could be infinite."""
    weights = model.model_state_dict(ROOT)
    for name, patch in patches.items():
        try:
            right = name not in weights or fits(patch, weights[name].shape)
            large = right and name in weights and not most(patch, weights[name].shape, strength) <= LARGEST
        except Exception as error:  # as above
            raise ValueError(
                f"the LoRA is damaged: its change of {name.removeprefix(ROOT)} cannot be computed ({error}): choose "
                "another"
            ) from error
        if not right:
            raise ValueError(
                f"the LoRA does not fit this model: its change of {name.removeprefix(ROOT)} is not "
                f"{' x '.join(map(str, weights[name].shape))}. It was made for a model of another size"
            )
        if large:
            raise ValueError(
                f"the LoRA holds numbers so large that its change of {name.removeprefix(ROOT)} could be infinite: "
                "choose another"
            )


def most(patch: Any, shape: torch.Size, strength: float) -> float:
    """What no number of a change, nor on the way to it, exceeds; of rarer kinds the largest of its result on ones."""
    if not isinstance(patch, WeightAdapterBase):
        return largest(patch[1][0]) * max(1.0, abs(strength))
    if is_plain(patch):
        up, down, alpha = patch.weights[:3]
        rank = down.shape[0]
        scale = strength * (1.0 if alpha is None else alpha / rank)
        return largest(up) * largest(down) * rank * max(1.0, abs(scale))
    return largest(comfy.lora.calculate_weight([(strength, patch, 1.0, None, None)], torch.ones(shape), "trial"))


def largest(tensor: Tensor) -> float:
    return float(tensor.float().abs().max())


def is_plain(patch: Any) -> bool:
    """Whether it is the product of two matrices and nothing else."""
    return isinstance(patch, LoRAAdapter) and all(extra is None for extra in patch.weights[3:])


def fits(patch: Any, shape: torch.Size) -> bool:
    """Whether the host can add a patch to a weight of that shape."""
    if not isinstance(patch, WeightAdapterBase):
        return patch[1][0].shape == shape
    if is_plain(patch):
        up, down = (factor.flatten(1) for factor in patch.weights[:2])
        return up.shape[1] == down.shape[0] and (up.shape[0], down.shape[1]) == (shape[0], shape[1:].numel())
    # of the same shapes, with numbers that change something
    numbers = tuple(torch.rand(x.shape) if isinstance(x, Tensor) else x for x in patch.weights)
    likeness = type(patch)(patch.loaded_keys, numbers)
    trial = comfy.lora.calculate_weight([(1.0, likeness, 1.0, None, None)], torch.ones(shape), "trial")
    return trial.shape == shape and not bool((trial == 1).all())


def patch_the_rest(patcher: ModelPatcher, device: torch.device, *_: Any) -> None:
    """Patches what the host's loading passes over; called at its end.

    These are parameters beside modules (`modulation`), and where memory is short those of modules without the host's
    casting (`gamma`).
    """
    for key in patcher.patches:
        owner = comfy.utils.get_attr(patcher.model, key.rpartition(".")[0])
        if key not in patcher.backup and not hasattr(owner, "comfy_cast_weights"):
            patcher.patch_weight_to_device(key, device_to=device)
