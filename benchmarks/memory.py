"""What a run needs beside the weights, by size and length of the clip: ``python benchmarks/memory.py --help``.

The estimate is that of `uniavgen_core.model.memory`, which says how it is derived; the host plans its memory by it. It
is held against a count: the model runs on PyTorch's meta device, where tensors have sizes and no contents, and
everything alive is added up after each operation. So tables for the release's 7 B need neither a GPU nor its weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if __name__ == "__main__":  # as a script, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cases import SPEECH_TOKENS, TASKS, TIME, Size, Task, make_inputs
from uniavgen_core.config import RELEASE
from uniavgen_core.geometry import SPATIAL_STRIDE, ClipLength
from uniavgen_core.model import JointModel
from uniavgen_core.model.memory import Estimate, Run

RESULTS = Path(__file__).with_name("MEMORY.md")
SIZES = ((320, 576), (480, 832), (544, 960), (736, 1312))  # pixels
FRAMES = (33, 81, 161)
TABLES = ("joint", "dubbing", "audio-driven")


class Held(TorchDispatchMode):
    """Bytes of tensors made inside it: now, and at their most."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[StorageWeakRef, int] = {}
        self.peak = 0

    @property
    def now(self) -> int:
        self.alive = {ref: size for ref, size in self.alive.items() if not ref.expired()}
        return sum(self.alive.values())

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        known = {StorageWeakRef(x.untyped_storage()) for x in tree_leaves((arguments, named)) if torch.is_tensor(x)}
        result = function(*arguments, **(named or {}))
        for x in tree_leaves(result):
            if torch.is_tensor(x):
                ref = StorageWeakRef(x.untyped_storage())
                if ref not in known:
                    self.alive[ref] = x.untyped_storage().nbytes()
        self.peak = max(self.peak, self.now)
        return result


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """As a kernel that holds nothing but its result."""
    return torch.empty_like(q)


def counted(size: Size, task: Task, dtype: torch.dtype, texts: int = 2) -> int:
    """Bytes held at the fullest moment of a run: preparation for each text, and a pass with each."""
    model = JointModel(size.config, device="meta", dtype=dtype)
    latent, conditions, _ = make_inputs(size, task, "meta")
    latent, time = latent.map(lambda x: x.to(dtype)), TIME.to("meta")
    with torch.no_grad(), Held() as held:
        kept = []
        for _ in range(texts):
            kept.append(model.prepare(latent, conditions, attention=attention))
            model(latent, time, conditions, prepared=kept[-1], attention=attention)
    return held.peak


def estimated(size: Size, task: Task, dtype: torch.dtype, texts: int = 2) -> int:
    """The same by the formula."""
    run = Run(
        size.latents,
        size.height,
        size.width,
        size.tokens,
        speech=SPEECH_TOKENS,
        still_video=task.video,
        still_audio=task.audio,
        interaction=task.interaction,
    )
    estimate = Estimate(size.config, run, dtype.itemsize)
    return estimate.of_pass() + texts * estimate.of_kept()


def table(name: str, dtype: torch.dtype) -> str:
    """Markdown: resolution x frames -> estimate, and what was counted."""
    head = ["", *(f"{frames} frames" for frames in FRAMES)]
    lines = [head, ["---"] * len(head)]
    for height, width in SIZES:
        cells = []
        for frames in FRAMES:
            size = Size(RELEASE, ClipLength(frames).latents, height // SPATIAL_STRIDE, width // SPATIAL_STRIDE)
            numbers = (f(size, TASKS[name], dtype) / 1e9 for f in (estimated, counted))
            cells.append("{:.1f} GB ({:.1f})".format(*numbers))
        lines.append([f"{width} x {height}", *cells])
    return "\n".join([f"## {name}", "", *("| " + " | ".join(line) + " |" for line in lines)])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Writes tables of the memory a run of the released model needs.")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--write", action="store_true", help=f"into {RESULTS.name}")
    options = parser.parse_args(arguments)
    dtype = getattr(torch, options.dtype)
    texts = [
        "# Memory of a run",
        f"What the released model needs beside its weights, computing in {options.dtype}: the estimate by which "
        "ComfyUI plans, and in brackets what a run without contents counts at its fullest. Both hold what the steps "
        "share for two texts, positive and negative. How the estimate is derived stands in "
        "`uniavgen_core/model/memory.py`; `python benchmarks/memory.py --write` makes the tables anew, without a GPU.",
        "The weights take 14.1 GB more in bfloat16 and 7.1 GB in fp8, less what ComfyUI leaves in the computer's "
        "memory. With --lowvram and --novram, what the steps share waits there too.",
        *(table(name, dtype) for name in TABLES),
    ]
    text = "\n\n".join(texts) + "\n"
    print(text, end="")
    if options.write:
        RESULTS.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
