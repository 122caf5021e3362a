"""A clip judged several times independently, and averaged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import aiohttp

from ..recording import Unmeasurable
from .answers import Answer, Unusable, parse
from .asking import Patience, ask
from .media import Media
from .services import Service

RUBRIC = Path(__file__).with_name("rubric.md").read_text("utf-8")
RUNS = 3  # the paper's


@dataclass(frozen=True)
class Judgement:
    """timbre, emotion: means over the runs, 0 to 1 (the paper's TC and EC); runs: the single answers"""

    timbre: float
    emotion: float
    runs: tuple[Answer, ...]


async def judge(
    media: Media, service: Service, rubric: str = RUBRIC, runs: int = RUNS, patience: Patience | None = None
) -> Judgement:
    """Asks the service the same ``runs`` times, each without knowledge of the others, and averages.

    Raises `Unmeasurable` with the reason if a run gets no usable answer, and `Stop` if no clip would.
    """
    patience, body = patience or Patience(), request(media, service, rubric)
    async with aiohttp.ClientSession() as session:
        answers = tuple([await _run(session, service, body, patience) for _ in range(runs)])
    return Judgement(fmean(answer.timbre for answer in answers), fmean(answer.emotion for answer in answers), answers)


def request(media: Media, service: Service, rubric: str) -> bytes:
    """What one request sends, besides its headers. Raises `Unmeasurable` if that is more than the service takes."""
    body = json.dumps(service.body(media, rubric)).encode()
    if service.largest and len(body) > service.largest:
        size, largest = len(body) / 1e6, service.largest / 1e6
        raise Unmeasurable(f"it is too large: {size:.1f} MB as it is sent, and the service takes {largest:.0f}")
    return body


async def _run(session: aiohttp.ClientSession, service: Service, body: bytes, patience: Patience) -> Answer:
    for _ in range(patience.answers):
        try:
            return parse(await ask(session, service, body, patience))
        except Unusable as error:
            failure = error
    raise Unmeasurable(f"{patience.answers} answers in a row are no use; of the last: {failure}")
