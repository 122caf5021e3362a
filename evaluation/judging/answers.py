"""What a model answered -> two scores and a reason, or why it cannot be used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..recording import Unmeasurable

LONGEST_REASON = 1000  # characters that are kept
LONGEST_END = 20_000  # characters of an answer, its last ones, in which the scores are looked for


class Declined(Unmeasurable):
    """The service or the model will not judge this clip: no use to ask again."""


class Unusable(Unmeasurable):
    """An answer without two proper scores: another one may have them."""


@dataclass(frozen=True)
class Answer:
    """Of one run. timbre, emotion: 0 to 1, higher is better; reason: the model's"""

    timbre: float
    emotion: float
    reason: str


def parse(text: str) -> Answer:
    """The last ``{"score": [timbre, emotion], "reason": "..."}`` of a text; words and a code fence around it may be.

    Raises `Unusable` if there is none or its scores are not two numbers from 0 to 1, `Declined` if its score is null.
    """
    found = [value for value in _objects(text[-LONGEST_END:]) if "score" in value]
    if not found:
        raise Unusable(f'it holds no {{"score": [timbre, emotion]}}, but: {plain(text, 150) or "nothing"}')
    score, reason = found[-1]["score"], found[-1].get("reason")
    reason = plain(reason if isinstance(reason, str) else "", LONGEST_REASON)
    if score is None:
        raise Declined(f"the model gave no score: {reason or 'and no reason'}")
    shown = plain(json.dumps(score), 80)
    if not isinstance(score, list) or len(score) != 2 or not all(type(value) in (int, float) for value in score):
        raise Unusable(f"the score must be two numbers, not {shown}")
    if not all(0 <= value <= 1 for value in score):  # NaN neither
        raise Unusable(f"the scores must lie from 0 to 1, not {shown}")
    return Answer(float(score[0]), float(score[1]), reason)


def plain(text: str, longest: int) -> str:
    """One line of printable characters, cut: for reports and terminals."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def _objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text, without those inside others."""
    decoder, found = json.JSONDecoder(strict=False), []  # models break lines within a reason
    start = text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
            found.append(value)
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)
    return found
