"""Runs inside the host's Python: the pack's nodes against the core's own sampler, as JSON on the last line.

python in_process.py COMFYUI_FOLDER PACK_FOLDER
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

STEPS, SHIFT, SEED = 6, 5.0, 7
RELEASE = {"s_v": 3.0, "s_a": 2.0, "start": 0.0, "end": 0.5, "unit": "steps", "outside": "plain", "skip_layer": "auto"}
PAPER = {**RELEASE, "start": 1.0, "end": 0.5, "unit": "t", "outside": "none", "skip_layer": "none"}


def load_host(folder: str, pack: str) -> tuple[dict[str, Any], str]:
    """Imports the host, on the CPU, and loads the pack as the host does. Returns all nodes and the pack's name."""
    import_host(folder)
    return load_pack(pack)


def import_host(folder: str) -> None:
    sys.argv = ["main.py", "--cpu"]
    sys.path = [folder, *(path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent)]
    os.chdir(folder)
    import comfy.options

    comfy.options.enable_args_parsing()
    import utils.extra_config  # noqa: F401 (before 0.33 it must come before nodes)

    import nodes  # noqa: F401


def load_pack(pack: str) -> tuple[dict[str, Any], str]:
    """All nodes, and the name under which the pack is known."""
    import nodes

    assert asyncio.run(nodes.load_custom_node(pack))
    name = nodes.NODE_CLASS_MAPPINGS["UniAVGenLoad"].__module__.removesuffix(".nodes.load")
    assert "uniavgen_core" not in sys.modules  # only as a part of the pack
    return nodes.NODE_CLASS_MAPPINGS, name


@dataclass
class Bench:
    """The tiny model behind the nodes, and the same conditions for the core."""

    nodes: dict[str, Any]
    pack: str

    def __post_init__(self) -> None:
        import torch

        self.model, self.clip, self.vae, self.vocoder = self.node("Load", file="tiny (built in)", weight_dtype="fp32")
        texts = self.node("TextEncode", clip=self.clip, caption="a face", speech="Hello there, you.", language="auto")
        ramp = torch.linspace(0, 1, 64)
        picture = torch.stack((ramp.expand(96, 64), ramp.flip(0).expand(96, 64), 0.5 * ramp.expand(96, 64)), -1)[None]
        self.given = {"vae": self.vae, "reference_image": picture, "frames": 13, "width": 64, "height": 96}
        self.positive, self.negative, self.latent = self.conditions(texts)

    def conditions(self, texts: tuple[Any, ...], **given: Any) -> tuple[Any, ...]:
        return self.node("Conditions", positive=texts[0], negative=texts[1], **{**self.given, **given})

    def node(self, name: str, **inputs: Any) -> tuple[Any, ...]:
        output = self.nodes[f"UniAVGen{name}"].execute(**inputs)
        return (asyncio.run(output) if inspect.iscoroutine(output) else output).args

    def core(self, name: str) -> Any:
        return importlib.import_module(f"{self.pack}.uniavgen_core.{name}")

    def joint(self, model: Any = None, **changed: Any):
        """Video, mel and face mask of the Joint Sampler."""
        result, mask = self.sampled(model, **changed)
        return (*result["samples"].unbind(), mask)

    def sampled(
        self, model: Any = None, guidance: dict[str, Any] = RELEASE, sampler: str = "euler", latent: Any = None
    ) -> tuple[Any, ...]:
        """What the Joint Sampler gives."""
        return self.node(
            "JointSampler",
            model=model or self.model,
            positive=self.positive,
            negative=self.negative,
            latent=latent or self.latent,
            seed=SEED,
            steps=STEPS,
            shift=SHIFT,
            sampler=sampler,
            **guidance,
        )

    def by_core(self, guidance: Any):
        """Video (as a VAE would give it), mel and face masks of the core's sampler."""
        sampling, types = self.core("sampling"), self.core("types")
        latent_format = self.model.model.latent_format
        given = sys.modules[f"{self.pack}.nodes.adapter_latent"].to_core(self.latent)
        given = replace(given, video=latent_format.process_in(given.video))
        conditions = [
            types.Conditions(
                caption,
                rest["uniavgen_speech"],
                latent_format.process_in(rest["uniavgen_reference_image"]),
                rest.get("uniavgen_reference_voice"),
                rest["uniavgen_interaction"],
            )
            for caption, rest in (self.positive[0], self.negative[0])
        ]
        model = self.core("tiny").load_tiny().model
        noise, times = sampling.draw_noise(given, SEED), sampling.timesteps(STEPS, SHIFT)
        result, masks = sampling.sample(model, given, *conditions, guidance, times, noise)
        result = result.with_clean_from(given)
        return latent_format.process_out(result.video), result.audio, masks


def error(a: Any, b: Any) -> float:
    """Relative L2 error."""
    return float((a - b).norm() / b.norm())


def compare_with_core(bench: Bench) -> dict[str, float]:
    guidance = bench.core("sampling").Guidance
    measured = {}
    for name, values, core_guidance in (
        ("release", RELEASE, guidance.for_layers(bench.core("tiny.config").TINY.num_layers)),
        ("paper", PAPER, guidance.paper()),
    ):
        video, audio, mask = bench.joint(guidance=values)
        core_video, core_audio, core_masks = bench.by_core(core_guidance)
        measured[f"{name} video"], measured[f"{name} audio"] = error(video, core_video), error(audio, core_audio)
        face_mask = sys.modules[f"{bench.pack}.nodes.adapter_latent"].face_mask(core_masks, core_video)
        measured[f"{name} mask"] = error(mask, face_mask)
    return measured


def compare_tasks_with_core(bench: Bench) -> dict[str, Any]:
    """What each task's conditions say, and the Joint Sampler on them against the core's sampler."""
    import torch
    from comfy_api.latest import InputImpl, Types

    texts = {"clip": bench.clip, "caption": "a face", "speech": "Hello.", "language": "auto"}
    plain, voiced = bench.node("TextEncode", **texts), bench.node("TextEncode", **texts, transcript="As I said.")
    sound = {"waveform": torch.sin(torch.arange(2 * 17_000).reshape(1, 2, -1) * 0.05), "sample_rate": 22_050}
    pictures = torch.linspace(0, 1, 24).view(-1, 1, 1, 1).expand(-1, 48, 32, 3)
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=pictures, audio=sound, frame_rate=25))
    earlier = bench.sampled()[0]
    tasks = {
        "voice": (voiced, {"reference_voice": sound}),
        "audio": (plain, {"driving_audio": sound}),
        "dub": (plain, {"video": video, "as_long_as_given": True}),
        "dub voice": (voiced, {"video": video, "as_long_as_given": True, "reference_voice": sound}),
        "video": (plain, {"earlier_video": video, "continued_latents": 2}),
        "latent": (plain, {"earlier_latent": earlier, "continued_latents": 2}),
        "latent voice": (voiced, {"earlier_latent": earlier, "continued_latents": 1, "reference_voice": sound}),
    }
    measured = {}
    for name, (encoded, given) in tasks.items():
        part = Bench.__new__(Bench)
        part.__dict__.update(bench.__dict__)
        part.positive, part.negative, part.latent = bench.conditions(encoded, **given)
        video_part, audio_part, _ = part.joint()
        core_video, core_audio, _ = part.by_core(
            bench.core("sampling").Guidance.for_layers(bench.core("tiny.config").TINY.num_layers)
        )
        measured[f"task {name}"] = max(error(video_part, core_video), error(audio_part, core_audio))
        given_parts = sys.modules[f"{bench.pack}.nodes.adapter_latent"].to_core(part.latent)
        ways = [entry[0][1]["uniavgen_interaction"] for entry in (part.positive, part.negative)]
        measured[f"plan {name}"] = [
            given_parts.clean_video,
            given_parts.clean_audio,
            *given_parts.video.shape[2:3],
            *(way.audio_to_video for way in ways),
            *(way.video_to_audio for way in ways),
        ]
    return measured


def compare_with_custom_sampling(bench: Bench) -> dict[str, float]:
    """SamplerCustomAdvanced with our guider and schedule against the Joint Sampler."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

    (guider,) = bench.node("Guider", model=bench.model, positive=bench.positive, negative=bench.negative, **RELEASE)
    (sigmas,) = bench.node("Schedule", steps=STEPS, shift=SHIFT)
    euler = comfy.samplers.sampler_object("euler")
    result = SamplerCustomAdvanced.execute(Noise_RandomNoise(SEED), guider, euler, sigmas, bench.latent).args[0]
    video, audio = result["samples"].unbind()
    joint_video, joint_audio, _ = bench.joint()
    return {"custom video": error(video, joint_video), "custom audio": error(audio, joint_audio)}


def count_work(bench: Bench) -> dict[str, Any]:
    """How often parts of the model run in a dubbing run, through the Joint Sampler and through the host's KSampler."""
    from collections import Counter

    import torch
    from comfy_api.latest import InputImpl, Types

    import nodes

    pictures = torch.linspace(0, 1, 13).view(-1, 1, 1, 1).expand(-1, 48, 32, 3)
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=pictures, audio=None, frame_rate=16))
    texts = bench.node("TextEncode", clip=bench.clip, caption="a face", speech="Hello.", language="auto")
    part = Bench.__new__(Bench)
    part.__dict__.update(bench.__dict__)
    part.positive, part.negative, part.latent = bench.conditions(texts, video=video)
    model, calls, kept = bench.model.model.diffusion_model, Counter(), []
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: calls.update([name]))
        for name in ("blocks.0.ffn", "audio_blocks.0.ffn", "text_proj")
    ]
    original = type(model).prepared
    type(model).prepared = lambda self, holder, *rest: kept.append(holder) or original(self, holder, *rest)
    measured = {}
    try:
        for name, run in (
            ("guider", part.joint),
            (
                "ksampler",
                lambda: nodes.common_ksampler(
                    bench.model, SEED, STEPS, 3.0, "euler", "simple", part.positive, part.negative, part.latent
                ),
            ),
        ):
            calls.clear()
            run()
            measured[f"work {name}"] = dict(calls)
    finally:
        type(model).prepared = original
        for hook in hooks:
            hook.remove()
    measured["nothing kept"] = bool(kept) and all(not holder.prepared for holder in kept)
    return measured


def try_samplers(bench: Bench) -> dict[str, bool]:
    """Given parts come back to the last bit, also with samplers that move them."""
    import torch

    given = bench.latent["samples"].unbind()[0][:, :, :1]
    samplers = ("uni_pc", "dpmpp_2m", "euler_ancestral", "heun", "er_sde")
    return {f"{name} keeps": bool(torch.equal(bench.joint(sampler=name)[0][:, :, :1], given)) for name in samplers}


def try_inpainting(bench: Bench) -> dict[str, Any]:
    """A mask with more zeros than the leading ones: those are kept too, though the model takes them for noisy."""
    import torch
    from comfy.nested_tensor import NestedTensor

    video, audio = (part.clone() for part in bench.latent["samples"].unbind())
    video_mask, audio_mask = (mask.clone() for mask in bench.latent["noise_mask"].unbind())
    audio[..., :20], audio_mask[..., :20] = 0.5, 0
    video[:, :, 3], video_mask[:, :, 3] = 0.25, 0
    latent = {"samples": NestedTensor([video, audio]), "noise_mask": NestedTensor([video_mask, audio_mask])}
    result, sound, _ = bench.joint(latent=latent)
    pack = bench.model.model.latent_format.pack
    kept = torch.equal(result[:, :, 3], video[:, :, 3]) and torch.equal(sound[..., :20], audio[..., :20])
    return {"given parts": list(pack.given), "inpainting keeps": bool(kept)}


def try_host_features(bench: Bench) -> dict[str, Any]:
    """EasyCache with skipped steps, lower weight dtypes, the host's KSampler, LoRA names."""
    import comfy.lora
    from comfy_extras.nodes_easycache import EasyCacheNode

    import nodes

    video, audio, _ = bench.joint()
    cached = EasyCacheNode.execute(bench.model, 50.0, 0.1, 0.95, False).args[0]
    passes = []
    hook = bench.model.model.diffusion_model.head.register_forward_hook(lambda *_: passes.append(1))
    cached_video, _, mask = bench.joint(cached)
    hook.remove()
    measured = {"easycache changes": error(cached_video, video), "easycache mask": float(mask.mean())}
    measured["easycache passes"] = len(passes)
    for dtype in ("bf16", "fp8_e4m3fn"):
        model = bench.node("Load", file="tiny (built in)", weight_dtype=dtype)[0]
        low_video, low_audio, _ = bench.joint(model)
        measured[f"{dtype} video"], measured[f"{dtype} audio"] = error(low_video, video), error(low_audio, audio)
    plain = nodes.common_ksampler(
        bench.model, SEED, STEPS, 3.0, "euler", "simple", bench.positive, bench.negative, bench.latent
    )
    measured["ksampler finite"] = all(bool(part.isfinite().all()) for part in plain[0]["samples"].unbind())
    names = comfy.lora.model_lora_keys_unet(bench.model.model, {})
    measured["lora names"] = [
        name in names for name in ("diffusion_model.blocks.0.self_attn.q", "lora_unet_blocks_0_ffn_0")
    ]
    return measured


def try_compiling(bench: Bench) -> dict[str, float]:
    """The host's way to compile, block by block without a graph break, with its attention for GPUs."""
    import torch
    from comfy.ldm.modules.attention import attention_pytorch
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    model = bench.model.clone()
    options = model.model_options["transformer_options"]
    options["optimized_attention_override"] = lambda _, *inputs, **named: attention_pytorch(*inputs, **named)
    video, audio, _ = bench.joint(model)
    diffusion_model = model.model.diffusion_model
    lists = ("blocks", "audio_blocks", "a2v_blocks", "v2a_blocks")
    keys = [f"diffusion_model.{name}.{i}" for name in lists for i in range(len(getattr(diffusion_model, name)))]
    set_torch_compile_wrapper(model, backend="eager", keys=keys, fullgraph=True)
    compiled_video, compiled_audio, _ = bench.joint(model)
    frames = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    return {"compiled": max(error(compiled_video, video), error(compiled_audio, audio)), "compiled frames": frames}


def try_batches(bench: Bench) -> dict[str, float]:
    """A conditioning that is there twice from the middle on, in batches of two: what steps share against all anew."""
    adapter = sys.modules[f"{bench.pack}.nodes.adapter_model"]
    part = Bench.__new__(Bench)
    part.__dict__.update(bench.__dict__)
    later = {"start_percent": 0.5, "end_percent": 1.0}
    part.positive = bench.positive + [[caption, {**rest, **later}] for caption, rest in bench.positive]
    shared, keep = part.joint(), adapter.kept_during_a_run
    adapter.kept_during_a_run = lambda _: contextlib.nullcontext()
    try:
        anew = part.joint()
    finally:
        adapter.kept_during_a_run = keep
    return {"batches": max(error(a, b) for a, b in zip(shared[:2], anew[:2], strict=True))}


def main() -> None:
    nodes, pack = load_host(*sys.argv[1:3])
    import torch

    with torch.inference_mode():
        bench = Bench(nodes, pack)
        parts = (
            compare_with_core,
            compare_tasks_with_core,
            compare_with_custom_sampling,
            count_work,
            try_samplers,
            try_inpainting,
            try_host_features,
            try_compiling,
            try_batches,
        )
        measured = {name: value for part in parts for name, value in part(bench).items()}
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
