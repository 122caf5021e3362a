"""The tasks, done on clips of the test split as a user would have them done.

Clip -> Material -> (as in `uniavgen_core.pipeline`) Given, Conditions, sample, decode -> Made
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniavgen_core.bundle import Bundle
from uniavgen_core.geometry import ClipLength
from uniavgen_core.pipeline import Material, conditions, decode, encode_given
from uniavgen_core.sampling import Guidance, draw_noise, sample, timesteps
from uniavgen_core.task import plan
from uniavgen_core.text.script import Script
from uniavgen_core.types import UNIMODAL, AVLatent
from uniavgen_core.video.picture import to_bytes

from ..clips import Clip, make_clip
from ..data import encode, sound
from ..drawing import Array
from .reader import tokens_of


class Task(str, Enum):
    """What is asked for. Two generate nothing, and bound what can be had: ``TRUTH`` is the test clip itself, ``ALONE``
    its latents and audio tokens, decoded."""

    TRUTH = "drawn and spoken"
    ALONE = "autoencoder alone"
    DRIVEN = "audio-driven"
    JOINT = "joint"
    VOICE = "joint with a voice"
    DUBBING = "dubbing"
    BLIND = "dubbing, interaction cut"

    @property
    def dubs(self) -> bool:
        return self in (Task.DUBBING, Task.BLIND)

    @property
    def generates(self) -> bool:
        return self not in (Task.TRUTH, Task.ALONE)


@dataclass(frozen=True)
class Plan:
    """How all clips are made.

    guidance: None is the bundle's own
    """

    steps: int = 25
    shift: float = 5.0
    frames: int = 81
    guidance: Guidance | None = None


@dataclass(frozen=True)
class Made:
    """What came out; what was given is itself.

    frames: uint8 [F, H, W, 3]; waveform: float32 [samples] at 24 kHz; tokens: [80, L], its audio tokens
    mask: [T, 4, 4] in [0, 1], the face as the last layer sees it, or None
    """

    frames: NDArray[np.uint8]
    waveform: Array
    tokens: Tensor
    mask: Array | None


@lru_cache(maxsize=128)
def unseen_clip(number: int, frames: int) -> Clip:
    return make_clip(number, frames, "test")


def material(task: Task, clip: Clip) -> Material:
    """What a task is given of a clip."""
    frames = torch.from_numpy(clip.frames).float() / 255
    if task.dubs:
        return Material(footage=frames)
    if task is Task.DRIVEN:
        return Material(frames[:1], sound=sound(clip.waveform))
    if task is Task.VOICE:
        return Material(frames[:1], voice=sound(clip.reference_waveform), transcript=clip.reference_text)
    return Material(frames[:1])


@torch.inference_mode()
def make(bundle: Bundle, task: Task, clip: Clip, how: Plan, seed: int = 0) -> Made:
    """The task done with what it is given of the clip."""
    if task is Task.TRUTH:
        return Made(clip.frames, clip.waveform, tokens_of(clip), None)
    length = ClipLength(len(clip.frames))
    if task is Task.ALONE:
        result = AVLatent(encode(bundle.vae, torch.from_numpy(clip.frames)), tokens_of(clip)[None])
        masks = ()
    else:
        result, masks = _generate(bundle, task, clip, length, how, seed)
    made = decode(bundle, result, length)
    return Made(
        clip.frames if task.dubs else to_bytes(made.frames),
        clip.waveform if task is Task.DRIVEN else made.waveform[0].numpy(),
        result.audio[0].cpu(),
        masks[-1][0].cpu().numpy() if masks else None,
    )


def _generate(
    bundle: Bundle, task: Task, clip: Clip, length: ClipLength, how: Plan, seed: int
) -> tuple[AVLatent, tuple[Tensor, ...]]:
    """One window, as `uniavgen_core.pipeline.generate` makes it: the latent, and the face masks."""
    device = next(bundle.model.parameters()).device
    stuff = material(task, clip)
    given = encode_given(bundle.vae, stuff, *clip.frames.shape[1:3], length, overlap=0, device=device)
    part = plan(given, length, bundle.model.config.mel_bins).latent
    script = Script(clip.text, bundle.vocabulary, "en", stuff.transcript)
    told = conditions(bundle, part, given, clip.caption, script)
    if task is Task.BLIND:
        told = tuple(replace(one, interaction=UNIMODAL) for one in told)
    guidance = how.guidance or bundle.guidance
    noise = draw_noise(part, seed)
    result, masks = sample(bundle.model, part, *told, guidance, timesteps(how.steps, how.shift), noise)
    return result.with_clean_from(part), masks
