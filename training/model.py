"""Trains the joint model and its caption encoder as the paper does, in three stages (paper, section 4.1).

Batch -> Given -> plan (as in `uniavgen_core`) -> noise at one time -> JointModel -> losses
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import Muon, Optimizer

from uniavgen_core.config import MAX_TIMESTEP, ModelConfig, Prediction
from uniavgen_core.geometry import HOP_LENGTH, SAMPLE_RATE, ClipLength
from uniavgen_core.model import JointModel
from uniavgen_core.task import Given, plan
from uniavgen_core.text.script import Script
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny.caption_encoder import TinyCaptionEncoder
from uniavgen_core.tiny.config import TINY
from uniavgen_core.types import UNIMODAL, AVLatent, Conditions, Velocity

from .data import Batch, Dataset
from .loop import WEIGHT_DECAY, Loop, adam, rank

TOKENS = 1700  # latents times 16 and audio tokens of a batch together, about
SHIFT = 5.0  # times are drawn as a schedule of that shift has them: more near the noise
NO_TEXT = 0.12  # share of samples that are told neither caption nor speech
COMMA = 0.1  # share of words with a comma after them
READING = 0.1  # weight of the loss of reading
TOKEN_RATE = SAMPLE_RATE / HOP_LENGTH  # audio tokens a second
UNHEARD = 0.12  # share of batches in which the branches do not meet


@dataclass(frozen=True)
class Stage:
    """steps: when it ends, counted from the beginning of all; rate: of learning
    tasks: how often each comes; lengths: how often clips of so many frames
    mask: weight of the mask loss at the beginning and at the end of the stage
    video: False trains the audio branch alone, on sounds
    """

    steps: int
    tasks: Mapping[str, float]
    lengths: Mapping[int, float]
    mask: tuple[float, float] = (0.0, 0.0)
    video: bool = True


# paper: 4 : 1 : 1 : 2 : 2 = joint, joint with a voice, continuation, dubbing, audio-driven
MIX = {"joint": 4, "voice": 1, "continuation": 1, "dubbing": 2, "audio-driven": 2}
STAGES = (
    Stage(4500, {"joint": 2, "voice": 1}, {33: 0.6, 57: 0.1, 81: 0.3}, video=False),
    Stage(5200, {"joint": 1}, {33: 0.4, 57: 0.3, 81: 0.3}, mask=(0.1, 0.07)),
    Stage(7600, MIX, {33: 0.3, 57: 0.2, 81: 0.5}, mask=(0.07, 0.0)),
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


def given_of(batch: Batch, task: str, generator: torch.Generator) -> Given:
    """What a task is given of a clip."""
    image = batch.video[:, :, :1]
    if task == "dubbing":
        voice = batch.voice if torch.rand((), generator=generator) < 0.5 else None
        return Given(image, video=batch.video, voice=voice)
    if task == "audio-driven":
        return Given(image, audio=batch.audio)
    if task == "voice":
        return Given(image, voice=batch.voice)
    if task == "continuation":
        latents = int(torch.randint(2, batch.video.shape[2] // 2 + 1, (), generator=generator))
        tokens = ClipLength.from_latents(latents).tokens
        return Given(image, video=batch.video[:, :, :latents], audio=batch.audio[:, :, :tokens])
    return Given(image)


def written(text: str, generator: torch.Generator) -> str:
    """Words as people write them: half of the time with a capital, a full stop, and commas here and there."""
    capital, stop, *commas = torch.rand(2 + len(text.split()), generator=generator).tolist()
    text = " ".join(word + "," * (comma < COMMA) for word, comma in zip(text.split(), commas, strict=True)).rstrip(",")
    return (text.capitalize() if capital < 0.5 else text) + "." * (stop < 0.5)


def speech_ids(
    batch: Batch, told: Tensor, voice: bool, vocabulary: Vocabulary, generator: torch.Generator
) -> tuple[Tensor, list[list[tuple[int, int]]]]:
    """Ids [N, M] of what is said, and where its words stand; where not ``told``, of what the voice says alone."""
    rows, places = [], []
    for text, reference, whole in zip(batch.text, batch.reference_text, told.tolist(), strict=True):
        text, reference = written(text, generator), written(reference, generator)
        script = Script(text, vocabulary, "en", reference if voice else "")
        rows.append((script.ids() if whole else script.negative_ids())[0])
        before = len(script.tokens()) - len(script.own_tokens())
        words = re.finditer(r"\S+", text) if whole else ()
        places.append([(before + word.start(), before + word.end()) for word in words])
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1), places


def reading(batch: Batch, places: list[list[tuple[int, int]]], symbols: int) -> Tensor:
    """Which symbols of the text are being said: bool [N, L, M], none in pauses."""
    said = torch.zeros(len(places), batch.audio.shape[2], symbols, dtype=torch.bool)
    for row, (words, times) in enumerate(zip(places, batch.word_times, strict=True)):
        for (first, end), (start, stop) in zip(words, times, strict=False):  # no places where nothing is told
            said[row, round(start * TOKEN_RATE) : round(stop * TOKEN_RATE), first:end] = True
    return said.to(batch.audio.device)


def times(count: int, generator: torch.Generator) -> Tensor:
    """[count] in (0, 1], each from its own part of the range."""
    even = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    even = even.clamp(min=1e-3)[torch.randperm(count, generator=generator)]
    return SHIFT * even / (1 + (SHIFT - 1) * even)


def lesson(
    learner: Learner, batch: Batch, task: str, vocabulary: Vocabulary, generator: torch.Generator
) -> tuple[AVLatent, AVLatent, Tensor, Conditions, ReadingAttention]:
    """Noisy latent, the velocity to be predicted, the time [N], what the pass is told, and who attends in it."""
    given = given_of(batch, task, generator)
    frames = ClipLength.from_latents(batch.video.shape[2])
    layout = plan(given, frames, tokens=batch.audio.shape[2])
    data = replace(layout.latent, video=batch.video, audio=batch.audio)
    noise = data.map(lambda x: torch.randn(x.shape, generator=generator).to(x.device))
    sigma = times(len(batch.text), generator).to(batch.video.device)
    noisy = data.map(lambda x, n: torch.lerp(x, n, sigma.view(-1, *[1] * (x.ndim - 1))), noise)
    told = torch.rand(len(batch.text), generator=generator) >= NO_TEXT
    unheard = bool(torch.rand((), generator=generator) < UNHEARD)
    caption = learner.captions.encode([text if whole else "" for text, whole in zip(batch.caption, told, strict=True)])
    speech, places = speech_ids(batch, told, given.voice is not None, vocabulary, generator)
    conditions = Conditions(
        caption,
        speech.to(batch.video.device),
        given.image,
        given.voice,
        UNIMODAL if unheard else layout.interaction,
    )
    voice = 0 if given.voice is None else given.voice.shape[2]
    reader = ReadingAttention(reading(batch, places, speech.shape[1]), voice + batch.audio.shape[2])
    return noisy.with_clean_from(data), data.map(lambda x, n: n - x, noise), sigma, conditions, reader


def losses(velocity: Velocity, target: AVLatent, sigma: Tensor, mask: Tensor, config: ModelConfig) -> dict[str, Tensor]:
    """Flow matching on the parts that are not given; binary cross-entropy of all face masks.

    Where the head predicts clean latents, their error counts: the velocity's, times sigma.
    """
    found = {}
    video, audio = target.clean_video, target.clean_audio
    if video < target.video.shape[2]:
        error = (velocity.video - target.video)[:, :, video:]
        if config.video_prediction is Prediction.CLEAN:
            error = error * sigma[:, None, None, None, None]
        found["video"] = error.square().mean()
    if audio < target.audio.shape[2]:
        found["audio"] = (velocity.audio - target.audio)[:, :, audio:].square().mean()
    if velocity.face_masks:
        face = torch.stack(velocity.face_masks).clamp(1e-5, 1 - 1e-5)  # [layers, N, T, 4, 4]
        found["mask"] = nn.functional.binary_cross_entropy(face, mask[None, :, None].expand_as(face))
    return found


class ReadingAttention:
    """An `AttentionFunction` in plain products (for short sequences on a CPU, PyTorch's kernel learns slower) that
    notes how much the sound attends to the words being said.

    said: bool [N, L, M], of the last L of the sound's tokens; the sound has so many ``tokens`` with its voice
    """

    def __init__(self, said: Tensor, tokens: int):
        self.said, self.tokens, self.found = said, tokens, []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, N, d]
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)
        if weights.shape[2:] == (self.tokens, self.said.shape[2]):  # the cross-attention to the speech
            seen = weights.float().mean(dim=1)[:, -self.said.shape[1] :]  # [N, L, M]
            self.found.append((seen * self.said).sum(dim=-1)[self.said.any(dim=-1)])
        return (weights @ v).transpose(1, 2).flatten(2)

    def loss(self) -> Tensor:
        """Mean over all layers and spoken tokens of -log of the attention to the word being said."""
        return -torch.cat(self.found).clamp(min=1e-4).log().mean()


def choose(chances: Mapping, generator: torch.Generator):
    """One of the keys, as often as its value says."""
    weights = torch.tensor(list(chances.values()), dtype=torch.float64)
    return list(chances)[int(torch.multinomial(weights, 1, generator=generator))]


def train(
    loop: Loop,
    data: Dataset,
    sounds: Dataset,
    vocabulary: Vocabulary,
    stages: tuple[Stage, ...] = STAGES,
    config: ModelConfig = TINY,
    seed: int = 0,
    rate: float = RATE,
    name: str = "model",
) -> Learner:
    """The model after all stages, averaged over the last steps. sounds: clips without pictures, for the first stage"""
    torch.manual_seed(seed)
    learner = Learner(config).to(loop.device)
    ends = [stage.steps for stage in stages]

    def step_losses(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        index = next(i for i, end in enumerate(ends) if step < end)
        stage, start = stages[index], ends[index - 1] if index else 0
        frames, task = choose(stage.lengths, generator), choose(stage.tasks, generator)
        generator.manual_seed(generator.initial_seed() + 1_000_000_007 * rank())
        length = ClipLength(frames)
        count = max(1, TOKENS // (length.latents * 16 * stage.video + length.tokens))
        batch = (data if stage.video else sounds).sample(frames, count, generator).to(loop.device)
        noisy, target, sigma, conditions, reader = lesson(learner, batch, task, vocabulary, generator)
        if not stage.video:
            conditions = replace(conditions, interaction=UNIMODAL)
        with torch.autocast(torch.device(loop.device).type, torch.bfloat16):
            velocity = learner.model(noisy, sigma * MAX_TIMESTEP, conditions, attention=reader)
        found = losses(velocity, target, sigma, batch.mask, config)
        if reader.said.any():
            found["reading"] = reader.loss()
        first, last = stage.mask
        share = (step - start) / (stage.steps - start)
        mask = first + (last - first) * share
        weights = {"video": float(stage.video), "audio": 1.0, "mask": mask, "reading": READING}
        total = sum(weights[key] * value for key, value in found.items())
        return {"loss": total, **{f"{key}": value for key, value in found.items()}}

    return loop.run(name, learner, step_losses, ends[-1], optimizers(learner, rate))
