"""Trains the joint model and its caption encoder as the paper does, in three stages (paper, section 4.1).

sounds -> audio branch (first stage); clips -> both branches (second and third stage)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

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
from .muon import Muon

TOKENS = 1700  # latents times 16 and audio tokens of a batch together, about
READING = 0.1  # weight of the loss of reading
GROWTH = 100  # steps after which clips that have been made meanwhile are taken in
# Tasks that train the audio branch alone, on sounds: what it is given then
ALONE = {"sound": "joint", "sound with a voice": "voice"}


@dataclass(frozen=True)
class Stage:
    """steps: when it ends, counted from the beginning of the first one that is trained with it
    tasks: how often each comes; lengths: how often clips of so many frames
    mask: weight of the mask loss at the beginning and at the end of the stage
    """

    steps: int
    tasks: Mapping[str, float]
    lengths: Mapping[int, float]
    mask: tuple[float, float] = (0.0, 0.0)


# paper: 4 : 1 : 1 : 2 : 2; of so small a model dubbing has to be asked for more often, driving less
MIX = {"joint": 3, "voice": 1, "continuation": 1, "dubbing": 4, "audio-driven": 1}
SOUND = Stage(4500, {"sound": 2, "sound with a voice": 1}, {33: 0.6, 57: 0.1, 81: 0.3})
STAGES = (
    Stage(700, {"joint": 1}, {33: 0.4, 57: 0.3, 81: 0.3}, mask=(0.1, 0.07)),
    Stage(8000, MIX, {33: 0.2, 57: 0.1, 81: 0.7}, mask=(0.07, 0.0)),
)
RATE = 0.01
FAST = ("avx512_bf16", "amx_bf16", "bf16")  # instructions of a CPU, as PyTorch names them
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
    return [Muon(large, rate, WEIGHT_DECAY), adam(rest, rate)]


def choose(chances: Mapping, generator: torch.Generator):
    """One of the keys, as often as its value says."""
    weights = torch.tensor(list(chances.values()), dtype=torch.float64)
    return list(chances)[int(torch.multinomial(weights, 1, generator=generator))]


def train_sound(
    loop: Loop, sounds: Dataset, vocabulary: Vocabulary, stage: Stage = SOUND, seed: int = 0, rate: float = RATE
) -> Learner:
    """The audio branch alone (first stage of the paper), averaged over the last steps. sounds: have no pictures"""
    torch.manual_seed(seed)
    return run(loop, "sound", Learner(), sounds, sounds, vocabulary, (stage,), seed, rate)


def audio_branch(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a learner without what passes between its branches."""
    return {name: tensor for name, tensor in weights.items() if "a2v_" not in name and "v2a_" not in name}


def train(
    loop: Loop,
    begun: Mapping[str, Tensor],
    clips: Dataset,
    sounds: Dataset,
    vocabulary: Vocabulary,
    stages: tuple[Stage, ...] = STAGES,
    config: ModelConfig = TINY,
    seed: int = 0,
    rate: float = RATE,
    tokens: int = TOKENS,
) -> Learner:
    """The joint model after all stages, averaged over the last steps.

    begun: weights to begin with, of the audio branch or of all
    tokens: of a batch in one process, about
    """
    torch.manual_seed(seed)
    learner = Learner(config)
    learner.load_state_dict(learner.state_dict() | dict(begun))
    return run(loop, "model", learner, clips, sounds, vocabulary, stages, seed, rate, tokens)


def run(
    loop: Loop,
    name: str,
    learner: Learner,
    clips: Dataset,
    sounds: Dataset,
    vocabulary: Vocabulary,
    stages: tuple[Stage, ...],
    seed: int,
    rate: float,
    tokens: int = TOKENS,
) -> Learner:
    """Trains through the stages, from where the loop's folder stands, on the device that the data is on."""
    learner = learner.to(loop.device)
    ends = [stage.steps for stage in stages]
    fast = fast_bfloat16(loop.device)

    def step_losses(step: int) -> dict[str, Tensor]:
        if step % GROWTH == 0:
            clips.grow()
            sounds.grow()
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        index = next(i for i, end in enumerate(ends) if step < end)
        stage, start = stages[index], ends[index - 1] if index else 0
        frames, task = choose(stage.lengths, generator), choose(stage.tasks, generator)
        generator.manual_seed(generator.initial_seed() + 1_000_000_007 * rank())
        alone, length = task in ALONE, ClipLength(frames)
        count = max(1, tokens // (length.latents * 16 * (not alone) + length.tokens))
        batch = (sounds if alone else clips).sample(frames, count, generator)
        task = ALONE.get(task, task)
        noisy, target, sigma, conditions, attention = lesson(learner.captions, batch, task, vocabulary, generator)
        if alone:
            conditions = replace(conditions, interaction=UNIMODAL)
        with torch.autocast(torch.device(loop.device).type, torch.bfloat16, enabled=fast):
            velocity = learner.model(noisy, sigma * MAX_TIMESTEP, conditions, attention=attention)
        found = losses(velocity, target, sigma, batch.mask, learner.model.config)
        if attention.reads:
            found["reading"] = attention.loss()
        first, last = stage.mask
        mask = first + (last - first) * (step - start) / (stage.steps - start)
        weights = {"video": 1.0, "audio": 1.0, "mask": mask, "reading": READING}
        return {"loss": sum(weights[key] * value for key, value in found.items()), **found}

    return loop.run(name, learner, step_losses, ends[-1], optimizers(learner, rate))


def fast_bfloat16(device: str) -> bool:
    """Whether products in bfloat16 are faster than in float32: not on a CPU that has no instructions for them."""
    return torch.device(device).type != "cpu" or any(torch.cpu.get_capabilities().get(name) for name in FAST)
