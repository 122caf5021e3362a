"""What is said in a clip, after what its reference voice says: texts -> ids of both passes; long texts in parts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..geometry import TEMPORAL_STRIDE, VIDEO_FPS
from .speech import IDEOGRAPH, check_speech, empty_speech, pad_ids, tokenize
from .vocabulary import Vocabulary

# Characters a second, as people speak and faster than anyone speaks
LATIN_RATE, IDEOGRAPH_RATE = 15.0, 4.5
FASTEST = 2.0  # times the above

PART_MARK = re.compile(r"^[ \t]*-{3,}[ \t]*$", re.MULTILINE)  # a line of dashes begins the next window's text
SENTENCE_END, PAUSE = ".!?。！？…\n", ",;:，；：、—–"
# How many characters a cut may lie farther from its place to be at a pause instead of between words, or at the end
# of a sentence instead of at a pause
PAUSE_WORTH, SENTENCE_WORTH = 20, 20


@dataclass(frozen=True)
class Script:
    """What is said.

    text: what the clip says; transcript: what the reference voice says before it, "" without one
    language: of both, "auto" looks at each
    """

    text: str
    vocabulary: Vocabulary
    language: str = "auto"
    transcript: str = ""

    def saying(self, text: str) -> Script:
        """The same voice with another text."""
        return replace(self, text=text)

    def tokens(self) -> list[str]:
        """Tokens of the conditional pass: transcript, a space, text."""
        return self._before() + tokenize(self.text, self.language)

    def ids(self) -> Tensor:
        """Speech ids of the conditional pass: [1, N]. Raises ``ValueError`` if there is nothing to say."""
        check_speech(self.text)
        return pad_ids(self.vocabulary.encode(self.tokens()))

    def negative_ids(self) -> Tensor:
        """Speech ids of the unconditional pass: [1, M]; the transcript stays (released behaviour)."""
        return pad_ids(self.vocabulary.encode(self._before())) if self.transcript else empty_speech()

    def unknown(self) -> list[str]:
        """Distinct tokens the vocabulary lacks."""
        return self.vocabulary.unknown(self.tokens())

    def _before(self) -> list[str]:
        return [*tokenize(self.transcript, self.language), " "] if self.transcript else []


def seconds_of(text: str) -> float:
    """How long it takes about to say the text."""
    ideographs = len(IDEOGRAPH.findall(text))
    return ideographs / IDEOGRAPH_RATE + (len(text.strip()) - ideographs) / LATIN_RATE


def check_fits(text: str, seconds: float) -> None:
    """Raises ``ValueError`` if no one can say the text in that time."""
    needed = seconds_of(text)
    if needed > FASTEST * seconds:
        frames = math.ceil(needed * VIDEO_FPS / TEMPORAL_STRIDE) * TEMPORAL_STRIDE + 1
        raise ValueError(
            f"the speech takes about {needed:.0f} s to say and the clip lasts {seconds:.1f} s: shorten it, or ask for "
            f"{frames} frames"
        )


def divide(text: str, shares: Sequence[float]) -> list[str]:
    """The text in as many parts as ``shares``, about in their proportion, cut at sentences, pauses or words.

    Lines of three or more dashes in the text cut it where they stand instead. Parts can be empty if the text is
    short. Raises ``ValueError`` if such lines make another number of parts.
    """
    parts = [part.strip() for part in PART_MARK.split(text)]
    if len(parts) > 1:
        if len(parts) != len(shares):
            raise ValueError(
                f"the speech has {len(parts)} parts between lines of dashes, the clip has {len(shares)} windows: "
                "give one part for each window, or none of these lines"
            )
        return parts
    cuts = _cuts(text)
    chosen, total = [0], sum(shares)
    for i in range(1, len(shares)):
        place = len(text) * sum(shares[:i]) / total
        later = [cut for cut in cuts if cut[0] >= chosen[-1]]
        chosen.append(min(later, key=lambda cut: abs(cut[0] - place) + cut[1])[0])
    return [text[a:b].strip() for a, b in zip(chosen, [*chosen[1:], len(text)], strict=True)]


def _cuts(text: str) -> list[tuple[int, int]]:
    """Places where the text may be cut, and what each costs in characters; the ends only if there is no other."""
    never = len(text) + SENTENCE_WORTH + PAUSE_WORTH
    cuts = [(0, never), (len(text), never)]
    for i in range(1, len(text)):
        before, here = text[i - 1], text[i]
        if before in SENTENCE_END and (here.isspace() or not here.isascii()):
            cuts.append((i, 0))
        elif before in PAUSE and (here.isspace() or not here.isascii()):
            cuts.append((i, SENTENCE_WORTH))
        elif here.isspace() or IDEOGRAPH.match(here):
            cuts.append((i, SENTENCE_WORTH + PAUSE_WORTH))
    return cuts


def last_words(text: str, share: float) -> str:
    """The last ``share`` of the text, from the nearest word on."""
    place = len(text) * (1 - share)
    start = min((cut for cut, _ in _cuts(text)), key=lambda cut: abs(cut - place))
    return text[start:].strip()
