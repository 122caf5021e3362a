"""UniAVGen LoRA Loader: LoRAs of Wan2.2-5B and of UniAVGen in every spelling, with a word on each key."""

from __future__ import annotations

import logging
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io

from ..uniavgen_core.checkpoint import check_finite, check_held, load_state_dict
from .adapter_lora import add_lora
from .adapter_model import config_of_model
from .checks import check_number, verdict
from .files import fingerprint
from .notices import says_what_it_notices
from .search import searched_as

log = logging.getLogger(__name__)

REFUSE, LEAVE_OUT = "refuse", "leave out"
SHOWN = 5
STRONGEST = 100.0


class UniAVGenLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UniAVGenLora",
            display_name="UniAVGen LoRA Loader",
            category="UniAVGen",
            description="Adds a LoRA made for Wan2.2-5B (the video branch) or for UniAVGen, whatever the trainer calls "
            "the layers. ComfyUI's own LoRA loaders take those that begin with diffusion_model. or lora_unet_.",
            **searched_as("lora, wan2.2 lora, load lora"),
            inputs=[
                io.Model.Input("model", tooltip="What the LoRA is added to, from 'Load UniAVGen'; it stays unchanged."),
                io.Combo.Input(
                    "lora", options=lora_choices(), tooltip="The file that is added: .safetensors in models/loras."
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-STRONGEST,
                    max=STRONGEST,
                    step=0.01,
                    tooltip="How much of it is added: 1 as it was trained, 0 nothing; negative takes it away.",
                ),
                io.Combo.Input(
                    "unknown_keys",
                    options=[REFUSE, LEAVE_OUT],
                    default=REFUSE,
                    tooltip="What to do if the file holds something that changes nothing here, such as layers that "
                    "only other Wan models have: stop, or go on without it and list it.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The model with the LoRA."),
                io.String.Output(display_name="left out", tooltip="Keys of the file that change nothing, one a line."),
            ],
        )

    @classmethod
    def validate_inputs(cls, strength: float | None = None) -> bool | str:
        return verdict(check_strength, strength)

    @classmethod
    def fingerprint_inputs(cls, lora: str | None = None, **_: Any) -> str | None:
        return fingerprint(folder_paths.get_full_path("loras", lora)) if lora else None

    @classmethod
    @says_what_it_notices
    def execute(cls, model, lora: str, strength: float, unknown_keys: str) -> io.NodeOutput:
        check_strength(strength)
        config_of_model(model)
        path = folder_paths.get_full_path_or_raise("loras", lora)
        tensors, _ = load_state_dict(path)
        if not tensors:
            raise ValueError(f"{lora} holds no tensors and would change nothing: choose another file")
        check_finite(tensors, lora)
        check_held(tensors, torch.float32, lora)  # in which the host computes the change
        patched, idle = add_lora(model, tensors, strength)
        if idle and (unknown_keys == REFUSE or len(idle) == len(tensors)):
            more = f" and {len(idle) - SHOWN} more" if len(idle) > SHOWN else ""
            raise ValueError(
                f"{len(idle)} of the {len(tensors)} keys of {lora} change nothing in this model: "
                f"{', '.join(idle[:SHOWN])}{more}. "
                + ("It was made for another one" if len(idle) == len(tensors) else f"Choose '{LEAVE_OUT}' to go on")
            )
        for key in idle:
            log.warning("%s: %s changes nothing in this model", lora, key)
        return io.NodeOutput(patched, "\n".join(idle))


def check_strength(strength: float) -> None:
    """Raises ``ValueError`` for what is no strength."""
    check_number("the strength of the LoRA", strength, -STRONGEST, STRONGEST)


def lora_choices() -> list[str]:
    return [name for name in folder_paths.get_filename_list("loras") if name.endswith(".safetensors")]
