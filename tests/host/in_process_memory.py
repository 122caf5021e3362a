"""Runs inside the host's Python: what is held during and after runs, and weights that are not all loaded, as JSON on
the last line.

python in_process_memory.py COMFYUI_FOLDER PACK_FOLDER
"""

from __future__ import annotations

import gc
import json
import sys
from contextlib import contextmanager
from typing import Any

from in_process import STEPS, Bench, error, load_host
from in_process_weights import STRENGTH, STYLES, direct_changes, factors, unload

RUNS = 10


def held(bench: Bench) -> dict[str, int]:
    """Tensors that are alive, their bytes, and what a run keeps for its steps."""
    import psutil
    import torch

    gc.collect()
    prepared = bench.core("model.prepared").Prepared
    kept = sys.modules[f"{bench.pack}.nodes.adapter_conditioning"].Kept
    objects = gc.get_objects()
    tensors = [x for x in objects if issubclass(type(x), torch.Tensor)]
    return {
        "tensors": len(tensors),
        "bytes": sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}.values()),
        "kept": sum(issubclass(type(x), (prepared, kept)) for x in objects),
        "resident": psutil.Process().memory_info().rss,
    }


def apart(a: Any, b: Any) -> float:
    """The largest relative error between two results."""
    return max(error(x, y) for x, y in zip(a, b, strict=True))


def run_again(bench: Bench) -> dict[str, Any]:
    bench.joint()
    return {"runs": [(bench.joint(), held(bench))[1] for _ in range(RUNS)]}


def run_out_of_memory(bench: Bench) -> dict[str, Any]:
    """The second step breaks inside an attention."""
    import comfy.model_management
    import torch

    expected, before = bench.joint(), held(bench)
    model, calls = bench.model.clone(), []

    def attention(function, *inputs, **named):
        calls.append(1)
        options = named["transformer_options"]
        if options["sigmas"][0] < options["sample_sigmas"][0]:
            raise torch.cuda.OutOfMemoryError("no memory is left")
        return function(*inputs, **named)

    model.model_options["transformer_options"]["optimized_attention_override"] = attention
    out_of_memory = False
    try:
        bench.joint(model)
    except comfy.model_management.OOM_EXCEPTION:
        out_of_memory = True
    del model, attention
    after = held(bench)
    entries = [entry for _, entry in (*bench.positive, *bench.negative)]
    return {
        "out of memory": out_of_memory and len(calls) > 10,
        "before": before,
        "after": after,
        "left in conditionings": sum("uniavgen_kept" in entry for entry in entries),
        "afterwards": apart(bench.joint(), expected),
    }


def estimates(bench: Bench) -> dict[str, Any]:
    """What the host asks `memory_required`, what it is told, and what the run holds."""
    sys.path.append(str(next(iter(sys.modules[bench.pack].__path__))))
    from comfy.ldm.modules.attention import attention_pytorch

    from benchmarks.memory import Held

    model, asked, told = bench.model.clone(), [], []
    options = model.model_options["transformer_options"]
    options["optimized_attention_override"] = lambda _, *inputs, **named: attention_pytorch(*inputs, **named)
    cls = type(model.model)
    original = cls.memory_required

    def memory_required(self, input_shape, cond_shapes=None):
        asked.append(list(input_shape))
        told.append(original(self, input_shape, cond_shapes))
        return told[-1]

    cls.memory_required = memory_required
    try:
        with Held() as counted:
            bench.joint(model)
    finally:
        cls.memory_required = original
    numbers = sum(part[0].numel() for part in bench.latent["samples"].unbind())
    return {
        "asked": asked[:2],  # before the run, for two passes at once and for one
        "packed": numbers,
        "told": told[:2],
        "held": counted.peak,
    }


@contextmanager
def partly_loaded(share: float):
    """The host loads that share of the weights, as it does on a GPU with too little memory."""
    from comfy.model_patcher import ModelPatcher

    original = ModelPatcher.load

    def load(self, device_to=None, lowvram_model_memory=0, force_patch_weights=False, full_load=False):
        return original(self, device_to, share * self.model_size(), force_patch_weights, False)

    ModelPatcher.load = load
    unload()
    try:
        yield
    finally:
        unload()
        ModelPatcher.load = original


def load_partly(bench: Bench) -> dict[str, Any]:
    """Results with few of the weights loaded, plain and with LoRAs, against those with all of them."""
    import comfy.model_management

    add_lora = sys.modules[f"{bench.pack}.nodes.adapter_lora"].add_lora
    weights, file = bench.model.model_state_dict("diffusion_model."), {}
    for seed, (part, name, down, up) in enumerate(STYLES.values()):
        pair = factors(weights[f"diffusion_model.{part}.weight"].shape, seed)
        file |= {f"{name}.{end}": factor for end, factor in zip((down, up), pair, strict=True)}
    models = {"plain": bench.model, "lora": add_lora(bench.model, file, STRENGTH)[0]}
    models["direct"] = add_lora(bench.model, direct_changes(bench)[0], STRENGTH)[0]
    measured = {}
    for name, model in models.items():
        whole = bench.joint(model)
        for share in (0.0, 0.5):
            with partly_loaded(share):
                measured[f"part {name} {share}"] = apart(bench.joint(model), whole)
                measured[f"is part {name} {share}"] = model.model.model_lowvram
        measured[f"whole again {name}"] = apart(bench.joint(model), whole)
    state = comfy.model_management.vram_state
    expected = bench.joint()
    try:
        for name in ("LOW_VRAM", "NO_VRAM"):
            comfy.model_management.vram_state = comfy.model_management.VRAMState[name]
            measured[f"part {name}"] = apart(bench.joint(), expected)
    finally:
        comfy.model_management.vram_state = state
    return measured


def load_anew(bench: Bench) -> dict[str, Any]:
    """What dynamic memory does: weights assigned as they lie in the file, and the model again without it."""
    import comfy.model_patcher

    expected = bench.joint()
    make, arguments = bench.model.cached_patcher_init
    measured = {"without dynamic memory": apart(bench.joint(make(*arguments, disable_dynamic=True)), expected)}

    class Dynamic(comfy.model_patcher.ModelPatcher):
        def is_dynamic(self):
            return True

    there = hasattr(comfy.model_patcher, "CoreModelPatcher")
    before = getattr(comfy.model_patcher, "CoreModelPatcher", None)
    comfy.model_patcher.CoreModelPatcher = Dynamic
    try:
        model = make(*arguments) if there else bench.model.clone()
    finally:
        comfy.model_patcher.CoreModelPatcher = before
        if not there:
            del comfy.model_patcher.CoreModelPatcher
    measured["was assigned"] = isinstance(model, Dynamic) or not there
    model.__class__ = comfy.model_patcher.ModelPatcher  # its loading needs a GPU
    measured["assigned"] = apart(bench.joint(model), expected)
    return measured


def main() -> None:
    nodes, pack = load_host(*sys.argv[1:3])
    import torch

    with torch.inference_mode():
        bench = Bench(nodes, pack)
        parts = (run_again, run_out_of_memory, estimates, load_partly, load_anew)
        measured = {name: value for part in parts for name, value in part(bench).items()}
    print(json.dumps(measured | {"steps": STEPS}))


if __name__ == "__main__":
    main()
