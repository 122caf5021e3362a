"""Variants of the model, each trained from the same audio branch for the same small number of steps: what the paper's
choices are worth here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from uniavgen_core.config import Alignment, InteractionConfig, Layers, ModelConfig, Site
from uniavgen_core.tiny.config import TINY

from ..model import STAGES, Stage

MASK_WEIGHT = 0.1  # of the mask loss, where it begins


@dataclass(frozen=True)
class Variant:
    """interaction: how the branches meet
    mask: weight of the mask loss at the beginning and at the end
    """

    interaction: InteractionConfig = field(default_factory=InteractionConfig)
    mask: tuple[float, float] = (MASK_WEIGHT, 0.0)

    @property
    def config(self) -> ModelConfig:
        return replace(TINY, interaction=self.interaction)


def _interaction(**changes) -> Variant:
    return Variant(InteractionConfig(**changes))


PAPER = "as the paper has it"
VARIANTS = {
    PAPER: Variant(),
    "symmetric, global": _interaction(alignment=Alignment.SYMMETRIC_GLOBAL),
    "symmetric, temporal": _interaction(alignment=Alignment.SYMMETRIC_TEMPORAL),
    "all layers": _interaction(layers=Layers.ALL),
    "first half": _interaction(layers=Layers.FIRST_HALF),
    "last half": _interaction(layers=Layers.LAST_HALF),
    "before cross-attention": _interaction(site=Site.BEFORE_CROSS_ATTENTION),
    "before the FFN": _interaction(site=Site.BEFORE_FFN),
    "no mask loss": Variant(mask=(0.0, 0.0)),
    "fixed mask loss": Variant(mask=(MASK_WEIGHT, MASK_WEIGHT)),
}
# each question's variants, and what the paper's choice is called in it
QUESTIONS = {
    "Interaction": ("asymmetric", ("symmetric, global", "symmetric, temporal")),
    "Layers at which the branches meet": ("interleaved", ("all layers", "first half", "last half")),
    "Where in a layer": ("before self-attention", ("before cross-attention", "before the FFN")),
    "Mask loss": ("decaying", ("no mask loss", "fixed mask loss")),
}


def stages(budget: int, mask: tuple[float, float], frames: int, pattern: Sequence[Stage] = STAGES) -> tuple[Stage, ...]:
    """The training's stages in so many steps in all, on clips of one length, with the mask loss falling evenly.

    Raises ``ValueError`` if there are fewer steps than stages.
    """
    if budget < len(pattern):
        raise ValueError(f"{len(pattern)} stages need a budget of at least as many steps, not {budget}")
    ends: list[int] = []
    for left, stage in zip(reversed(range(len(pattern))), pattern, strict=True):
        end = round(budget * stage.steps / pattern[-1].steps)
        ends.append(min(max(end, ends[-1] + 1 if ends else 1), budget - left))

    def weight(step: int) -> float:
        return mask[0] + (mask[1] - mask[0]) * step / budget

    return tuple(
        replace(stage, steps=end, lengths={frames: 1.0}, mask=(weight(start), weight(end)))
        for stage, start, end in zip(pattern, [0, *ends], ends, strict=False)
    )


def folder_of(root: Path, name: str) -> Path:
    """Where a variant keeps its training."""
    return root / name.replace(",", "").replace(" ", "-")
