"""A model together with the parts that stand around it."""

from __future__ import annotations

from dataclasses import dataclass

from .model.joint import JointModel
from .sampling import Guidance
from .text.vocabulary import Vocabulary
from .types import CaptionEncoder, VideoAutoencoder, Vocoder


@dataclass(frozen=True)
class Bundle:
    """Everything that turns text and a picture into a clip.

    short_side: pixels of a picture's shorter side, at which the model works
    name: what to call the model to the user
    guidance: what serves the model best where nothing else is asked for
    """

    model: JointModel
    caption_encoder: CaptionEncoder
    vae: VideoAutoencoder
    vocoder: Vocoder
    vocabulary: Vocabulary
    short_side: int
    name: str
    guidance: Guidance
