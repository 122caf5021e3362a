"""Trains the joint model and its caption encoder as the paper does, in three stages (paper, section 4.1).

sounds -> audio branch (first stage); clips -> both branches (second and third stage)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import Muon, Optimizer

from uniavgen_core.config import MAX_TIMESTEP, ModelConfig
from uniavgen_core.geometry import ClipLength
from uniavgen_core.model import JointModel
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny.caption_encoder import TinyCaptionEncoder
from uniavgen_core.tiny.config import TINY
from uniavgen_core.types import UNIMODAL

from .data import Dataset
from .lessons import lesson, losses
from .loop import WEIGHT_DECAY, Loop, adam, rank

TOKENS = 1700  # latents times 16 and audio tokens of a batch together, about
READING = 0.1  # weight of the loss of reading


@dataclass(frozen=True)
class Stage:
    """steps: when it ends, counted from the beginning of the first one that is trained with it
    tasks: how often each comes; lengths: how often clips of so many frames
    mask: weight of the mask loss at the beginning and at the end of the stage
    video: False trains the audio branch alone, on sounds
    """

    steps: int
    tasks: Mapping[str, float]
    lengths: Mapping[int, float]
    mask: tuple[float, float] = (0.0, 0.0)
    video: bool = True


# paper: 4 : 1 : 1 : 2 : 2; of so small a model dubbing has to be asked for more often, driving less
MIX = {"joint": 3, "voice": 1, "continuation": 1, "dubbing": 4, "audio-driven": 1}
SOUND = Stage(4500, {"joint": 2, "voice": 1}, {33: 0.6, 57: 0.1, 81: 0.3}, video=False)
STAGES = (
    Stage(700, {"joint": 1}, {33: 0.4, 57: 0.3, 81: 0.3}, mask=(0.1, 0.07)),
    Stage(8000, MIX, {33: 0.2, 57: 0.1, 81: 0.7}, mask=(0.07, 0.0)),
)
RATE = 0.01
LARGE = 96  # rows and columns of a matrix that Muon changes


class Learner(nn.Module):
    """What is trained together."""

    def __init__(self, config: ModelConfig = TINY):
        super().__init__()
        self.model = JointModel(config)
        self.captions = TinyCaptionEncoder()
        self.captions.requires_grad_(True)
        initialize(self)


@torch.no_grad()
def initialize(learner: Learner) -> None:
    """Xavier matrices, small modulation; what adds one branch to the other, and the heads, begin at zero (paper)."""
    for name, parameter in learner.named_parameters():
        leaf = name.rpartition(".")[2]
        if leaf == "modulation":
            parameter.normal_(std=parameter.shape[-1] ** -0.5)
        elif "text_embed." in name or ("embedding.weight" in name and parameter.ndim == 2 and "captions" in name):
            parameter.normal_(std=0.5)
        elif leaf == "weight" and parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter.flatten(1))
        elif leaf == "bias":
            parameter.zero_()
    model = learner.model
    for aligner in (*model.a2v_blocks, *model.v2a_blocks):
        aligner.o.weight.zero_()
    model.head.head.weight.zero_()
    model.head_audio.head.weight.zero_()


def optimizers(learner: Learner, rate: float) -> list[Optimizer]:
    """Muon for the large matrices, by which they learn several times faster, Adam for all else."""
    large, rest = [], []
    for weight in learner.parameters():
        (large if weight.ndim == 2 and min(weight.shape) >= LARGE else rest).append(weight)
    return [Muon(large, rate, WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw", ns_steps=4), adam(rest, rate)]


def choose(chances: Mapping, generator: torch.Generator):
    """One of the keys, as often as its value says."""
    weights = torch.tensor(list(chances.values()), dtype=torch.float64)
    return list(chances)[int(torch.multinomial(weights, 1, generator=generator))]


def train_sound(
    loop: Loop, sounds: Dataset, vocabulary: Vocabulary, stage: Stage = SOUND, seed: int = 0, rate: float = RATE
) -> Learner:
    """The audio branch alone (first stage of the paper), averaged over the last steps. sounds: have no pictures"""
    torch.manual_seed(seed)
    return _train(loop, "sound", Learner(), sounds, vocabulary, (stage,), seed, rate)


def train(
    loop: Loop,
    begun: Mapping[str, Tensor],
    data: Dataset,
    vocabulary: Vocabulary,
    stages: tuple[Stage, ...] = STAGES,
    config: ModelConfig = TINY,
    seed: int = 0,
    rate: float = RATE,
) -> Learner:
    """The joint model after all stages, averaged over the last steps. begun: weights that `train_sound` gave"""
    torch.manual_seed(seed)
    learner = Learner(config)
    known = {name: tensor for name, tensor in begun.items() if "a2v_" not in name and "v2a_" not in name}
    learner.load_state_dict(learner.state_dict() | known)  # what passes between the branches begins at zero
    return _train(loop, "model", learner, data, vocabulary, stages, seed, rate)


def _train(
    loop: Loop,
    name: str,
    learner: Learner,
    data: Dataset,
    vocabulary: Vocabulary,
    stages: tuple[Stage, ...],
    seed: int,
    rate: float,
) -> Learner:
    learner = learner.to(loop.device)
    ends = [stage.steps for stage in stages]

    def step_losses(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        index = next(i for i, end in enumerate(ends) if step < end)
        stage, start = stages[index], ends[index - 1] if index else 0
        frames, task = choose(stage.lengths, generator), choose(stage.tasks, generator)
        generator.manual_seed(generator.initial_seed() + 1_000_000_007 * rank())
        length = ClipLength(frames)
        count = max(1, TOKENS // (length.latents * 16 * stage.video + length.tokens))
        batch = data.sample(frames, count, generator).to(loop.device)
        noisy, target, sigma, conditions, attention = lesson(learner.captions, batch, task, vocabulary, generator)
        if not stage.video:
            conditions = replace(conditions, interaction=UNIMODAL)
        with torch.autocast(torch.device(loop.device).type, torch.bfloat16):
            velocity = learner.model(noisy, sigma * MAX_TIMESTEP, conditions, attention=attention)
        found = losses(velocity, target, sigma, batch.mask, learner.model.config)
        if attention.said.any():
            found["reading"] = attention.loss()
        first, last = stage.mask
        mask = first + (last - first) * (step - start) / (stage.steps - start)
        weights = {"video": float(stage.video), "audio": 1.0, "mask": mask, "reading": READING}
        return {"loss": sum(weights[key] * value for key, value in found.items()), **found}

    return loop.run(name, learner, step_losses, ends[-1], optimizers(learner, rate))
