"""Runs inside the host's Python: every node of the pack on good, bad and foreign inputs, as JSON on the last line.

python in_process_inputs.py COMFYUI_FOLDER PACK_FOLDER

What is tried follows from the nodes' own schemas, so that a new input is tried as well.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from in_process import RELEASE, Bench, load_host

NAN, INFINITE = float("nan"), float("inf")
NUMBERS = {"FLOAT": (NAN, INFINITE, -INFINITE, 1e300), "INT": (-(2**63), -1, 0, 2**64)}
TEXTS = ("nan", "inf", "1e3", "abc", "", None)
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


class Anything:
    """A host node whose output fits every socket."""

    RETURN_TYPES = ("*",)
    FUNCTION = "make"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}


def good_inputs(bench: Bench) -> dict[str, dict[str, Any]]:
    """Inputs of every node that takes more than choices, by its name and what is special about them."""
    import torch
    from comfy_api.latest import InputImpl, Types

    said = {"clip": bench.clip, "caption": "a face", "speech": "Hello.", "language": "auto"}
    plain, voiced = bench.node("TextEncode", **said), bench.node("TextEncode", **said, transcript="As I said.")
    sound = {"waveform": torch.sin(torch.arange(2 * 17_000).reshape(1, 2, -1) * 0.05), "sample_rate": 22_050}
    pictures = torch.linspace(0, 1, 24).view(-1, 1, 1, 1).expand(-1, 96, 64, 3).clone()
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=pictures, audio=sound, frame_rate=25))

    def conditions(texts: tuple[Any, ...], **given: Any) -> dict[str, Any]:
        return {**bench.given, "positive": texts[0], "negative": texts[1], **given}

    def sampled(positive: Any, negative: Any, latent: Any, **rest: Any) -> dict[str, Any]:
        told = {"model": bench.model, "positive": positive, "negative": negative, "latent": latent}
        return {**told, "seed": 3, "steps": 2, "shift": 5.0, "sampler": "euler", **RELEASE, **rest}

    drawn = sampled(bench.positive, bench.negative, bench.latent)
    latent, mask = bench.node("JointSampler", **drawn)
    further = conditions(plain, earlier_latent=latent, continued_latents=2)
    later, _ = bench.node("JointSampler", **sampled(*bench.node("Conditions", **further)))
    images, next_images = (bench.vae.decode(x["samples"].unbind()[0])[0] for x in (latent, later))
    vocoder = bench.node("Load", file="tiny (built in)", weight_dtype="fp32")[3]
    (heard,) = bench.node("VocosDecode", latent=latent, vocoder=vocoder)
    asked = {"service": "gemini", "model": "any", "endpoint": "", "key_variable": "", "form": "frames", "send": False}
    guided = {"model": bench.model, "positive": bench.positive, "negative": bench.negative}
    return {
        "TextEncode": {**said, "transcript": ""},
        "Conditions": conditions(plain),
        "Conditions voice": conditions(voiced, reference_voice=sound),
        "Conditions audio": conditions(plain, driving_audio=sound, as_long_as_given=True),
        "Conditions dub": conditions(plain, video=video, as_long_as_given=True),
        "Conditions video": conditions(plain, earlier_video=video, continued_latents=2),
        "Conditions latent": further,
        "Schedule": {"steps": 3, "shift": 5.0},
        "Guider": {**guided, **RELEASE},
        "JointSampler": drawn,
        "JointSampler ancestral": {**drawn, "sampler": "euler_ancestral"},
        "LongSampler": {**drawn, "vae": bench.vae, "window": 9, "overlap": 1},
        "VocosDecode": {"latent": latent, "vocoder": vocoder},
        "Mux": {"images": images, "audio": heard, "fps": 16.0},
        "Mux dub": {"source": video, "audio": heard, "fps": 16.0, "original_level": 0.5},
        "Mux earlier": {"images": next_images, "audio": heard, "fps": 16.0, "earlier": video, "latent": later},
        "FaceMaskOverlay": {"images": images, "mask": mask, "strength": 0.5},
        "MelPicture": {"latent": latent, "speech": "Hello."},
        "Lora": {"model": bench.model, "lora": "small.safetensors", "strength": 1.0, "unknown_keys": "refuse"},
        "Judge": {**asked, "video": video, "runs": 2},
    }


def foreign_parts() -> dict[str, list[Any]]:
    """Parts of other families, by socket."""
    import torch
    from comfy.nested_tensor import NestedTensor

    def latent(*shapes: tuple[int, ...]) -> dict[str, Any]:
        parts = [torch.zeros(shape) for shape in shapes]
        return {"samples": parts[0] if len(parts) == 1 else NestedTensor(parts)}

    class OtherModel:
        pass

    clip = SimpleNamespace(tokenize=str, encode_from_tokens_scheduled=lambda _: [[torch.zeros(1, 77, 768), {}]])
    return {
        "MODEL": [SimpleNamespace(model=OtherModel())],
        "CLIP": [clip],
        "VAE": [SimpleNamespace(latent_channels=16), SimpleNamespace()],
        "CONDITIONING": [[[torch.zeros(1, 77, 768), {"pooled_output": None}]]],
        "LATENT": [
            latent((1, 4, 8, 8)),  # Stable Diffusion
            latent((1, 48, 2, 4, 4)),  # Wan2.2 without sound
            latent((1, 64, 1024)),  # Stable Audio
            latent((1, 128, 2, 4, 4), (1, 8, 31, 16)),  # LTX-2
            latent((1, 16, 2, 4, 4), (1, 80, 31)),  # Wan2.1's pictures
            latent((2, 48, 2, 4, 4), (1, 80, 31)),
        ],
    }


def schema(bench: Bench) -> dict[str, dict[str, str]]:
    """The type of every input of every node, by the node's name."""
    found = {}
    for node_id, node in bench.nodes.items():
        if node_id.startswith("UniAVGen"):
            groups = node.INPUT_TYPES()
            inputs = {**groups.get("required", {}), **groups.get("optional", {})}
            found[node_id.removeprefix("UniAVGen")] = {
                name: "COMBO" if isinstance(kind, list) else kind for name, (kind, *_) in inputs.items()
            }
    return found


def outcome(bench: Bench, key: str, inputs: dict[str, Any]) -> tuple[str, str]:
    """How a node ends: "ran" or the kind of error, and its message."""
    try:
        bench.node(key.split()[0], **inputs)
    except Exception as error:
        return type(error).__name__, str(error)
    return "ran", ""


def as_widget(bench: Bench, node: str, kinds: dict[str, str], inputs: dict[str, Any]) -> tuple[list[str], Any]:
    """What the host says to a prompt with these values, all sockets linked, and the inputs as it has read them."""
    import execution

    sent = {name: value if kinds[name] in WIDGETS else ["anything", 0] for name, value in inputs.items()}
    prompt = {
        "anything": {"class_type": "Anything", "inputs": {}},
        "node": {"class_type": f"UniAVGen{node}", "inputs": sent},
    }
    _, errors, _ = asyncio.run(execution.validate_inputs("prompt", prompt, "node", {}))
    return [f"{error['message']}: {error['details']}" for error in errors], prompt["node"]["inputs"]


def try_numbers(bench: Bench, good: dict[str, dict[str, Any]], kinds: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Every number input with values that are none or far away, over a link and as a widget; and with text."""
    linked, widgets, texts = [], [], []
    for key, inputs in good.items():
        node = key.split()[0]
        for name, kind in kinds[node].items():
            for value in NUMBERS.get(kind, ()):
                linked.append((key, name, kind, value, *outcome(bench, key, {**inputs, name: value})))
            if kind in NUMBERS and key == node:
                default = inputs.get(name, 1)
                for value in (*NUMBERS[kind], default):
                    told, _ = as_widget(bench, node, kinds[node], {**inputs, name: value})
                    widgets.append((node, name, value, value == default, told))
                for text in (*TEXTS, str(default)):
                    told, read = as_widget(bench, node, kinds[node], {**inputs, name: text})
                    texts.append((node, name, kind, text, told, read[name], default))
    return {"linked": linked, "widgets": widgets, "texts": texts}


def try_foreign(bench: Bench, good: dict[str, dict[str, Any]], kinds: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Every socket with parts of other families."""
    foreign = foreign_parts()
    sockets = {
        (key.split()[0], name): (key, inputs)
        for key, inputs in reversed(good.items())
        for name, kind in kinds[key.split()[0]].items()
        if kind in foreign and name in inputs
    }
    return {
        "foreign": [
            (node, name, number, *outcome(bench, key, {**inputs, name: part}))
            for (node, name), (key, inputs) in sockets.items()
            for number, part in enumerate(foreign[kinds[node][name]])
        ]
    }


def leaves(value: Any, place: str = "", seen: frozenset[int] = frozenset()) -> Iterator[tuple[str, Any]]:
    """All tensors, numbers and texts in a value, with where they are."""
    import torch
    from comfy.model_patcher import ModelPatcher

    if id(value) in seen:
        return
    seen |= {id(value)}
    if isinstance(value, ModelPatcher):
        value = {"weights": value.model.state_dict(), "patches": value.patches, "options": value.model_options}
    elif isinstance(value, torch.nn.Module):
        value = value.state_dict()
    elif getattr(value, "is_nested", False):
        value = list(value.unbind())
    if isinstance(value, torch.Tensor):
        yield place, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from leaves(part, f"{place}.{name}", seen)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from leaves(part, f"{place}[{index}]", seen)
    elif isinstance(value, int | float | str | None):
        yield place, value
    elif hasattr(value, "__dict__") and not inspect.isroutine(value) and not inspect.isclass(value):
        yield from leaves(vars(value), f"{place}<{type(value).__name__}>", seen)


def snapshot(value: Any) -> dict[str, Any]:
    return {place: x.clone() if hasattr(x, "clone") else x for place, x in leaves(value)}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Where two snapshots differ, to the last bit."""
    import torch

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a, b)
        return type(a) is type(b) and a == b

    return [x for x in {**before, **after} if x not in before or x not in after or not same(before[x], after[x])]


def run_twice(bench: Bench, good: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a node has changed of its inputs, and how its second result differs from its first, on the same inputs."""
    measured = {}
    for key, inputs in good.items():
        before = snapshot(inputs)
        first = snapshot(bench.node(key.split()[0], **inputs))
        second = snapshot(bench.node(key.split()[0], **inputs))
        tensors = sum(hasattr(x, "clone") for x in before.values())
        measured[key] = (differences(before, snapshot(inputs)), differences(first, second), tensors, len(first))
    return {"twice": measured}


def replace_files(bench: Bench, folder: Path) -> dict[str, Any]:
    """What the loaders tell the host of a file: as it is, again, replaced, and deleted."""
    files = sys.modules[f"{bench.pack}.nodes.files"]
    index = files.as_index("diffusion_pytorch_model-00001-of-00002.safetensors")
    config = folder / "code2wav_bigvgan_model" / "config.json"
    config.parent.mkdir()
    config.write_text('{"model_type": "qwen2_5_omni_bigvgan"}')
    (folder / index).write_text("{}")
    sources = {
        "Load": ({"file": "own.safetensors"}, folder / "own.safetensors"),
        "Load shards": ({"file": index}, folder / "diffusion_pytorch_model-00001-of-00002.safetensors"),
        "Load published": ({"file": files.PUBLISHED}, folder / "diffusion_pytorch_model-00001-of-00002.safetensors"),
        "Lora": ({"lora": "other.safetensors"}, folder / "other.safetensors"),
        "VocoderLoad": ({"folder": config.parent.name, "hub_id": ""}, config.parent / "model.safetensors"),
    }
    told = {}
    for key, (inputs, path) in sources.items():
        ask = bench.nodes[f"UniAVGen{key.split()[0]}"].fingerprint_inputs
        path.write_bytes(b"one")
        states = [ask(**inputs), ask(**inputs)]
        path.write_bytes(b"another")
        states.append(ask(**inputs))
        path.unlink()
        told[key] = [*states, ask(**inputs)]
    return {"fingerprints": told}


def main() -> None:
    nodes, pack = load_host(*sys.argv[1:3])
    import folder_paths
    import torch
    from safetensors.torch import save_file

    nodes["Anything"] = Anything
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        for kind in ("loras", "uniavgen"):
            folder_paths.add_model_folder_path(kind, folder)
        layer = "diffusion_model.blocks.0.ffn.0"
        factors = {f"{layer}.lora_A.weight": torch.ones(4, 192), f"{layer}.lora_B.weight": torch.ones(320, 4)}
        save_file(factors, Path(folder, "small.safetensors"))
        bench = Bench(nodes, pack)
        good, kinds = good_inputs(bench), schema(bench)
        measured = {
            "schema": kinds,
            **run_twice(bench, good),
            **try_numbers(bench, good, kinds),
            **try_foreign(bench, good, kinds),
            **replace_files(bench, Path(folder)),
        }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
