"""The four guidance settings of the paper's table of guidance, over a range of scales."""

from __future__ import annotations

from collections.abc import Sequence

from uniavgen_core.sampling import Guidance, Outside, Unit

SCALES = (1.5, 2.0, 3.0)


def settings(scales: Sequence[float] = SCALES) -> dict[str, Guidance]:
    """By name: without guidance, and each kind at each scale of both modalities. No layer is skipped."""
    kinds = {
        "plain": {"start": 0.0, "end": 0.0, "unit": Unit.STEPS, "outside": Outside.PLAIN},
        "MA-CFG": {"start": 0.0, "end": 1.0, "unit": Unit.STEPS, "outside": Outside.NONE},
        "MA-CFG in [0.5, 1]": {"start": 1.0, "end": 0.5, "unit": Unit.TIME, "outside": Outside.NONE},
    }
    found = {"none": Guidance(scale_video=1.0, scale_audio=1.0, skip_layers=())}
    for name, kind in kinds.items():
        for scale in scales:
            found[f"{name} {scale:g}"] = Guidance(scale_video=scale, scale_audio=scale, skip_layers=(), **kind)
    return found
