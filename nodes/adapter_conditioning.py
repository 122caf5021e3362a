"""What a conditioning carries for UniAVGen beside the caption: the fields of the core's Conditions, under own keys.

The same names are the keyword arguments of the model's forward, but for the script, which the model never sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..uniavgen_core.config import ModelConfig
from ..uniavgen_core.model.prepared import Prepared
from ..uniavgen_core.text.script import Script

SPEECH = "uniavgen_speech"  # ids [1, N]
SCRIPT = "uniavgen_script"  # Script the ids come from, in positive and negative
IMAGE = "uniavgen_reference_image"  # latent [1, 48, 1, h, w] as the VAE gives it
VOICE = "uniavgen_reference_voice"  # normalised log-mel [1, 80, R]
INTERACTION = "uniavgen_interaction"  # Interaction
SKIP_LAYERS = "uniavgen_skip_layers"  # tuple of layer numbers
FACE_MASKS = "uniavgen_face_masks"  # FaceMasks, owned by one run
CLEAN = "uniavgen_clean"  # given latents and tokens, from the noise mask
KEPT = "uniavgen_kept"  # Kept, owned by one run

NOTHING_SAID = "the conditioning says nothing to be spoken: make it with 'UniAVGen Text Encode'"

Conditioning = list[list[Any]]


@dataclass(eq=False)
class FaceMasks:
    """Where a run wants the face masks of each pass with this conditioning: the last pass stays."""

    masks: tuple[Tensor, ...] = ()


@dataclass(eq=False)
class Kept:
    """What the steps of a run share for one conditioning; made by the first of its passes.

    prepared: for each batch size, because the host may run the conditioning twice in one batch
    """

    prepared: dict[int, Prepared] = field(default_factory=dict)


@contextmanager
def kept_during_a_run(conditionings: Iterable[list[dict[str, Any]]]) -> Iterator[None]:
    """Gives each entry a `Kept` of its own, and takes it away in the end. Entries that differ only in the interaction
    share one. Those with hooks get none: their weights may change from step to step."""
    shared: dict[tuple[Any, ...], Kept] = {}
    entries = [entry for entries in conditionings for entry in entries if entry.get("hooks") is None]
    for entry in entries:
        texts = tuple(id(entry.get(name)) for name in ("cross_attn", SPEECH, IMAGE, VOICE))
        entry[KEPT] = shared.setdefault((*texts, entry.get(SKIP_LAYERS, ())), Kept())
    try:
        yield
    finally:
        for entry in entries:
            entry.pop(KEPT).prepared.clear()


def with_values(conditioning: Conditioning, **values: Any) -> Conditioning:
    """The conditioning with ``values`` added to each of its entries."""
    return [[caption, {**rest, **values}] for caption, rest in conditioning]


def check_conditioning(conditioning: Conditioning, config: ModelConfig) -> None:
    """Raises ``ValueError`` if the model cannot read one of the entries."""
    for caption, rest in conditioning:
        check({"cross_attn": caption, **rest}, config)


def script_of(conditioning: Conditioning) -> Script:
    """What a conditioning says. Raises ``ValueError`` if it is not from 'UniAVGen Text Encode'."""
    script = conditioning[0][1].get(SCRIPT)
    if script is None:
        raise ValueError(NOTHING_SAID)
    return script


def check(entry: Mapping[str, Any], config: ModelConfig) -> None:
    """Raises ``ValueError`` if the model cannot read an entry of a conditioning."""
    if SPEECH not in entry or entry.get("cross_attn") is None:
        raise ValueError(NOTHING_SAID)
    if IMAGE not in entry:
        raise ValueError(
            "the conditioning has no reference image: connect the outputs of 'UniAVGen Conditions', not those of the "
            "text encoder"
        )
    if entry.get("area") is not None or entry.get("mask") is not None:
        raise ValueError("UniAVGen has no regions: take the area or mask off the conditioning")
    width = entry["cross_attn"].shape[-1]
    if width != config.text_dim:
        raise ValueError(
            f"the CLIP encodes captions {width} wide, this model needs {config.text_dim}: use the umT5-xxl CLIP (type "
            "'wan') with the released weights, and the tiny model's own CLIP with the tiny model"
        )
    highest = int(entry[SPEECH].max())
    if highest >= config.speech_vocab:
        raise ValueError(
            f"the speech uses vocabulary entry {highest}, this model knows {config.speech_vocab}: encode the text with "
            "the CLIP that belongs to the model"
        )
