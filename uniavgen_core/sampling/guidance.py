"""Modality-aware classifier-free guidance as a value (paper, section 3.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import NoReturn

from torch import Tensor

from ..config import MAX_TIMESTEP, RELEASE
from ..types import UNIMODAL, AVLatent, Conditions, Velocity

RELEASE_SKIPPED_LAYER = 11
MAX_SCALE = 1000.0
SCALES = {"scale_video": "the guidance scale of the video", "scale_audio": "the guidance scale of the sound"}
BOUNDS = {"start": "the start of the guided interval", "end": "the end of the guided interval"}


class Choice(str, Enum):
    """A word that says how; another one raises ``ValueError`` with a sentence."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise ValueError(f"{cls.__name__.lower()} must be {' or '.join(choice.value for choice in cls)}, not {value!r}")


class Unit(Choice):
    """What the guided interval is measured in."""

    STEPS = "steps"  # share of the steps, from 0 (first) to 1
    TIME = "t"  # flow time, from 1 (noise) down to 0 (data)


class Outside(Choice):
    """What happens outside the guided interval."""

    PLAIN = "plain"  # classifier-free guidance with the interaction left on (release)
    NONE = "none"  # the conditional pass alone (paper)


class Mode(Enum):
    """What one step does."""

    MODALITY_AWARE = "modality-aware"
    PLAIN = "plain"
    NONE = "none"


@dataclass(frozen=True)
class Guidance:
    """v = v_uncond + scale * (v_cond - v_uncond), with a scale for each modality and one unconditional pass for both.

    In the interval from ``start`` to ``end`` the unconditional pass runs each branch alone (MA-CFG).
    ``skip_layers`` are left out of every unconditional pass (skip-layer guidance). The defaults are the release:
    MA-CFG for the first half of the steps, plain guidance after it. `Guidance.paper` is the paper's.
    """

    scale_video: float = 3.0
    scale_audio: float = 2.0
    start: float = 0.0
    end: float = 0.5
    unit: Unit = Unit.STEPS
    outside: Outside = Outside.PLAIN
    skip_layers: tuple[int, ...] = (RELEASE_SKIPPED_LAYER,)

    def __post_init__(self) -> None:
        for name, words in (SCALES | BOUNDS).items():
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{words} must be a finite number, not {getattr(self, name)}")
        for name, words in SCALES.items():
            if abs(getattr(self, name)) > MAX_SCALE:
                raise ValueError(f"{words} must be from {-MAX_SCALE:g} to {MAX_SCALE:g}")
        first, last = ("start", "end") if self.unit is Unit.STEPS else ("end", "start")
        if not 0 <= getattr(self, first) <= getattr(self, last) <= 1:
            raise ValueError(
                f"the guided interval from {self.start} to {self.end} is not one: in {self.unit.value}, {first} must "
                f"be at least 0, {last} at most 1, and {first} not above {last}"
            )

    @classmethod
    def for_layers(cls, num_layers: int) -> Guidance:
        """The release's guidance for a model of any depth: the skipped layer at the same share of the depth."""
        return cls(skip_layers=(round(RELEASE_SKIPPED_LAYER / RELEASE.num_layers * num_layers),))

    @classmethod
    def paper(cls) -> Guidance:
        """MA-CFG for t in [0.5, 1], no guidance outside, no skipped layer."""
        return cls(start=1.0, end=0.5, unit=Unit.TIME, outside=Outside.NONE, skip_layers=())

    def check_layers(self, num_layers: int) -> None:
        """Raises ``ValueError`` if a skipped layer is not one of the model's."""
        for layer in self.skip_layers:
            if not 0 <= layer < num_layers:
                raise ValueError(f"layer {layer} cannot be skipped: the model has layers 0 to {num_layers - 1}")

    def mode(self, t: float, timesteps: Tensor) -> Mode:
        """What to do at time ``t`` in [0, 1000] of a run over ``timesteps`` [steps + 1].

        In steps, the interval holds the times from that of step floor(start * steps) on, before that of step
        floor(end * steps); a solver's times between two steps belong to the earlier one. With both scales 1, as
        few-step models want it, the conditional pass alone is the result.
        """
        if self.scale_video == self.scale_audio == 1:
            return Mode.NONE
        if self.unit is Unit.STEPS:
            steps = len(timesteps) - 1
            first, last = (float(timesteps[int(share * steps)]) for share in (self.start, self.end))
            inside = first >= t > last
        else:
            inside = self.start * MAX_TIMESTEP >= t >= self.end * MAX_TIMESTEP
        if inside:
            return Mode.MODALITY_AWARE
        return Mode.PLAIN if self.outside is Outside.PLAIN else Mode.NONE

    def unconditional(self, negative: Conditions, mode: Mode) -> Conditions:
        """What the unconditional pass of a step is told."""
        return replace(negative, interaction=UNIMODAL) if mode is Mode.MODALITY_AWARE else negative

    def combine(self, conditional: Velocity, unconditional: Velocity) -> AVLatent:
        """The guided velocity."""
        return AVLatent(
            unconditional.video + self.scale_video * (conditional.video - unconditional.video),
            unconditional.audio + self.scale_audio * (conditional.audio - unconditional.audio),
        )
