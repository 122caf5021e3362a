"""Where about each word of a speech is heard in a mel.

A rough guess and no alignment: the letters of the text are spread evenly over the time in which there is sound, so a
word can be off by the length of a word or two. Good enough to see which part of a mel to listen to.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .mel import FLOOR

AUDIBLE = 0.3  # of the way from silence to the loudest moment, in the mean of the log-mel
PAUSE = 15  # tokens: a shorter gap is part of a word, as the silence before a p or t


@dataclass(frozen=True)
class Place:
    """A word, and the audio tokens of a clip in which it is heard: ``start`` to before ``end``."""

    text: str
    start: int
    end: int


def rough_places(words: list[str], log_mel: Tensor) -> list[Place]:
    """Words in their order -> where about they are heard in a log-mel [80, L], not normalised."""
    voiced = voiced_tokens(log_mel)
    letters = [max(1, sum(map(str.isalnum, word))) for word in words]
    if not len(voiced) or not words:
        return []
    places, before = [], 0
    for word, length in zip(words, letters, strict=True):
        first, last = (round(len(voiced) * n / sum(letters)) for n in (before, before + length))
        first = min(first, len(voiced) - 1)
        places.append(Place(word, int(voiced[first]), int(voiced[max(first, last - 1)]) + 1))
        before += length
    return places


def voiced_tokens(log_mel: Tensor) -> Tensor:
    """Indices of the audio tokens in which there is sound, with the short gaps between them."""
    quietest = torch.tensor(FLOOR).log()
    loudness = log_mel.detach().float().cpu().nan_to_num(nan=float(quietest)).mean(dim=0) - quietest
    heard = (loudness > AUDIBLE * loudness.max().clamp(min=1e-3)).nonzero()[:, 0]
    kept = [
        torch.arange(a, b) if b - a <= PAUSE else heard.new_tensor([a])
        for a, b in zip(heard.tolist(), heard.tolist()[1:], strict=False)
    ]
    return torch.cat((*kept, heard[-1:])) if len(heard) else heard
