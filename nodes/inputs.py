"""Inputs that several nodes share, and how their values become the core's."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io

from ..uniavgen_core.sampling import Guidance, Outside, Unit
from ..uniavgen_core.sampling.schedule import SHIFT, STEPS

RELEASE = Guidance()
AUTO, NO_LAYER = "auto", ("none", "-1", "")


def schedule_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "steps",
            default=STEPS,
            min=1,
            max=1000,
            tooltip=f"Sampling steps: more take longer and leave less error. The release uses {STEPS}.",
        ),
        io.Float.Input(
            "shift",
            default=SHIFT,
            min=0.01,
            max=100.0,
            step=0.01,
            tooltip="How far the steps lean towards noise: higher spends more of them on the coarse shape, "
            f"lower on details; 1 is even. The release uses {SHIFT:g}.",
        ),
    ]


def told_inputs() -> list[io.Input]:
    """The two conditionings of a run."""
    return [
        io.Conditioning.Input(
            "positive", tooltip="What is to be seen and heard, with all that is given; from 'UniAVGen Conditions'."
        ),
        io.Conditioning.Input(
            "negative",
            tooltip="What guidance leads away from: the same without caption and speech; from 'UniAVGen Conditions'.",
        ),
    ]


def sampling_inputs() -> list[io.Input]:
    """What a node that samples takes, but for the guidance."""
    return [
        io.Model.Input("model", tooltip="What draws the clip: from 'Load UniAVGen', with LoRAs if you like."),
        *told_inputs(),
        io.Latent.Input(
            "latent", tooltip="The clip to fill, with what is given: the AV LATENT of 'UniAVGen Conditions'."
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**64 - 1,
            control_after_generate=True,
            tooltip="The noise to start from: the same seed gives the same clip.",
        ),
        *schedule_inputs(),
        io.Combo.Input(
            "sampler",
            options=comfy.samplers.SAMPLER_NAMES,
            default="euler",
            tooltip="How ComfyUI takes the steps; some compute a step twice or add noise. The release uses euler.",
        ),
    ]


def guidance_inputs() -> list[io.Input]:
    strength = {"min": -100.0, "max": 100.0, "step": 0.1}
    share = {"min": 0.0, "max": 1.0, "step": 0.01}
    return [
        io.Float.Input(
            "s_v",
            default=RELEASE.scale_video,
            **strength,
            tooltip="How strongly texts and sound lead the pictures; 1 is no guidance. With both strengths at "
            f"1 a step takes about half the time. The release uses {RELEASE.scale_video:g}.",
        ),
        io.Float.Input(
            "s_a",
            default=RELEASE.scale_audio,
            **strength,
            tooltip="How strongly texts and pictures lead the sound; 1 is no guidance. "
            f"The release uses {RELEASE.scale_audio:g}.",
        ),
        io.Float.Input(
            "start",
            default=RELEASE.start,
            **share,
            tooltip="Where modality-aware guidance begins. In steps, 0 is the first; in t, 1 is pure noise.",
        ),
        io.Float.Input(
            "end",
            default=RELEASE.end,
            **share,
            tooltip="Where modality-aware guidance ends. In steps, 1 is the last; in t, 0 is the finished clip.",
        ),
        io.Combo.Input(
            "unit",
            options=[unit.value for unit in Unit],
            default=RELEASE.unit.value,
            tooltip="What start and end count: a share of the run's steps, or the flow time t, falling from 1 to 0.",
        ),
        io.Combo.Input(
            "outside",
            options=[outside.value for outside in Outside],
            default=RELEASE.outside.value,
            tooltip="Outside the interval: plain guidance, with the interaction left on (release), or none (paper), "
            "which saves a pass in those steps.",
        ),
        io.String.Input(
            "skip_layer",
            default=AUTO,
            tooltip="Layers that the unconditional pass leaves out: auto (11 of the release's 30, or that share of "
            "another model's), none or -1, or numbers such as 11 or 9, 11.",
        ),
    ]


def read_guidance(
    num_layers: int, s_v: float, s_a: float, start: float, end: float, unit: str, outside: str, skip_layer: str
) -> Guidance:
    """The values of `guidance_inputs` for a model with that many layers. Raises ``ValueError`` with a sentence."""
    layers = read_layers(skip_layer)
    if layers is None:
        layers = Guidance.for_layers(num_layers).skip_layers
    guidance = Guidance(s_v, s_a, start, end, Unit(unit), Outside(outside), layers)
    guidance.check_layers(num_layers)
    return guidance


def check_guidance(s_v: float, s_a: float, start: float, end: float, unit: str, outside: str, skip_layer: str) -> None:
    """Raises ``ValueError`` with a sentence for values that fit no model."""
    Guidance(s_v, s_a, start, end, Unit(unit), Outside(outside), read_layers(skip_layer) or ())


def read_layers(text: str) -> tuple[int, ...] | None:
    """None for "auto", else the layer numbers that are written there. Raises ``ValueError`` with a sentence."""
    text = text.strip().lower()
    if text == AUTO:
        return None
    if text in NO_LAYER:
        return ()
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"skip_layer {text!r} is not {AUTO}, none, or layer numbers such as 11 or 9, 11") from None
