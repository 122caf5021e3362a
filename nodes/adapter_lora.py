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

    Raises ``ValueError`` if half of a pair is missing or a change has another shape than the weight it is for.
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
    check_shapes(model, patches)
    patched = model.clone()
    added = set(patched.add_patches(patches, strength))
    for key, (part, rest) in found.items():
        name = f"{part}.bias" if rest in OF_BIAS else part if part in parameters else f"{part}.weight"
        kind = tuple if rest in OF_BIAS + DIRECT else WeightAdapterBase
        acts = ROOT + name in added and isinstance(patches[ROOT + name], kind)
        if not acts or f"{ROOT}{part}.{rest}" not in lora.read:
            idle.append(key)
    return patched, idle


def check_shapes(model: ModelPatcher, patches: dict[str, Any]) -> None:
    """Raises ``ValueError`` naming the first change that does not fit its weight; the host would only log that."""
    weights = model.model_state_dict(ROOT)
    for name, patch in patches.items():
        try:
            right = name not in weights or fits(patch, weights[name].shape)
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


def fits(patch: Any, shape: torch.Size) -> bool:
    """Whether the host can add a patch to a weight of that shape."""
    if not isinstance(patch, WeightAdapterBase):
        return patch[1][0].shape == shape
    if isinstance(patch, LoRAAdapter) and all(extra is None for extra in patch.weights[3:]):
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
