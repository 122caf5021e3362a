"""The names LoRA files call the model's parts by: Wan2.2's own and diffusers' for the video branch, with any
trainer's prefix, dotted or underscored. Pure functions of names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# before a dotted and before an underscored name
PREFIXES = ("diffusion_model.", "model.diffusion_model.", "", "transformer.", "model.", "dit.", "pipe.dit.")
PREFIXES += ("base_model.model.", "transformer.base_model.model.")
UNDERSCORED_PREFIXES = ("lora_unet_", "lora_unet__", "lora_transformer_", "lycoris_")

# what the caption embedding, which takes Wan's name here for the speech, is called in Wan
WAN_NAMES = {r"^text_embedding_video\.": "text_embedding."}
# Wan's names -> those of diffusers' WanTransformer3DModel
DIFFUSERS_NAMES = {
    r"^text_embedding\.0$": "condition_embedder.text_embedder.linear_1",
    r"^text_embedding\.2$": "condition_embedder.text_embedder.linear_2",
    r"^time_embedding\.0$": "condition_embedder.time_embedder.linear_1",
    r"^time_embedding\.2$": "condition_embedder.time_embedder.linear_2",
    r"^time_projection\.1$": "condition_embedder.time_proj",
    r"^head\.head$": "proj_out",
    r"^head\.modulation$": "scale_shift_table",
    r"^(blocks\.\d+)\.modulation$": r"\1.scale_shift_table",
    r"^(blocks\.\d+)\.self_attn\.": r"\1.attn1.",
    r"^(blocks\.\d+)\.cross_attn\.": r"\1.attn2.",
    r"(\.attn[12])\.([qkv])$": r"\1.to_\2",
    r"(\.attn[12])\.o$": r"\1.to_out.0",
    r"^(blocks\.\d+)\.norm3$": r"\1.norm2",
    r"^(blocks\.\d+)\.ffn\.0$": r"\1.ffn.net.0.proj",
    r"^(blocks\.\d+)\.ffn\.2$": r"\1.ffn.net.2",
}
MODULATION = re.compile(r"\.diff_m$")  # a change of a block's or head's modulation, in some extracted files


def parts_of(parameters: Iterable[str]) -> list[str]:
    """Parameter names -> what a LoRA can change: modules with weights, and parameters of another name."""
    names = (re.sub(r"\.(weight|bias)$", "", name) for name in parameters)
    return list(dict.fromkeys(names))


def replaced(name: str, table: Mapping[str, str]) -> str:
    for pattern, replacement in table.items():
        name = re.sub(pattern, replacement, name)
    return name


def aliases(parts: Iterable[str]) -> dict[str, str]:
    """Every name that a file may have for one of the model's parts -> the part."""
    found = {}
    for part in parts:
        wan = replaced(part, WAN_NAMES)
        for name in dict.fromkeys((part, wan, replaced(wan, DIFFUSERS_NAMES))):
            found |= {prefix + name: part for prefix in PREFIXES}
            found |= {prefix + name.replace(".", "_"): part for prefix in UNDERSCORED_PREFIXES}
    return found


def assigned(keys: Iterable[str], parameters: Iterable[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Keys of a LoRA file -> the part of the model and what the file says of it, such as "lora_up.weight".

    parameters: of the model
    Also returns the keys that belong to no part, or say again what another key has said.
    """
    known, found, unknown, taken = aliases(parts_of(parameters)), {}, [], set()
    for key in keys:
        name, rest = MODULATION.sub(".modulation.diff", key), []
        while name and name not in known:
            name, _, last = name.rpartition(".")
            rest.insert(0, last)
        said = (known.get(name, ""), ".".join(rest))
        if not all(said) or said in taken:
            unknown.append(key)
        else:
            found[key] = said
            taken.add(said)
    return found, unknown
