"""Which tensors are those of the model, what others are called, and quantised layers beside their weights."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from test_checkpoint import SMALL, small_weights

from uniavgen_core.checkpoint import (
    CONFIG_KEY,
    CheckpointError,
    check_held,
    check_names,
    check_numbers,
    common_prefix,
    expected_shapes,
    formats_of,
    load_model,
    load_state_dict,
    shapes_of,
    with_side_tensors,
)
from uniavgen_core.checkpoint.signatures import SIGNATURES, recognise
from uniavgen_core.config import RELEASE
from uniavgen_core.tiny.load import WEIGHTS

# a few names of each, as their public code gives them
OTHERS = {
    "Wan2.2-TI2V-5B": {
        "patch_embedding.weight": (3072, 48, 1, 2, 2),
        "text_embedding.0.weight": (3072, 4096),
        "blocks.0.self_attn.q.weight": (3072, 3072),
        "head.modulation": (1, 2, 3072),
    },
    "another Wan model": {
        "patch_embedding.weight": (5120, 16, 1, 2, 2),
        "text_embedding.0.weight": (5120, 4096),
        "blocks.0.self_attn.q.weight": (5120, 5120),
        "head.modulation": (1, 2, 5120),
    },
    "Ovi": {
        "video_model.blocks.0.self_attn.q.weight": (3072, 3072),
        "audio_model.blocks.0.self_attn.q.weight": (3072, 3072),
        "video_model.patch_embedding.weight": (3072, 48, 1, 2, 2),
        "video_model.text_embedding.0.weight": (3072, 4096),
    },
    "LTX-2": {
        "model.diffusion_model.adaln_single.emb.timestep_embedder.linear_1.bias": (4096,),
        "model.diffusion_model.audio_adaln_single.linear.weight": (12288, 2048),
        "vae.decoder.conv_in.conv.weight": (1024, 128, 3, 3, 3),
    },
    "LTX-Video": {
        "adaln_single.emb.timestep_embedder.linear_1.bias": (2048,),
        "transformer_blocks.0.attn2.to_k.weight": (2048, 2048),
    },
    "HunyuanVideo": {"txt_in.individual_token_refiner.blocks.0.norm1.weight": (3072,), "img_in.proj.weight": (1,)},
    "diffusers": {"condition_embedder.time_embedder.linear_1.weight": (3072, 256), "blocks.0.attn1.to_q.weight": (1,)},
    "F5-TTS": {
        "ema_model.transformer.text_embed.text_embed.weight": (2546, 512),
        "ema_model.transformer.transformer_blocks.0.attn.to_q.weight": (1024, 1024),
    },
    "published layout": {
        "token_embedding.weight": (256384, 4096),
        "blocks.0.attn.q.weight": (4096, 4096),
        "blocks.0.pos_embedding.embedding.weight": (32, 64),
    },
    "T5 text encoder": {"shared.weight": (1, 1), "encoder.block.0.layer.0.SelfAttention.k.weight": (4096, 4096)},
    "VAE of Wan": {"decoder.middle.0.residual.0.gamma": (1024, 1, 1, 1), "conv2.weight": (48, 48, 1, 1, 1)},
    "BigVGAN": {"conv_pre.weight": (1536, 80, 7), "resblocks.0.activations.0.act.alpha": (768,)},
    "the tiny model's VAE": {"encode_first.weight": (48, 768), "decode_rest.weight": (2048, 48)},
    "the tiny model's vocoder": {"backbone.convnext.0.gamma": (160,), "head.out.weight": (1026, 160)},
    "the tiny model's caption encoder": {
        "embedding.weight": (257, 64),
        "convolution.weight": (128, 64, 5),
        "projection.weight": (64, 128),
    },
    "a Vocos": {"backbone.convnext.0.gamma": (512,), "head.out.weight": (1026, 512)},
    "Flux": {"double_blocks.0.img_attn.qkv.weight": (9216, 3072), "img_in.weight": (3072, 64)},
    "Stable Diffusion": {
        "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
        "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
    },
    "a LoRA": {
        "diffusion_model.blocks.0.self_attn.q.lora_A.weight": (16, 3072),
        "diffusion_model.blocks.0.self_attn.q.lora_B.weight": (3072, 16),
    },
}
LORA_STYLES = (
    "transformer.blocks.0.attn1.to_q.lora_A.default.weight",
    "lora_unet_blocks_0_self_attn_q.lora_down.weight",
    "blocks.0.self_attn.q.lora_up.weight",
)


@pytest.fixture(scope="module")
def release() -> dict[str, tuple[int, ...]]:
    return expected_shapes(RELEASE)


@pytest.mark.case("Files", "another model's file (named)")
@pytest.mark.parametrize("name", OTHERS)
def test_another_model_is_called_by_its_name(name, release):
    with pytest.raises(CheckpointError) as error:
        check_names(OTHERS[name], release, "file.safetensors")
    message = str(error.value)
    assert message.startswith("file.safetensors is ") and name in message
    assert "missing (20" in message and "surplus (" in message  # and still what is wrong with it


@pytest.mark.case("Files", "another model's file (named)")
@pytest.mark.parametrize("part", ["vae", "vocoder", "caption_encoder"])
def test_the_parts_of_the_tiny_model_are_called_by_their_names(part, release):
    shapes = shapes_of(load_state_dict(WEIGHTS / f"{part}.safetensors")[0])
    name = "VAE" if part == "vae" else part.replace("_", " ")
    with pytest.raises(CheckpointError, match=rf"^file is the tiny model's {name}: choose 'tiny \(built in\)'"):
        check_names(shapes, release, "file")


def test_every_signature_is_seen():
    assert len(OTHERS) == len(SIGNATURES) == len({recognise(names).what for names in OTHERS.values()})
    assert all(recognise({style: (1,)}).what == "a LoRA" for style in LORA_STYLES)


def test_a_faulty_uniavgen_is_not_called_another(release):
    assert recognise(release) is None
    for part in ("audio_blocks.", "a2v_blocks.", "text_embedding_video.", "patch_embedding."):
        rest = {name: shape for name, shape in release.items() if not name.startswith(part)}
        with pytest.raises(CheckpointError, match="the tensors of w are not those of the model"):
            check_names(rest, release, "w")


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", ""])
def test_the_hosts_prefix_is_taken_off(tmp_path, prefix):
    weights = small_weights()
    save_file(
        {prefix + name: tensor for name, tensor in weights.items()},
        tmp_path / "m.safetensors",
        {CONFIG_KEY: SMALL.to_json()},
    )
    model = load_model(tmp_path / "m.safetensors")
    assert torch.equal(model.patch_embedding.weight, weights["patch_embedding.weight"])


def test_a_prefix_that_only_some_names_have_stays():
    assert common_prefix(["diffusion_model.a", "diffusion_model.b"]) == "diffusion_model."
    assert common_prefix(["diffusion_model.a", "b"]) == common_prefix([]) == ""


def test_configuration_in_a_tensor(tmp_path):
    """As the host's own 'Save Model' writes it."""
    tensors = small_weights() | {CONFIG_KEY: torch.tensor(list(SMALL.to_json().encode()), dtype=torch.uint8)}
    save_file({f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors").config == SMALL

    save_file(small_weights() | {CONFIG_KEY: torch.tensor([123], dtype=torch.uint8)}, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="does not describe a model"):
        load_model(tmp_path / "m.safetensors")


def description(text: str) -> torch.Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


EXPECTED = {"a.weight": (4, 6), "a.bias": (4,), "norm.weight": (4,)}


def checked(found: dict[str, torch.Tensor]) -> None:
    shapes, formats = {name: tuple(tensor.shape) for name, tensor in found.items()}, formats_of(found, "w")
    check_names(shapes, with_side_tensors(EXPECTED, shapes, formats), "w")
    check_numbers(found, {name: torch.zeros(1) for name in EXPECTED}, "w", quantised=formats)


def test_quantised_layers_bring_their_own_tensors():
    plain = {name: torch.zeros(shape) for name, shape in EXPECTED.items()}
    scale, eight = torch.tensor(1.0), torch.zeros(4, 6).to(torch.float8_e4m3fn)
    fp8 = {"a.weight": eight, "a.weight_scale": scale, "a.comfy_quant": description('{"format": "float8_e4m3fn"}')}
    checked(plain | fp8)
    checked(plain | fp8 | {"a.input_scale": scale})
    checked(
        plain
        | {
            "a.weight": torch.zeros(4, 3, dtype=torch.uint8),  # two numbers in a byte
            "a.weight_scale": scale,
            "a.weight_scale_2": scale,
            "a.comfy_quant": description('{"format": "nvfp4"}'),
        }
    )


@pytest.mark.case("Files", "missing, surplus, misshapen tensors (listed)")
@pytest.mark.parametrize(
    ("added", "removed", "sentence"),
    [
        ({"a.weight_scale": torch.tensor(1.0)}, (), r"surplus \(1\): a.weight_scale"),
        ({"a.comfy_quant": description('{"format": "float8_e4m3fn"}')}, (), r"missing \(1\): a.weight_scale"),
        (
            {"a.weight_scale": torch.tensor(1.0), "a.comfy_quant": description('{"format": "float8_e4m3fn"}')},
            ("a.weight",),
            r"missing \(1\): a.weight; surplus \(2\): a.weight_scale, a.comfy_quant",
        ),
        (
            {"b.weight_scale": torch.tensor(1.0), "b.comfy_quant": description('{"format": "float8_e4m3fn"}')},
            (),
            r"surplus \(2\)",
        ),
        (
            {"norm.weight_scale": torch.tensor(1.0), "norm.comfy_quant": description('{"format": "float8_e4m3fn"}')},
            (),
            r"surplus \(2\): norm.weight_scale",
        ),
        ({"a.comfy_quant": description('{"format": "q3"}')}, (), "quantised as q3, which this version does not know"),
        ({"a.comfy_quant": description("{")}, (), "w: a.comfy_quant is damaged"),
        ({"a.comfy_quant": description("[]")}, (), "w: a.comfy_quant is damaged"),
        ({"a.scale_weight": torch.tensor(1.0)}, (), r"surplus \(1\): a.scale_weight"),
        ({"a.weight": torch.zeros(4, 6, dtype=torch.int8)}, (), "whole numbers instead of weights in a.weight"),
    ],
)
def test_a_scale_without_its_layer_is_refused(added, removed, sentence):
    found = {name: torch.zeros(shape) for name, shape in EXPECTED.items()} | added
    with pytest.raises(CheckpointError, match=sentence):
        checked({name: tensor for name, tensor in found.items() if name not in removed})


@pytest.mark.parametrize("surplus", ["scaled_fp8", "blocks.0.ffn.0.weight_scale", "blocks.0.ffn.0.scale_weight"])
def test_the_core_leaves_quantised_files_to_the_host(tmp_path, surplus):
    save_file(small_weights() | {surplus: torch.ones(2)}, tmp_path / "m.safetensors", {CONFIG_KEY: SMALL.to_json()})
    with pytest.raises(CheckpointError, match="quantised for ComfyUI, which alone can run it"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.case("Files", "weights that become infinite once they are cast")
def test_numbers_that_the_format_in_memory_cannot_hold(tmp_path):
    """Finite in the file, infinite once they are cast."""
    weights = small_weights() | {"head.head.weight": 1e300 * small_weights()["head.head.weight"].double()}
    save_file(weights, tmp_path / "m.safetensors", {CONFIG_KEY: SMALL.to_json()})
    with pytest.raises(CheckpointError, match=r"m\.safetensors holds .* too large for float32 in head\.head\.weight"):
        load_model(tmp_path / "m.safetensors", dtype=torch.float32)
    assert load_model(tmp_path / "m.safetensors").head.head.weight.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_what_a_format_holds_is_not_refused(dtype):
    """The largest number, and what rounds to it."""
    most = torch.finfo(dtype).max
    check_held({"a": torch.tensor([most, -most * (1 + 1e-8)], dtype=torch.float64)}, dtype, "w")
    for number in (most * 1.1, -most * 1.1):
        with pytest.raises(CheckpointError, match=r"w holds numbers too large for .* in b: choose a"):
            check_held({"a": torch.ones(2), "b": torch.tensor([number], dtype=torch.float64)}, dtype, "w")
