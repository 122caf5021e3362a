"""Runs inside the host's Python: weight files as 'Load UniAVGen' takes them, as JSON on the last line.

python in_process_files.py COMFYUI_FOLDER PACK_FOLDER
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from in_process import RELEASE, Bench, error, load_host

UNGUIDED = {**RELEASE, "s_v": 1.0, "s_a": 1.0}  # guidance multiplies errors as it does differences


class Files:
    """Files of the tiny model in a folder that the host knows only from its extra_model_paths."""

    def __init__(self, bench: Bench, folder: Path):
        from utils.extra_config import load_extra_path_config

        self.bench, self.folder = bench, folder
        self.convert = bench.core("convert").convert
        weights = Path(bench.core("tiny.load").WEIGHTS)
        self.plain = weights / "model.safetensors"
        for name in ("own", "plain"):
            (folder / name).mkdir()
        settings = folder / "extra.yaml"
        settings.write_text(f"shelf:\n  base_path: {folder}\n  uniavgen: own\n  diffusion_models: plain\n")
        load_extra_path_config(str(settings))
        self.choices = sys.modules[f"{bench.pack}.nodes.files"].model_choices

    def load(self, name: str, weight_dtype: str = "default") -> Any:
        return self.bench.node("Load", file=name, weight_dtype=weight_dtype)[0]

    def write(self, name: str, tensors: dict[str, Any], metadata: dict[str, str]) -> None:
        from safetensors.torch import save_file

        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, self.folder / "own" / name, metadata)

    def refusal(self, *how: str) -> str:
        try:
            self.load(*how)
        except ValueError as refused:
            return str(refused)
        return "loaded"


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def write_variants(files: Files) -> None:
    """The same quantised layers, described in the three ways that files have it; shards; and faulty ones."""
    import torch

    own, plain = files.folder / "own", files.folder / "plain"
    files.convert(files.plain, own / "bf16.safetensors", "bf16")
    files.convert(files.plain, plain / "fp8.safetensors", "fp8")
    tensors, metadata = read(plain / "fp8.safetensors")
    layers = [name.removesuffix(".comfy_quant") for name in tensors if name.endswith(".comfy_quant")]
    bare = {name: tensor for name, tensor in tensors.items() if not name.endswith(".comfy_quant")}
    files.write(
        "described.safetensors",
        bare,
        {
            **metadata,
            "_quantization_metadata": json.dumps({"layers": {name: {"format": "float8_e4m3fn"} for name in layers}}),
        },
    )
    old = {name.replace(".weight_scale", ".scale_weight"): tensor for name, tensor in bare.items()}
    old |= {f"{layer}.scale_input": torch.tensor(1.0) for layer in layers}
    mark = {"scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}
    files.write("old.safetensors", old | mark, metadata)
    prefixed = {f"model.diffusion_model.{name}": tensor for name, tensor in (old | mark).items()}
    files.write("prefixed.safetensors", prefixed, metadata)
    files.write("undescribed.safetensors", bare, metadata)
    files.write("torn.safetensors", bare, {**metadata, "_quantization_metadata": "{"})
    unknown = {f"{layers[0]}.comfy_quant": torch.tensor(list(b'{"format": "q3"}'), dtype=torch.uint8)}
    files.write("unknown.safetensors", tensors | unknown, metadata)
    whole, metadata = read(own / "bf16.safetensors")
    names = sorted(whole)
    listed = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"shards/take-0000{number}-of-00002.safetensors"
        (own / "shards").mkdir(exist_ok=True)
        files.write(shard, {name: whole[name] for name in part}, metadata)
        listed |= dict.fromkeys(part, Path(shard).name)
    (own / "shards" / "take.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))


def run_variants(files: Files) -> dict[str, Any]:
    """Relative errors of every file's clip against the built-in model in its own precision."""
    video, audio, _ = files.bench.joint(guidance=UNGUIDED)
    measured: dict[str, Any] = {"choices": [name for name in files.choices() if "tiny" not in name]}
    for name in (
        "bf16.safetensors",
        "shards/take.safetensors.index.json",
        "fp8.safetensors",
        "described.safetensors",
        "old.safetensors",
        "prefixed.safetensors",
    ):
        model = files.load(name)
        result = files.bench.joint(model, guidance=UNGUIDED)
        stem = Path(name).name.partition(".")[0]
        measured[f"{stem} error"] = max(error(result[0], video), error(result[1], audio))
        layer = model.model.diffusion_model.blocks[0].ffn[0]
        measured[f"{stem} stored"] = [type(layer.weight).__name__, type(layer.weight.data).__name__]
    measured["published"] = find_published(files)
    return measured


def find_published(files: Files) -> bool:
    """Whether the published model is found among the host's diffusion models, so that nothing is fetched."""
    plain = files.folder / "plain"
    for path in (files.folder / "own" / "shards").iterdir():
        name = "diffusion_pytorch_model.safetensors.index.json" if path.suffix == ".json" else path.name
        shutil.copy(path, plain / name)
    found = sys.modules[f"{files.bench.pack}.nodes.download"].published_model(False)
    return found == plain / "diffusion_pytorch_model.safetensors.index.json"


def save_and_load(files: Files) -> dict[str, Any]:
    """What the host's 'Save Model' writes of our MODEL, plain and quantised, is loaded again."""
    import comfy.sd

    measured = {}
    for name in ("bf16", "fp8"):
        model = files.load(f"{name}.safetensors")
        before = files.bench.joint(model)
        comfy.sd.save_checkpoint(str(files.folder / "own" / f"saved_{name}.safetensors"), model)
        after = files.bench.joint(files.load(f"saved_{name}.safetensors"))
        measured[f"saved {name}"] = max(error(a, b) for a, b in zip(after[:2], before[:2], strict=True))
    return measured


def read_by_the_host(files: Files) -> dict[str, Any]:
    """The bundle's other parts, small and converted, in the host's own classes."""
    import comfy.latent_formats
    import comfy.ops
    import torch
    from comfy.ldm.wan.vae2_2 import WanVAE
    from comfy.text_encoders.t5 import T5

    parts = json.loads((Path(__file__).parents[1] / "data" / "released_parts.json").read_text())
    tokenizer = files.folder / "spiece.model"
    tokenizer.write_bytes(b"pieces")
    read_back = {}
    for part in ("text_encoder", "vae"):
        weights = {name: torch.randn(shape) for name, shape in parts[part].items()}
        torch.save(weights, files.folder / f"{part}.pth")
        target = files.folder / f"{part}.safetensors"
        files.convert(files.folder / f"{part}.pth", target, "same", tokenizer)
        read_back[part] = read(target)[0]
    sizes = {"num_layers": 3, "d_model": 64, "d_kv": 16, "num_heads": 4, "d_ff": 96, "vocab_size": 50}
    kind = {"dense_act_fn": "gelu_pytorch_tanh", "is_gated_act": True, "model_type": "umt5"}
    text_encoder = T5(sizes | kind, torch.float32, "cpu", comfy.ops.manual_cast)
    vae = WanVAE(dim=8, dec_dim=8, z_dim=48, temperal_downsample=[False, True, True])
    del read_back["text_encoder"]["spiece_model"]  # which goes to the tokenizer
    text_encoder.load_state_dict(read_back["text_encoder"], strict=True)
    vae.load_state_dict(read_back["vae"], strict=True)
    latents = comfy.latent_formats.Wan22()
    off = [
        float((getattr(latents, name).flatten() - torch.tensor(parts[name])).abs().max())
        for name in ("latents_mean", "latents_std")
    ]
    return {"latent constants off": max(off), "vae reaches": reach(vae)}


def reach(vae: Any) -> int:
    """The last latent that the first frame has a part in."""
    import torch

    frames = torch.randn(1, 3, 141, 32, 32, generator=torch.manual_seed(0))
    for parameter in vae.parameters():  # so that nothing grows or fades beyond what numbers hold
        parameter.mul_(parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 1.0)
    vae, frames = vae.double(), frames.double()
    other = frames.clone()
    other[:, :, 0] += 1
    changed = (vae.encode(other) != vae.encode(frames)).flatten(3).any(dim=3).any(dim=1)[0]
    return int(changed.nonzero().max())


def refusals(files: Files) -> dict[str, str]:
    import comfy.quant_ops

    told = {name: files.refusal(f"{name}.safetensors") for name in ("undescribed", "torn", "unknown")}
    told["cast"] = files.refusal("fp8.safetensors", "fp8_e4m3fn")
    known = comfy.quant_ops.QUANT_ALGOS
    taken = known.pop("float8_e4m3fn")
    told["not in this host"] = files.refusal("fp8.safetensors")
    known["float8_e4m3fn"] = taken
    return {f"refused {name}": sentence for name, sentence in told.items()}


def main() -> None:
    nodes, pack = load_host(*sys.argv[1:3])
    import torch

    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        files = Files(Bench(nodes, pack), Path(folder))
        write_variants(files)
        measured = {
            name: x
            for part in (run_variants, save_and_load, read_by_the_host, refusals)
            for name, x in part(files).items()
        }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
