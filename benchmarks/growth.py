"""How a joint forward grows with the clip: fitted exponents."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.cases import TASKS, TIME, Size, make_inputs
from benchmarks.floor import record
from benchmarks.measure import peak_bytes, seconds
from uniavgen_core.model import JointModel

FACTORS = (0.5, 1, 2, 3)  # of what the size has


def clips(size: Size) -> Iterator[tuple[str, list[tuple[int, Size]]]]:
    """What grows, and clips with how much of it they have; the rest stays, the sound's length too."""
    tokens = size.tokens
    yield "frames", [(4 * n - 3, replace(size, latents=n, tokens=tokens)) for n in scaled(size.latents, 1)]
    sides = zip(scaled(size.height, 2), scaled(size.width, 2), strict=True)
    yield "pixels", [(256 * h * w, replace(size, height=h, width=w)) for h, w in sides]
    yield "audio tokens", [(n, replace(size, tokens=n)) for n in scaled(tokens, 1)]


def scaled(number: int, multiple: int) -> list[int]:
    return [multiple * round(factor * number / multiple) for factor in FACTORS]


def of_forward(model: JointModel, size: Size, repeats: int, device: str) -> dict[str, float]:
    """Seconds, bytes and FLOPs of one joint pass, what does not change in a run prepared."""
    latent, conditions, _ = make_inputs(size, TASKS["joint"], device)
    latent = latent.map(lambda x: x.to(model.patch_embedding.weight.dtype))
    prepared, time = model.prepare(latent, conditions), TIME.to(device)

    def forward(**told: object) -> object:
        return model(latent, time, conditions, prepared=prepared, **told)

    return {
        "time": seconds({"": forward}, repeats, device)[""],
        "memory": peak_bytes(forward, device),
        "arithmetic": record(model, lambda work: forward(attention=work.attention)).flops,
    }


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of log y over log x, by least squares."""
    return float(np.polyfit([math.log(v) for v in x], [math.log(v) for v in y], 1)[0])
