"""Lets something happen in the middle of a stage of a run, and counts what the process holds.

Also as host nodes, copied beside the pack: what happens is armed there, and what came out is told to the last bit.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import sys
import threading
from collections.abc import Callable
from typing import Any

import torch

# stage: module, function in it, and in which of its next calls something happens
STAGES = {
    "load": ("uniavgen_core.tiny.load", "load_part", 2),
    "encode": ("uniavgen_core.tiny.vae", "TinyVAE.encode", 1),
    "sample": ("uniavgen_core.model.blocks", "Block.forward", 20),  # 12 a pass
    "decode": ("uniavgen_core.tiny.vae", "TinyVAE.draw", 2),
    "sound": ("uniavgen_core.tiny.vocoder", "TinyVocoder.decode", 1),
    "mux": ("uniavgen_core.video.mux", "_frame", 3),
}
MUCH = 2**46  # bytes, more than any process can have
disarm: Callable[[], None] = lambda: None  # noqa: E731


def arm(stage: str, act: Callable[[], object]) -> None:
    """From now on ``act`` is called once, in the middle of that stage. What was armed before no longer is."""
    global disarm
    disarm()
    module, path, wanted = STAGES[stage]
    *holders, name = path.split(".")
    owner = next(loaded for known, loaded in list(sys.modules.items()) if f".{known}".endswith(f".{module}"))
    owner = functools.reduce(getattr, holders, owner)
    original, calls = getattr(owner, name), []

    @functools.wraps(original)
    def faulty(*inputs: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == wanted:
            disarm()
            act()
        return original(*inputs, **named)

    def restore() -> None:
        global disarm
        setattr(owner, name, original)
        disarm = lambda: None  # noqa: E731

    setattr(owner, name, faulty)
    disarm = restore


def no_memory() -> None:
    """PyTorch's own refusal, as its allocator words it."""
    torch.empty(MUCH, dtype=torch.uint8)


def no_gpu_memory() -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def broken() -> None:
    raise RuntimeError("it broke")


def cancel() -> None:
    import nodes

    nodes.interrupt_processing(True)


ACTS = {"cancel": cancel, "memory": no_memory, "GPU memory": no_gpu_memory, "error": broken}


def held() -> dict[str, int]:
    """Tensors that are alive, their bytes, those on a GPU, and threads of the pack."""
    gc.collect()
    tensors = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}
    return {
        "tensors": len(tensors),
        "bytes": sum(storages.values()),
        "GPU": torch.cuda.memory_allocated(),
        "threads": sum("uniavgen" in thread.name for thread in threading.enumerate()),
    }


class Fault:
    """A number that is always new to the host, so that what it goes into runs again; with a stage, its fault."""

    RETURN_TYPES = ("INT",)
    FUNCTION = "arm"
    CATEGORY = "test"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"number": ("INT", {"max": 2**63}), "stage": ("STRING", {}), "act": ("STRING", {})}}

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def arm(self, number, stage, act):
        if stage:
            arm(stage, ACTS[act])
        return {"ui": {}, "result": (number,)}


class Seen:
    """What was made, as a checksum of all its numbers."""

    RETURN_TYPES = ()
    FUNCTION = "see"
    CATEGORY = "test"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",), "audio": ("AUDIO",)}}

    def see(self, images, audio):
        numbers = images.float().cpu().numpy().tobytes() + audio["waveform"].float().cpu().numpy().tobytes()
        return {"ui": {"sha256": [hashlib.sha256(numbers).hexdigest()]}}


class Held:
    """What the host's process holds now, with its resident bytes."""

    RETURN_TYPES = ()
    FUNCTION = "count"
    CATEGORY = "test"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def count(self):
        import psutil

        return {"ui": {"held": [{**held(), "resident": psutil.Process().memory_info().rss}]}}


NODE_CLASS_MAPPINGS = {"UniAVGenTestFault": Fault, "UniAVGenTestSeen": Seen, "UniAVGenTestHeld": Held}
