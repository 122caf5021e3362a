"""What the joint model is told of a clip, and what it has to say.

Batch -> Given -> plan (as in `uniavgen_core`) -> noise at one time, Conditions -> (the model) -> losses
"""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor, nn

from uniavgen_core.config import ModelConfig, Prediction
from uniavgen_core.geometry import ClipLength
from uniavgen_core.task import Given, plan
from uniavgen_core.text.script import Script
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny.caption_encoder import TinyCaptionEncoder
from uniavgen_core.types import UNIMODAL, AVLatent, Conditions, Velocity

from .data import Batch
from .reading import ReadingAttention, reading

SHIFT = 5.0  # times are drawn as a schedule of that shift has them: more near the noise
NO_TEXT = 0.12  # share of samples that are told neither caption nor speech
COMMA = 0.1  # share of words with a comma after them
UNHEARD = 0.12  # share of batches in which the branches do not meet


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


def times(count: int, generator: torch.Generator) -> Tensor:
    """[count] in (0, 1], each from its own part of the range."""
    even = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    even = even.clamp(min=1e-3)[torch.randperm(count, generator=generator)]
    return SHIFT * even / (1 + (SHIFT - 1) * even)


def lesson(
    captions: TinyCaptionEncoder, batch: Batch, task: str, vocabulary: Vocabulary, generator: torch.Generator
) -> tuple[AVLatent, AVLatent, Tensor, Conditions, ReadingAttention]:
    """Noisy latent, the velocity to be predicted, the time [N], what the pass is told, and who attends in it."""
    given = given_of(batch, task, generator)
    frames = ClipLength.from_latents(batch.video.shape[2])
    layout = plan(given, frames, tokens=batch.audio.shape[2])
    data = replace(layout.latent, video=batch.video, audio=batch.audio)
    drawn = torch.Generator(batch.video.device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
    noise = data.map(lambda x: torch.randn(x.shape, generator=drawn, device=x.device))
    sigma = times(len(batch.text), generator).to(batch.video.device)
    noisy = data.map(lambda x, n: torch.lerp(x, n, sigma.view(-1, *[1] * (x.ndim - 1))), noise)
    told = torch.rand(len(batch.text), generator=generator) >= NO_TEXT
    unheard = bool(torch.rand((), generator=generator) < UNHEARD)
    caption = captions.encode([text if whole else "" for text, whole in zip(batch.caption, told, strict=True)])
    speech, places = speech_ids(batch, told, given.voice is not None, vocabulary, generator)
    conditions = Conditions(
        caption,
        speech.to(batch.video.device),
        given.image,
        given.voice,
        UNIMODAL if unheard else layout.interaction,
    )
    voice = 0 if given.voice is None else given.voice.shape[2]
    said = reading(batch, places, speech.shape[1])
    reader = ReadingAttention(said, voice + batch.audio.shape[2], batch.audio.device)
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
