"""Runs inside the host's Python: what the pack changes in its process, what works without optional packages, and
attention without the kernels of a GPU, as JSON on the last line.

python in_process_life.py COMFYUI_FOLDER PACK_FOLDER VOCODERS [PACKAGE TO HIDE ...]

VOCODERS: a folder with a BigVGAN in "bigvgan" and a Vocos in "vocos"
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder
from typing import Any

from global_state import changed, state
from in_process import Bench, error, import_host, load_pack

ATTENTIONS = ("basic", "split", "sub_quad", "pytorch")


class Hidden(MetaPathFinder):
    """Packages that this process does not find."""

    def __init__(self, names: list[str]):
        self.names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if any(f"{name}.".startswith(f"{hidden}.") for hidden in self.names):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def try_jobs(bench: Bench, vocoders: str) -> dict[str, str]:
    """What each kind of work says: nothing, or why it cannot be done."""
    import torch

    adapter = bench.core("vocoder")
    sound = {"waveform": torch.sin(torch.arange(24_000) * 0.05)[None, None], "sample_rate": 24_000}

    def text(speech: str, transcript: str = "") -> tuple[Any, ...]:
        told = {"caption": "a face", "speech": speech, "language": "auto", "transcript": transcript}
        return bench.node("TextEncode", clip=bench.clip, **told)

    jobs = {
        "English": lambda: text("Hello."),
        "Chinese": lambda: text("你好."),
        "voice": lambda: bench.conditions(text("Hello.", "Hm."), reference_voice=sound),
        "sample": lambda: bench.joint(),
        "sound": lambda: bench.node("VocosDecode", latent=bench.latent, vocoder=bench.vocoder),
        "Vocos": lambda: adapter.load_vocoder(f"{vocoders}/vocos"),
        "BigVGAN": lambda: adapter.load_vocoder(f"{vocoders}/bigvgan"),
    }
    said = {}
    for name, job in jobs.items():
        try:
            job()
            said[name] = ""
        except (ValueError, ImportError) as refusal:
            said[name] = str(refusal)
    return said


def compare_attentions(bench: Bench) -> dict[str, float]:
    """Each of the host's own kinds against its choice for this machine."""
    import comfy.ldm.modules.attention as attention

    expected, measured = bench.joint(), {}
    for name in ATTENTIONS:
        model, function = bench.model.clone(), getattr(attention, f"attention_{name}")
        options = model.model_options["transformer_options"]
        options["optimized_attention_override"] = lambda _, *inputs, function=function, **named: function(
            *inputs, **named
        )
        measured[name] = max(error(x, y) for x, y in zip(bench.joint(model), expected, strict=True))
    return measured


def main(folder: str, pack: str, vocoders: str, *hidden: str) -> dict[str, Any]:
    import_host(folder)
    import server  # noqa: F401 (which the host has before any pack)

    sys.meta_path.insert(0, Hidden(list(hidden)))
    before = state()
    nodes, name = load_pack(pack)
    measured: dict[str, Any] = {
        "nodes": len([known for known in nodes if known.startswith("UniAVGen")]),
        "changed by import": changed(before),
    }
    import torch
    from tqdm import tqdm

    with suppress(ModuleNotFoundError):
        import jieba  # noqa: F401 (loads pkg_resources, which adds a finder and a filter)
    tqdm(range(1)).close()  # which starts its monitor
    with torch.inference_mode():
        before = state()
        bench = Bench(nodes, name)
        measured["jobs"] = try_jobs(bench, vocoders)
        measured["changed by runs"] = changed(before)
        measured["attentions"] = {} if hidden else compare_attentions(bench)
    return measured


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
