"""What one kind of pass needs in every step of a run and is computed once: an explicit value, owned by the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .aligners import AlignmentTables, View
from .attention import KeysAndValues
from .rope import RotaryTable


@dataclass(frozen=True)
class Still:
    """A branch that is given whole: nothing it reads changes, so neither does what it shows the other branch.

    velocity: what its head says, as the model returns it
    shown: for each layer at which the branches meet, what the other branch attends to: keys and values of the sound,
        or the view of the video
    masks: for the video, the face mask [B, T * frame, 1] of each of these layers
    """

    velocity: Tensor
    shown: Mapping[int, KeysAndValues | View]
    masks: Mapping[int, Tensor]


@dataclass(frozen=True)
class Prepared:
    """Everything but the timestep and the noisy parts, for one latent's lengths and given parts and one pass's texts.

    layers: the blocks that run
    video_text, audio_text: for each of them the text's keys and values
    video_rotary, audio_rotary: positions of all tokens of a branch
    tables: None where the branches do not meet
    still_video, still_audio: a branch that is given whole, else None
    """

    layers: tuple[int, ...]
    video_text: Mapping[int, KeysAndValues]
    audio_text: Mapping[int, KeysAndValues]
    video_rotary: RotaryTable
    audio_rotary: RotaryTable
    tables: AlignmentTables | None
    still_video: Still | None = None
    still_audio: Still | None = None


def moved(pair: KeysAndValues, device: torch.device | str | None) -> KeysAndValues:
    """Keys and values on a device; None leaves them where they are."""
    return pair if device is None else (pair[0].to(device), pair[1].to(device))
