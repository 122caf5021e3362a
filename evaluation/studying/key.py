"""What the page of a study hides and its organiser keeps: which method made which clip."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

# what is asked of each group of clips, as in the paper: which clip is best
CRITERIA = {"audio": "audio quality", "video": "video quality", "coherence": "audio-visual coherence"}


@dataclass(frozen=True)
class Made:
    """A clip of the page. name: neutral, of its file; loudness: of the original, LUFS, None if silent; gain: dB"""

    name: str
    method: str
    loudness: float | None
    gain: float


@dataclass(frozen=True)
class Question:
    """Clips to choose from, one of each method. name: neutral; clip: the name that the files had in the folders"""

    name: str
    clip: str
    clips: tuple[Made, ...]

    def method_of(self, name: object) -> str | None:
        return next((made.method for made in self.clips if made.name == name), None)


@dataclass(frozen=True)
class Key:
    """study: identifies the page, in its answers too; seed: made the neutral names"""

    study: str
    title: str
    seed: int
    methods: tuple[str, ...]
    questions: tuple[Question, ...]

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def read_key(path: Path) -> Key:
    """Raises ``ValueError`` or ``OSError`` with a sentence for what is no key."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no key file {path}: give the one that 'study make' wrote")
    try:
        plain = json.loads(path.read_text("utf-8"))
        questions = tuple(
            Question(one["name"], one["clip"], tuple(Made(**made) for made in one["clips"]))
            for one in plain["questions"]
        )
        return Key(plain["study"], plain["title"], plain["seed"], tuple(plain["methods"]), questions)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the key of a study: give the file that 'study make' wrote") from error
