"""Runs inside the host's Python: LoRA files of any content, as JSON on the last line.

python in_process_loras.py COMFYUI_FOLDER PACK_FOLDER
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

from in_process import Bench, load_host

TRIALS = 300
ROOT = "diffusion_model."
PARTS = ("blocks.0.ffn.0", "blocks.0.self_attn.q", "blocks.0.modulation", "patch_embedding", "head.head", "nothing")
ENDINGS = (
    *("lora_up.weight", "lora_down.weight", "lora_mid.weight", "lora_A.weight", "lora_B.weight", "alpha", "dora_scale"),
    *("diff", "diff_b", "set_weight", "w_norm", "b_norm", "reshape_weight", "bogus"),
    *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    *("lokr_w1", "lokr_w2", "lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    *("a1.weight", "a2.weight", "b1.weight", "b2.weight", "oft_blocks", "oft_diag", "rescale"),
)


def any_file(chance: random.Random, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """A whole pair with some of its tensors replaced, or any tensors by the names that the host knows."""
    import torch

    part = chance.choice(PARTS)
    rows, columns = (*shapes.get(f"{part}.weight", (8, 8)), 1)[:2]
    sides = (0, 1, 2, 4, rows, columns, rows + 1)

    def tensor() -> Any:
        shape = [chance.choice(sides) for _ in range(chance.choice((0, 1, 2, 2, 2, 3, 4, 5)))]
        dtype = chance.choice((torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int8, torch.bool))
        return torch.ones([min(side, 16) for side in shape] if len(shape) > 2 else shape).to(dtype)

    file = {}
    if chance.random() < 0.5:
        file = {f"{part}.lora_down.weight": torch.ones(4, columns), f"{part}.lora_up.weight": torch.ones(rows, 4)}
    for _ in range(chance.randint(1, 5)):
        file[f"{part}.{chance.choice(ENDINGS)}"] = tensor()
    if chance.random() < 0.2:
        file.pop(chance.choice(sorted(file)))
    return file


def try_any_file(bench: Bench) -> dict[str, Any]:
    """Each is refused with a sentence, or added so that the host can compute every changed weight."""
    import comfy.lora

    add_lora = sys.modules[f"{bench.pack}.nodes.adapter_lora"].add_lora
    weights = bench.model.model_state_dict(ROOT)
    shapes = {name.removeprefix(ROOT): tuple(weight.shape) for name, weight in weights.items()}
    refused, added, broken = 0, 0, []
    for seed in range(TRIALS):
        file = any_file(random.Random(seed), shapes)
        told = {key: f"{tensor.dtype} {list(tensor.shape)}" for key, tensor in file.items()}
        try:
            model, idle = add_lora(bench.model, file, 1.0)
        except ValueError as refusal:
            refused += 1
            if not str(refusal).startswith("the LoRA "):
                broken.append([seed, told, repr(refusal)])
            continue
        except Exception as failure:
            broken.append([seed, told, repr(failure)])
            continue
        added += 1
        if not set(idle) <= set(file):
            broken.append([seed, told, f"left out: {idle}"])
        for name, patches in model.patches.items():
            weight = comfy.lora.calculate_weight(patches, weights[name].clone().float(), name)
            if weight.shape != weights[name].shape or not weight.isfinite().all():
                broken.append([seed, told, f"{name} becomes {list(weight.shape)}"])
    return {"refused": refused, "added": added, "broken": broken}


def main() -> None:
    nodes, pack = load_host(*sys.argv[1:3])
    import torch

    with torch.inference_mode():
        bench = Bench(nodes, pack)
        before = {name: weight.clone() for name, weight in bench.model.model_state_dict(ROOT).items()}
        measured = try_any_file(bench)
        after = bench.model.model_state_dict(ROOT)
        measured["changed"] = [name for name, weight in before.items() if not torch.equal(weight, after[name])]
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
