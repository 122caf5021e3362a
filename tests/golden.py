"""Compares the model and the sampler with numbers of the released code: ``python tests/golden.py DIR [DEVICE]``.

DIR holds `config.json` and `model.safetensors` (small weights under released names) and any number of
`*.safetensors` whose metadata lists cases: `in.*` are inputs, `<case>.video`, `<case>.audio`, `<case>.face_mask.N`
what the released code computed in float32 on the CPU. Prints one line a case and exits with 1 above the bounds.
The released code also predicts a velocity for the reference image, which nothing reads; it is not compared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

if __name__ == "__main__":  # as a script, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uniavgen_core.config import BranchConfig, InteractionConfig, ModelConfig
from uniavgen_core.geometry import ClipLength
from uniavgen_core.model import JointModel
from uniavgen_core.sampling import Guidance, sample, timesteps
from uniavgen_core.task import Given, plan
from uniavgen_core.types import AVLatent, Conditions, Interaction

FORWARD_BOUND, SAMPLING_BOUND = 1e-5, 1e-4

VOICE_TASK, AUDIO_TASK, DUBBING_TASK = 1, 2, 3  # numbers of the released code; 0 is the joint task


@dataclass(frozen=True)
class Result:
    """Relative L2 errors of one case."""

    name: str
    errors: dict[str, float]
    bound: float
    problem: str = ""  # why there are no errors to compare

    @property
    def passed(self) -> bool:
        return bool(self.errors) and all(error <= self.bound for error in self.errors.values())

    def __str__(self) -> str:
        errors = self.problem or "  ".join(f"{name} {error:.2e}" for name, error in self.errors.items())
        return f"{'ok  ' if self.passed else 'FAIL'} {self.name:44s} {errors}  (bound {self.bound:.0e})"


def load_golden_model(folder: Path) -> JointModel:
    """The small model of a golden folder; the released code's names become ours, weights load strictly."""
    values = json.loads((folder / "config.json").read_text())
    weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    depth = 1 + max(int(n.split(".")[2]) for n in weights if n.startswith("text_embedding.text_blocks."))
    config = ModelConfig(
        video=BranchConfig(values["dim"], values["ffn_dim"], values["num_heads"]),
        audio=BranchConfig(values["audio_dim"], values["audio_ffn_dim"], values["audio_num_heads"]),
        interaction=InteractionConfig(layers=tuple(values["a2v_layers"])),
        num_layers=values["num_layers"],
        video_channels=values["in_dim"],
        patch_size=values["patch_size"][-1],
        mel_bins=values["in_audio_dim"],
        freq_dim=values["freq_dim"],
        text_len=values["text_len"],
        text_dim=values["text_dim"],
        speech_vocab=values["speech_vocab"],
        speech_dim=values["speech_dim"],
        speech_layers=depth,
    )
    model = JointModel(config)
    model.load_state_dict(weights)
    return model.eval()


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """L2 norm of the difference over the L2 norm of the released numbers."""
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes differ: {list(ours.shape)} and {list(theirs.shape)}")
    return float((ours - theirs).norm() / theirs.norm())


def make_latent(inputs: dict[str, Tensor], *, clip: bool, clean_video: int, clean_audio: int) -> AVLatent:
    """The latent of a case, its given parts filled in."""
    first = inputs["ref_image"]
    video = inputs["cond_video"] if clip else torch.cat((first, inputs["video"][:, :, 1:]), dim=2)
    given = inputs["cond_audio"][:, :clean_audio] if clean_audio else inputs["audio"][:, :0]
    audio = torch.cat((given, inputs["audio"][:, clean_audio:]), dim=1)
    return AVLatent(video, audio.transpose(1, 2), clean_video, clean_audio)


def make_conditions(inputs: dict[str, Tensor], prefix: str, voice: bool, interaction: Interaction) -> Conditions:
    reference_voice = inputs["ref_audio"].transpose(1, 2) if voice else None
    caption, speech = inputs[f"{prefix}caption"], inputs[f"{prefix}speech"]
    return Conditions(caption, speech, inputs["ref_image"], reference_voice, interaction)


def run_forward(model: JointModel, inputs: dict[str, Tensor], case: dict) -> dict[str, Tensor]:
    both_off = case.get("zero_con", False)
    interaction = Interaction(not (both_off or case.get("no_a2v")), not (both_off or case.get("no_v2a")))
    latent = make_latent(
        inputs,
        clip=case.get("clip", False),
        clean_video=case.get("video_cond", 1),
        clean_audio=case.get("audio_cond", 0),
    )
    skip = (case["slg"],) if case.get("slg", -1) > 0 else ()
    conditions = make_conditions(inputs, "", case.get("ref_audio", False), interaction)
    velocity = model(latent, torch.tensor([case["t"]]), conditions, skip_layers=skip)
    masks = {f"face_mask.{i}": mask for i, mask in enumerate(velocity.face_masks)}
    return {"video": velocity.video, "audio": velocity.audio, **masks}


def run_sampling(
    model: JointModel, inputs: dict[str, Tensor], noise: AVLatent, case: dict, sample: Callable[..., Any] = sample
) -> dict[str, Tensor]:
    """sample: the core's, or another way to do the same."""
    task = case["task"]
    given = Given(
        inputs["ref_image"],
        video=inputs["cond_video"] if task == DUBBING_TASK else None,
        audio=inputs["cond_audio"].transpose(1, 2) if task == AUDIO_TASK else None,
        voice=inputs["ref_audio"].transpose(1, 2) if task == VOICE_TASK else None,
    )
    latents, tokens = noise.video.shape[2], noise.audio.shape[2]
    planned = plan(given, ClipLength.from_latents(latents), noise.audio.shape[1], tokens)
    voice = given.voice is not None
    guidance = Guidance(
        scale_video=case["s_v"],
        scale_audio=case["s_a"],
        end=case["macfg"],
        skip_layers=(case["slg"],) if case.get("slg", -1) > 0 else (),
    )
    result, _ = sample(
        model,
        planned.latent,
        make_conditions(inputs, "", voice, planned.interaction),
        make_conditions(inputs, "negative_", voice, planned.negative_interaction),
        guidance,
        timesteps(case["steps"], case["shift"]),
        noise,
    )
    return {"video": result.video, "audio": result.audio}


@dataclass(frozen=True)
class Case:
    """A recorded pass or run: its arguments in the released code's words, its inputs and what came out."""

    file: str
    key: str
    values: dict[str, Any]
    model: JointModel
    tensors: dict[str, Tensor]

    @property
    def name(self) -> str:
        return f"{self.file}/{self.key}"

    @property
    def forward(self) -> bool:
        """Whether it is one pass, not a whole run."""
        return "t" in self.values

    @property
    def inputs(self) -> dict[str, Tensor]:
        return {name.removeprefix("in."): x for name, x in self.tensors.items() if name.startswith("in.")}

    @property
    def noise(self) -> AVLatent:
        return AVLatent(self.tensors["noise.video"], self.tensors["noise.audio"].transpose(1, 2))

    @property
    def expected(self) -> dict[str, Tensor]:
        """The released numbers in our shapes."""
        video = self.tensors[f"{self.key}.video"]
        parts = {
            # [C, 1 + T, H, W], the reference image first, or [B, C, T, H, W]
            "video": video[None, :, 1:] if self.forward else video,
            "audio": self.tensors[f"{self.key}.audio"].transpose(1, 2),
        }
        rows, columns = (size // self.model.config.patch_size for size in parts["video"].shape[-2:])
        for key, mask in self.tensors.items():
            if key.startswith(f"{self.key}.face_mask."):
                parts[key.removeprefix(f"{self.key}.")] = mask.reshape(1, -1, rows, columns)
        return parts


@torch.inference_mode()
def run_folder(folder: Path, device: str = "cpu") -> Iterator[Result]:
    """Runs every case found in ``folder``."""
    for case in read_cases(folder, device):
        try:
            errors, problem = run_case(case), ""
        except (KeyError, ValueError, RuntimeError) as error:  # one broken case must not hide the others
            errors, problem = {}, f"{type(error).__name__}: {error}"
        yield Result(case.name, errors, FORWARD_BOUND if case.forward else SAMPLING_BOUND, problem)


def read_cases(folder: Path, device: str = "cpu") -> Iterator[Case]:
    """Every case found in ``folder``, its model and numbers on the device."""
    model = load_golden_model(folder).to(device)
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            cases = json.loads((file.metadata() or {}).get("cases", "{}"))
        if cases:
            tensors = load_file(path, device)
            for name, values in cases.items():
                yield Case(path.stem, name, values, model, tensors)


def run_case(case: Case) -> dict[str, float]:
    """Relative errors of one case's parts."""
    run = run_forward if case.forward else partial(run_sampling, noise=case.noise)
    ours = run(case.model, case.inputs, case=case.values)
    return {part: relative_error(ours[part], value) for part, value in case.expected.items()}


def main(arguments: list[str]) -> int:
    needed = ("config.json", "model.safetensors")
    if len(arguments) not in (1, 2) or not all((Path(arguments[0]) / name).is_file() for name in needed):
        usage = "usage: python tests/golden.py DIR [DEVICE], where DIR holds config.json and model.safetensors"
        print(usage, file=sys.stderr)
        return 2
    results = []
    for result in run_folder(Path(arguments[0]), *arguments[1:]):
        print(result, flush=True)
        results.append(result)
    failed = sum(not result.passed for result in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
