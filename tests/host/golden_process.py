"""Runs inside the host's Python: the recorded sampling runs of the released code through our MODEL and GUIDER.

python golden_process.py COMFYUI_FOLDER PACK_FOLDER GOLDEN_FOLDER -> {case: {"video": error, "audio": error}} as JSON
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def load(file: str) -> ModuleType:
    """A file of the tests as a module."""
    path = Path(__file__).parents[1] / file
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def core_of(pack: str) -> None:
    """Makes the pack's core known under its own name, as the same modules, for `golden.py`."""
    for part in ("config", "geometry", "model", "sampling", "task", "types"):
        importlib.import_module(f"{pack}.uniavgen_core.{part}")
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{pack}.uniavgen_core"):
            sys.modules[name.removeprefix(f"{pack}.")] = module


class HostSampling:
    """`sampling.sample` with the host's MODEL, GUIDER and Euler; ``clean`` keeps what was given in the last run."""

    def __init__(self, pack: str) -> None:
        self.adapters = {
            name: importlib.import_module(f"{pack}.nodes.adapter_{name}")
            for name in ("conditioning", "guider", "latent", "model")
        }
        self.models: dict[int, Any] = {}

    def __call__(
        self, model: Any, latent: Any, positive: Any, negative: Any, guidance: Any, timesteps: Any, noise: Any
    ) -> tuple[Any, None]:
        import comfy.samplers
        import torch
        from comfy.nested_tensor import NestedTensor

        host_latent = self.adapters["latent"]
        if id(model) not in self.models:
            read = lambda: (model.state_dict(), model.config)  # noqa: E731
            self.models[id(model)] = self.adapters["model"].load_patcher(read, torch.float32)
        patcher = self.models[id(model)]
        form = patcher.model.latent_format
        told = [self.conditioning(conditions, form) for conditions in (positive, negative)]
        guider = self.adapters["guider"].ModalityAwareGuider(patcher, *told, guidance)
        samples = host_latent.to_host(latent)
        result = guider.sample(
            NestedTensor([noise.video, noise.audio]),
            form.process_out(samples["samples"]),
            comfy.samplers.sampler_object("euler"),
            timesteps / 1000,
            denoise_mask=samples["noise_mask"],
            disable_pbar=True,
        )
        self.clean = latent.clean_video, latent.clean_audio
        return type(latent)(*form.process_in(result).unbind()), None

    def conditioning(self, conditions: Any, form: Any) -> list[list[Any]]:
        names = self.adapters["conditioning"]
        values = {
            names.SPEECH: conditions.speech,
            names.IMAGE: form.process_out(conditions.reference_image),
            names.INTERACTION: conditions.interaction,
        }
        if conditions.reference_voice is not None:
            values[names.VOICE] = conditions.reference_voice
        return names.with_values([[conditions.caption, {"pooled_output": None}]], **values)


def main(folder: str, pack: str, golden_folder: str) -> dict[str, dict[str, float]]:
    _, name = load("host/in_process.py").load_host(folder, pack)
    core_of(name)
    golden, host = load("golden.py"), HostSampling(name)
    errors = {}
    for case in (case for case in golden.read_cases(Path(golden_folder)) if not case.forward):
        result = golden.run_sampling(case.model, case.inputs, case.noise, case.values, host)
        # the host writes the given parts back in every step, the released code does not
        errors[case.name] = {
            part: golden.relative_error(result[part][:, :, given:], case.expected[part][:, :, given:])
            for part, given in zip(("video", "audio"), host.clean, strict=True)
            if given < result[part].shape[2]
        }
    return errors


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
