"""Answers of a study's participants -> each method's share of the votes, with confidence intervals.

The interval says how the share would vary with other people, for the same clips: participants are resampled as a
whole (percentile bootstrap), since one person's answers are alike. Where all of them gave a method the same share,
resampling sees nothing vary: there it is Wilson's interval with each participant as one vote.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..report import CONFIDENCE, Column, Score, escaped, summarize, write_text, written
from .key import CRITERIA, Key

LARGEST = 4 << 20  # bytes of a file of answers: it has some thousands


@dataclass(frozen=True)
class Vote:
    """question: the clips' name in the folders; place: of the chosen clip on the page, from 1; seconds: taken"""

    participant: str
    question: str
    criterion: str
    method: str
    place: int
    seconds: float


@dataclass(frozen=True)
class Share:
    """Of the votes for a criterion that a method got. low, high: the 95 % interval; None of a single participant"""

    method: str
    criterion: str
    votes: int
    of: int
    share: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Tally:
    """participants: votes of each; refused: why files were left out; notices: what else is to be known"""

    key: Key
    participants: dict[str, tuple[Vote, ...]]
    refused: tuple[str, ...]
    notices: tuple[str, ...]

    @property
    def votes(self) -> list[Vote]:
        return [vote for votes in self.participants.values() for vote in votes]

    def share(self, method: str, criterion: str) -> Share | None:
        """None if nobody answered."""
        asked = [[vote for vote in votes if vote.criterion == criterion] for votes in self.participants.values()]
        asked = [votes for votes in asked if votes]
        if not asked:
            return None
        won = np.array([sum(vote.method == method for vote in votes) for votes in asked])
        of = np.array([len(votes) for votes in asked])
        score = _score(won, of)
        low, high = (None if math.isnan(end) else end for end in (score.low, score.high))
        return Share(method, criterion, int(won.sum()), int(of.sum()), score.mean, low, high)

    def shares(self) -> list[Share]:
        pairs = ((method, criterion) for method in self.key.methods for criterion in CRITERIA)
        return [share for pair in pairs if (share := self.share(*pair))]

    def text(self) -> str:
        """The table in Markdown, what it rests on, and what was left out."""
        column = Column("share", "", digits=1, percent=True)
        shares = {(share.method, share.criterion): share for share in self.shares()}
        lines = [["method", *(f"{title} ↑" for title in CRITERIA.values())], ["---"] * (1 + len(CRITERIA))]
        for method in self.key.methods:
            cells = [_cell(column, shares.get((method, criterion))) for criterion in CRITERIA]
            lines.append([escaped(method), *cells])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        chance = column.write(1 / len(self.key.methods))
        told = (
            f"participants: {len(self.participants)}; questions: {len(self.key.questions)}; votes: {len(self.votes)}; "
            f"by chance: {chance}; 95 % intervals over participants; study: {self.key.study}"
        )
        rest = [f"- {line}" for line in self.notices]
        if self.refused:
            rest += ["", f"{len(self.refused)} files were left out:", *(f"- {line}" for line in self.refused)]
        return "\n".join([table, "", told, *rest])


def count(folder: Path, key: Key) -> Tally:
    """Reads every JSON file of the folder. Raises ``ValueError`` or ``OSError`` if none is an answer to this study."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: give the one with the files of answers")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".json")
    found: dict[str, list[tuple[str, tuple[Vote, ...]]]] = defaultdict(list)
    refused, notices, participants = [], [], {}
    for file in files:
        try:
            participant, votes = read_answers(file, key)
            found[participant].append((file.name, votes))
        except (ValueError, OSError) as error:
            refused.append(f"{file.name}: {error}")
    if not found:
        raise ValueError("\n".join([f"there is no answer to study {key.study} in {folder}", *refused]))
    for participant, sent in found.items():
        name, votes = max(sent, key=lambda one: len(one[1]))  # the first of the fullest
        others = [other for other, _ in sent if other != name]
        if others:
            notices.append(
                f"participant {participant} is there {len(sent)} times: {name} counts, not {', '.join(others)}"
            )
        asked = len(key.questions) * len(CRITERIA)
        if len(votes) < asked:
            notices.append(f"{name} holds {len(votes)} of {asked} answers, which count")
        if votes:
            participants[participant] = votes
    return Tally(key, participants, tuple(refused), tuple(notices))


def read_answers(file: Path, key: Key) -> tuple[str, tuple[Vote, ...]]:
    """A participant and the votes. Raises ``ValueError`` or ``OSError`` that says what is wrong with the file."""
    if file.stat().st_size > LARGEST:
        raise ValueError("it is too large to be answers")
    try:
        plain = json.loads(file.read_text("utf-8-sig"))
        study, participant, answers = plain["study"], plain["participant"], plain["answers"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("it is damaged, or holds no answers") from error
    if study != key.study:
        raise ValueError(f"it belongs to another study ({str(study)[:40]!r})")
    if not isinstance(participant, str) or not re.fullmatch("[0-9a-f]{16}", participant):
        raise ValueError("it is damaged: it names no participant")
    if not isinstance(answers, list):
        raise ValueError("it is damaged: its answers are no list")
    votes = [_vote(answer, participant, number, key) for number, answer in enumerate(answers, 1)]
    if len({(vote.question, vote.criterion) for vote in votes}) < len(votes):
        raise ValueError("it is damaged: it answers a question twice")
    return participant, tuple(votes)


def _vote(answer: object, participant: str, number: int, key: Key) -> Vote:
    questions = {question.name: question for question in key.questions}
    try:
        question, choice, shown = questions[answer["question"]], answer["choice"], answer["shown"]
        method, criterion, seconds = question.method_of(choice), answer["criterion"], float(answer["seconds"])
        whole = sorted(shown) == sorted(made.name for made in question.clips)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"its answer {number} is damaged, or to a question that was not asked") from error
    if method is None or criterion not in tuple(CRITERIA) or not whole or not 0 <= seconds < math.inf:
        raise ValueError(f"its answer {number} is damaged, or none that could be given")
    return Vote(participant, question.clip, criterion, method, shown.index(choice) + 1, seconds)


def _score(won: np.ndarray, of: np.ndarray) -> Score:
    """won, of: votes of each participant for a method and for all, [participants]"""
    shares = won / of
    if len(of) < 2 or np.ptp(shares) > 0:
        return summarize(shares, of.astype(float))
    return _wilson(float(shares[0]), len(of))


def _wilson(share: float, count: int) -> Score:
    """E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927."""
    from scipy.stats import norm

    z = norm.ppf((1 + CONFIDENCE) / 2)
    shrunk = 1 + z * z / count
    centre = (share + z * z / (2 * count)) / shrunk
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / shrunk
    return Score(share, max(0.0, centre - half), min(1.0, centre + half), count)


def _cell(column: Column, share: Share | None) -> str:
    if share is None:
        return "-"
    ends = (math.nan if end is None else end for end in (share.low, share.high))
    return written(column, Score(share.share, *ends, share.of))


def save(tally: Tally, folder: Path) -> None:
    """study.md with the table, study.csv with every vote, study.json with the shares and what was left out."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "study.md", f"{tally.text()}\n")
    write_text(folder / "study.csv", _csv(tally.votes))
    plain = {
        "study": tally.key.study,
        "title": tally.key.title,
        "participants": len(tally.participants),
        "questions": len(tally.key.questions),
        "confidence": CONFIDENCE,
        "shares": [asdict(share) for share in tally.shares()],
        "notices": tally.notices,
        "refused": tally.refused,
    }
    write_text(folder / "study.json", json.dumps(plain, indent=1, ensure_ascii=False) + "\n")


def _csv(votes: Sequence[Vote]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(Vote.__dataclass_fields__))
    writer.writeheader()
    writer.writerows(map(asdict, votes))
    return text.getvalue()
