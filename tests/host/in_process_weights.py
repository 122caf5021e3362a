"""Runs inside the host's Python: LoRAs, memory and what the host does with the weights, as JSON on the last line.

python in_process_weights.py COMFYUI_FOLDER PACK_FOLDER
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import contextmanager
from typing import Any

from in_process import Bench, error, load_host

ROOT = "diffusion_model."
RANK, ALPHA, STRENGTH = 4, 2.0, 0.7

# part of the model: how a file may call it, with the two factors' endings
STYLES = {
    "native": ("blocks.0.self_attn.q", "diffusion_model.blocks.0.self_attn.q", "lora_down.weight", "lora_up.weight"),
    "musubi": ("blocks.1.ffn.0", "lora_unet_blocks_1_ffn_0", "lora_down.weight", "lora_up.weight"),
    "wan fun": ("blocks.0.cross_attn.k", "lora_unet__blocks_0_cross_attn_k", "lora_down.weight", "lora_up.weight"),
    "bare": ("blocks.2.self_attn.o", "blocks.2.self_attn.o", "lora_A.weight", "lora_B.weight"),
    "peft": ("blocks.2.cross_attn.v", "base_model.model.blocks.2.cross_attn.v", "lora_A.weight", "lora_B.weight"),
    "diffsynth": ("blocks.3.ffn.2", "pipe.dit.blocks.3.ffn.2", "lora_A.default.weight", "lora_B.default.weight"),
    "diffusers": ("blocks.0.cross_attn.q", "transformer.blocks.0.attn2.to_q", "lora_A.weight", "lora_B.weight"),
    "diffusers ffn": ("blocks.3.ffn.0", "transformer.blocks.3.ffn.net.0.proj", "lora_A.weight", "lora_B.weight"),
    "diffusers out": ("head.head", "transformer.proj_out", "lora_A.weight", "lora_B.weight"),
    "onetrainer": ("blocks.0.ffn.2", "lora_transformer_blocks_0_ffn_net_2", "lora_down.weight", "lora_up.weight"),
    "caption": ("text_embedding_video.0", "diffusion_model.text_embedding.0", "lora_down.weight", "lora_up.weight"),
    "time": ("time_projection.1", "transformer.condition_embedder.time_proj", "lora_A.weight", "lora_B.weight"),
    "audio": ("audio_blocks.1.ffn.0", "diffusion_model.audio_blocks.1.ffn.0", "lora_down.weight", "lora_up.weight"),
    "aligner": ("a2v_blocks.0.v", "diffusion_model.a2v_blocks.0.v", "lora_A.weight", "lora_B.weight"),
    "aligner 2": ("v2a_blocks.1.o", "lora_unet_v2a_blocks_1_o", "lora_down.weight", "lora_up.weight"),
}
BY_HOST = ("native", "musubi", "wan fun", "audio", "aligner", "aligner 2")  # what its own loader takes


def factors(shape: Any, seed: int) -> tuple[Any, Any]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(RANK, shape[1:].numel(), generator=generator) * shape[1:].numel() ** -0.5
    return down, torch.randn(shape[0], RANK, generator=generator)


@contextmanager
def changed(bench: Bench, changes: dict[str, Any]):
    """The model's own weights with ``changes`` added, for as long as this lasts."""
    parameters = dict(bench.model.model.diffusion_model.named_parameters())
    before = {name: parameters[name].clone() for name in changes}
    for name, change in changes.items():
        parameters[name].copy_(before[name] + change)
    try:
        yield
    finally:
        for name, value in before.items():
            parameters[name].copy_(value)


def unload() -> None:
    """Takes every LoRA off the weights."""
    import comfy.model_management

    comfy.model_management.unload_all_models()


def compare(bench: Bench, model: Any, changes: dict[str, Any]) -> float:
    """How far the run of a patched MODEL is from one with the weights changed by hand."""
    patched = bench.joint(model)
    unload()
    with changed(bench, changes):
        expected = bench.joint()
    return max(error(a, b) for a, b in zip(patched, expected, strict=True))


def try_loras(bench: Bench) -> dict[str, Any]:
    """Each spelling by our loader, and by the host's: the low-rank product and the output with it."""
    import comfy.lora
    import comfy.sd

    add_lora = sys.modules[f"{bench.pack}.nodes.adapter_lora"].add_lora
    weights = bench.model.model_state_dict(ROOT)
    files, changes, measured = {}, {}, {}
    for seed, (style, (part, name, down_name, up_name)) in enumerate(STYLES.items()):
        weight = weights[f"{ROOT}{part}.weight"]
        down, up = factors(weight.shape, seed)
        files[style] = {f"{name}.{down_name}": down, f"{name}.{up_name}": up, f"{name}.alpha": down.new_tensor(ALPHA)}
        changes[f"{part}.weight"] = product = (STRENGTH * ALPHA / RANK * up @ down).view(weight.shape)
        model, idle = add_lora(bench.model, files[style], STRENGTH)
        patches = model.patches[f"{ROOT}{part}.weight"]
        patched = comfy.lora.calculate_weight(patches, weight.clone(), part)
        measured[f"weight {style}"] = error(patched - weight, product)
        measured[f"alone {style}"] = (list(model.patches), idle) == ([f"{ROOT}{part}.weight"], [])
        if style in BY_HOST:
            model, _ = comfy.sd.load_lora_for_models(bench.model, None, files[style], STRENGTH, 0)
            patched = comfy.lora.calculate_weight(model.patches[f"{ROOT}{part}.weight"], weight.clone(), part)
            measured[f"weight by host {style}"] = error(patched - weight, product)
    everything = {key: tensor for file in files.values() for key, tensor in file.items()}
    model, idle = add_lora(bench.model, everything, STRENGTH)
    measured["all idle"] = idle
    before = bench.joint()
    measured["output changed"] = min(error(a, b) for a, b in zip(bench.joint(model)[:2], before[:2], strict=True))
    measured["output"] = compare(bench, model, changes)
    measured["taken off"] = max(error(a, b) for a, b in zip(bench.joint(), before, strict=True))
    return measured


def direct_changes(bench: Bench) -> tuple[dict[str, Any], dict[str, Any]]:
    """A file that changes parameters as they are, of every kind the model has, and what it adds to them."""
    import torch

    names = {
        "blocks.0.modulation": "diffusion_model.blocks.0.modulation.diff",
        "head.modulation": "diffusion_model.head.modulation.diff",
        "a2v_blocks.0.mask_head.modulation": "diffusion_model.a2v_blocks.0.mask_head.modulation.diff",
        "text_embedding.text_blocks.0.grn.gamma": "diffusion_model.text_embedding.text_blocks.0.grn.gamma.diff",
        "audio_blocks.1.norm3.weight": "diffusion_model.audio_blocks.1.norm3.diff",
        "blocks.1.self_attn.norm_q.weight": "diffusion_model.blocks.1.self_attn.norm_q.diff",
        "audio_blocks.1.ffn.0.bias": "diffusion_model.audio_blocks.1.ffn.0.diff_b",
    }
    weights = bench.model.model_state_dict(ROOT)
    generator = torch.Generator().manual_seed(0)
    file = {key: 0.5 * torch.randn(weights[ROOT + name].shape, generator=generator) for name, key in names.items()}
    return file, {name: STRENGTH * file[key] for name, key in names.items()}


def try_direct_changes(bench: Bench) -> dict[str, Any]:
    """Each kind of parameter by itself has its effect through the host's loader, and all of them together by ours."""
    import comfy.sd

    add_lora = sys.modules[f"{bench.pack}.nodes.adapter_lora"].add_lora
    file, changes = direct_changes(bench)
    before, measured = bench.joint(), {}
    for (name, change), (key, tensor) in zip(changes.items(), file.items(), strict=True):
        model, _ = comfy.sd.load_lora_for_models(bench.model, None, {key: tensor}, STRENGTH, 0)
        after = bench.joint(model)
        measured[f"acts {name}"] = max(error(a, b) for a, b in zip(after, before, strict=True))
        measured[f"direct {name}"] = compare(bench, model, {name: change})
    model, idle = add_lora(bench.model, file, STRENGTH)
    measured["direct idle"] = idle
    measured["direct all"] = compare(bench, model, changes)
    measured["direct taken off"] = max(error(a, b) for a, b in zip(bench.joint(), before, strict=True))
    return measured


def try_refusals(bench: Bench) -> dict[str, Any]:
    """What is said of files that do not fit."""
    import torch

    add_lora = sys.modules[f"{bench.pack}.nodes.adapter_lora"].add_lora
    shape = bench.model.model_state_dict(ROOT)[f"{ROOT}blocks.0.ffn.0.weight"].shape
    down, up = factors(shape, 0)
    pair = {"blocks.0.ffn.0.lora_down.weight": down, "blocks.0.ffn.0.lora_up.weight": up}
    strangers = {
        "blocks.0.cross_attn.k_img.lora_down.weight": down,  # of Wan2.1's image to video
        "blocks.0.ffn.0.lora_up.bias": up,  # an ending that the host does not know
        "blocks.1.ffn.0.lora_down.weight": down,  # half of a pair
        "blocks.2.ffn.0.alpha": down.new_tensor(1.0),  # of nothing
        "text_proj.diff_b": down[0],  # of a bias that is not there
        "lora_unet_blocks_0_ffn_0.lora_down.weight": down,  # said before
    }
    measured = {"left out": add_lora(bench.model, pair | strangers, 1.0)[1], "strangers": list(strangers)}
    both = pair | {"blocks.0.ffn.0.diff": torch.zeros(shape)}  # of which the host takes the second
    measured["replaced"] = add_lora(bench.model, both, 1.0)[1]
    loha = {f"blocks.0.ffn.0.hada_w{i}_{end}": x for i in "12" for end, x in (("a", up), ("b", down))}
    measured["loha"] = add_lora(bench.model, loha, 1.0)[1]
    for name, faint in (("untrained", 0.0), ("faint", 1e-4)):  # which fits all the same
        lokr = {
            "blocks.0.ffn.0.lokr_w1": faint * torch.ones(2, 2),
            "blocks.0.ffn.0.lokr_w2": faint * torch.ones(shape[0] // 2, shape[1] // 2),
        }
        measured[name] = add_lora(bench.model, {**loha, "blocks.0.ffn.0.hada_w2_a": faint * up}, 1.0)[1]
        measured[name] += add_lora(bench.model, lokr, 1.0)[1]
    bad = {
        "another size": {**pair, "blocks.0.ffn.0.lora_down.weight": torch.zeros(RANK, shape[1] + 1)},
        "another rank": {**pair, "blocks.0.ffn.0.lora_down.weight": torch.zeros(RANK + 1, shape[1])},
        "another modulation": {"blocks.0.modulation.diff": torch.zeros(1, 6, 5120)},
        "another loha": {**loha, "blocks.0.ffn.0.hada_w1_b": torch.zeros(RANK, shape[1] + 1)},
        "half a pair": {"blocks.0.ffn.0.lora_up.weight": up},
    }
    for name, file in bad.items():
        try:
            add_lora(bench.model, file, 1.0)
            measured[f"refused {name}"] = ""
        except ValueError as refusal:
            measured[f"refused {name}"] = str(refusal)
    return measured


def try_node(bench: Bench) -> dict[str, Any]:
    """A file that holds more than this model has, through the node."""
    import folder_paths
    from safetensors.torch import save_file

    down, up = factors(bench.model.model_state_dict(ROOT)[f"{ROOT}blocks.0.ffn.0.weight"].shape, 0)
    pair = {"blocks.0.ffn.net.0.proj.lora_A.weight": down, "blocks.0.ffn.net.0.proj.lora_B.weight": up}
    strangers = {f"blocks.0.attn2.add_{x}_proj.lora_{end}.weight": down for x in "kvw" for end in "AB"}
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.add_model_folder_path("loras", folder)
        save_file(
            {f"transformer.{name}": x.clone() for name, x in (pair | strangers).items()}, f"{folder}/w.safetensors"
        )
        for choice in ("refuse", "leave out"):
            try:
                model, left = bench.node(
                    "Lora", model=bench.model, lora="w.safetensors", strength=1.0, unknown_keys=choice
                )
                measured[f"node {choice}"] = [list(model.patches), left.splitlines()]
            except ValueError as refusal:
                measured[f"node {choice}"] = str(refusal)
    return measured


def main() -> None:
    nodes, pack = load_host(*sys.argv[1:3])
    import torch

    with torch.inference_mode():
        bench = Bench(nodes, pack)
        parts = (try_loras, try_direct_changes, try_refusals, try_node)
        measured = {name: value for part in parts for name, value in part(bench).items()}
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
