"""The names LoRA files use for the model's parts."""

from __future__ import annotations

import pytest

from uniavgen_core.config import RELEASE
from uniavgen_core.lora import PREFIXES, UNDERSCORED_PREFIXES, aliases, assigned, parts_of
from uniavgen_core.model import JointModel

PARAMETERS = list(JointModel(RELEASE, device="meta").state_dict())
ALIASES = aliases(parts_of(PARAMETERS))

# names of Wan2.2-5B in its own and in diffusers' spelling, and ours
WAN = [
    ("blocks.29.self_attn.q", "blocks.29.attn1.to_q", "blocks.29.self_attn.q"),
    ("blocks.0.self_attn.o", "blocks.0.attn1.to_out.0", "blocks.0.self_attn.o"),
    ("blocks.0.self_attn.norm_q", "blocks.0.attn1.norm_q", "blocks.0.self_attn.norm_q"),
    ("blocks.3.cross_attn.k", "blocks.3.attn2.to_k", "blocks.3.cross_attn.k"),
    ("blocks.3.cross_attn.v", "blocks.3.attn2.to_v", "blocks.3.cross_attn.v"),
    ("blocks.3.norm3", "blocks.3.norm2", "blocks.3.norm3"),
    ("blocks.3.ffn.0", "blocks.3.ffn.net.0.proj", "blocks.3.ffn.0"),
    ("blocks.3.ffn.2", "blocks.3.ffn.net.2", "blocks.3.ffn.2"),
    ("blocks.3.modulation", "blocks.3.scale_shift_table", "blocks.3.modulation"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1", "text_embedding_video.0"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2", "text_embedding_video.2"),
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("time_projection.1", "condition_embedder.time_proj", "time_projection.1"),
    ("patch_embedding", "patch_embedding", "patch_embedding"),
    ("head.head", "proj_out", "head.head"),
    ("head.modulation", "scale_shift_table", "head.modulation"),
]
OURS = ["audio_blocks.7.cross_attn.k", "a2v_blocks.14.mask_head.head", "v2a_blocks.0.q", "text_embedding.text_embed"]


def spellings(name: str) -> list[str]:
    underscored = name.replace(".", "_")
    return [prefix + name for prefix in PREFIXES] + [prefix + underscored for prefix in UNDERSCORED_PREFIXES]


@pytest.mark.parametrize(("native", "diffusers", "part"), WAN)
def test_names_of_wan(native, diffusers, part):
    assert {ALIASES[spelling] for name in (native, diffusers, part) for spelling in spellings(name)} == {part}


@pytest.mark.parametrize("part", OURS)
def test_names_of_the_other_branch_and_the_aligners(part):
    assert {ALIASES[spelling] for spelling in spellings(part)} == {part}


@pytest.mark.parametrize("ending", ["lora_down.weight", "lora_A.default.weight", "alpha", "diff_b", "hada_w1_a"])
def test_what_is_said_of_a_part_is_kept(ending):
    keys = {f"transformer.proj_out.{ending}": ("head.head", ending)}
    keys[f"lora_unet_text_embedding_0.{ending}"] = ("text_embedding_video.0", ending)
    assert assigned(keys, PARAMETERS) == (keys, [])


def test_no_name_is_said_of_two_parts():
    """Were one, the later part would take it from the earlier; so each has all of its own."""
    parts = parts_of(PARAMETERS)
    separate = [aliases([part]) for part in parts]
    assert len(ALIASES) == sum(map(len, separate))


def test_the_modulation_of_extracted_files():
    assert assigned(["diffusion_model.blocks.0.diff_m", "diffusion_model.head.diff_m"], PARAMETERS)[0] == {
        "diffusion_model.blocks.0.diff_m": ("blocks.0.modulation", "diff"),
        "diffusion_model.head.diff_m": ("head.modulation", "diff"),
    }


def test_keys_that_belong_to_nothing_are_told():
    """Of another model, without an end, or said twice in two spellings."""
    keys = ["blocks.0.attn1.to_q.lora_A.weight", "lora_unet_blocks_0_self_attn_q.lora_A.weight", "blocks.0.ffn.0"]
    keys += ["blocks.30.ffn.0.alpha", "blocks.0.cross_attn.k_img.alpha", "lora_te_text_model_0.alpha", "alpha"]
    found, unknown = assigned(keys, PARAMETERS)
    assert found == {keys[0]: ("blocks.0.self_attn.q", "lora_A.weight")}
    assert unknown == keys[1:]
