"""What is said in a clip, after what its reference voice says: texts -> ids of both passes; long texts in parts."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..geometry import TEMPORAL_STRIDE, VIDEO_FPS
from .speech import IDEOGRAPH, check_speech, empty_speech, pad_ids, tokenize
from .vocabulary import Vocabulary

log = logging.getLogger(__name__)

# Characters a second, as people speak and faster than anyone speaks
LATIN_RATE, IDEOGRAPH_RATE = 15.0, 4.5
DIGIT_WEIGHT = 4  # a digit is read as a word of so many characters
FASTEST = 2.0  # times the above

SLOWEST, PAUSES = 6.0, 5.0  # times less, from which a transcript is doubted; seconds of silence beside what is said
LONG_VOICE, MAX_VOICE = 30.0, 120.0  # seconds of a reference voice that are a waste, and too many
MOST_NAMED = 20  # tokens in one sentence

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

    def saying(self, text: str, **changes: str) -> Script:
        """The same voice with another text."""
        return replace(self, text=text, **changes)

    def check(self) -> None:
        """Raises ``ValueError`` if the text has nothing to say, or nothing that the model can."""
        check_speech(self.text)
        letters = [token for token in self.own_tokens() if any(c.isalnum() for c in token)]
        if set(letters) <= set(self.vocabulary.unknown(letters)):
            unknown = self.saying(self.text, transcript="").unknown()
            named = named_tokens([token for token in unknown if any(c.isalnum() for c in token)])
            raise ValueError(
                f"this model's vocabulary has none of {named}, and the speech has nothing else: write it in letters "
                "that it has (the built-in tiny model knows Latin ones only, the released model also Chinese)"
                f"{self._other_language(unknown)}"
            )

    def tell_unknown(self) -> None:
        """Logs a warning that names what will not be spoken."""
        if unknown := self.unknown():
            named = named_tokens(unknown)
            log.warning("not in the model's vocabulary, so not spoken: %s%s", named, self._other_language(unknown))

    def own_tokens(self) -> list[str]:
        """Tokens of the text. Lines of dashes are not spoken."""
        parts = PART_MARK.split(self.text)
        return tokenize(self.text if len(parts) == 1 else " ".join(map(str.strip, parts)), self.language)

    def tokens(self) -> list[str]:
        """Tokens of the conditional pass: transcript, a space, text."""
        return self._before() + self.own_tokens()

    def ids(self) -> Tensor:
        """Speech ids of the conditional pass: [1, N]; those of the unconditional one if there is nothing to say."""
        return pad_ids(self.vocabulary.encode(self.tokens())) if self.text.strip() else self.negative_ids()

    def negative_ids(self) -> Tensor:
        """Speech ids of the unconditional pass: [1, M]; the transcript stays (released behaviour)."""
        return pad_ids(self.vocabulary.encode(self._before())) if self.transcript else empty_speech()

    def unknown(self) -> list[str]:
        """Distinct characters whose tokens the vocabulary lacks; any white space counts as the pause it becomes."""
        tokens = [token for token in self.vocabulary.unknown(self.tokens()) if not token.isspace()]
        written = self.transcript + self.text
        syllables = [token for token in tokens if token not in written]
        if not syllables:
            return tokens
        ideographs = [c for c in dict.fromkeys(IDEOGRAPH.findall(written)) if self.vocabulary.unknown(_spoken(c))]
        return [token for token in tokens if token in written] + (ideographs or syllables)

    def _other_language(self, unknown: list[str]) -> str:
        chinese = self.language == "en" and any(map(IDEOGRAPH.match, unknown))
        return "; Chinese is read only where the language is zh or auto, not en" if chinese else ""

    def _before(self) -> list[str]:
        return [*tokenize(self.transcript, self.language), " "] if self.transcript else []


def named_tokens(tokens: Sequence[str]) -> str:
    """As 'a', 'b', 'c' and 7 more."""
    more = f" and {len(tokens) - MOST_NAMED} more" if len(tokens) > MOST_NAMED else ""
    return ", ".join(map(repr, tokens[:MOST_NAMED])) + more


def _spoken(ideograph: str) -> list[str]:
    return [token for token in tokenize(ideograph, "zh") if not token.isspace()]


def seconds_of(text: str) -> float:
    """How long it takes about to say the text."""
    ideographs, digits = len(IDEOGRAPH.findall(text)), sum(map(str.isdecimal, text))
    latin = len(text.strip()) - ideographs + (DIGIT_WEIGHT - 1) * digits
    return ideographs / IDEOGRAPH_RATE + latin / LATIN_RATE


def check_fits(text: str, seconds: float, before: float = 0.0) -> None:
    """Raises ``ValueError`` if no one can say the text in a clip of that length.

    before: seconds at its beginning that are taken
    """
    needed, free = seconds_of(text), seconds - before
    if needed > FASTEST * free:
        frames = math.ceil((needed + before) * VIDEO_FPS / TEMPORAL_STRIDE) * TEMPORAL_STRIDE + 1
        room = f"the clip lasts {seconds:.1f} s" + (f", {free:.1f} s of them new" if before else "")
        raise ValueError(
            f"the speech takes about {needed:.0f} s to say and {room}: shorten it, or ask for {frames} frames"
        )


def check_voice(transcript: str, seconds: float) -> None:
    """Raises ``ValueError`` if a reference voice is too long, or no one can say the transcript in it; logs a warning
    if it is longer than it need be, or than the transcript."""
    if seconds > MAX_VOICE:
        raise ValueError(f"the reference voice lasts {seconds:.0f} s: cut some seconds of speech out of it")
    if seconds > LONG_VOICE:
        log.warning("the reference voice lasts %.0f s: some seconds are enough, more only take time", seconds)
    needed = seconds_of(transcript)
    lengths = f"the transcript takes about {needed:.1f} s to say and the reference voice lasts {seconds:.1f} s"
    if needed > FASTEST * seconds:
        raise ValueError(f"{lengths}: give what is said in this voice, word for word, or the whole recording")
    if SLOWEST * needed < seconds - PAUSES:
        log.warning("%s: words that it leaves out are lost or said twice in the clip", lengths)


def divide(text: str, shares: Sequence[float]) -> list[str]:
    """The text in as many parts as ``shares``, about in their proportion, cut at sentences, pauses or words.

    Lines of three or more dashes in the text cut it where they stand instead. Parts can be empty if the text is
    short. Raises ``ValueError`` if such lines make another number of parts, more than one of which are wanted.
    """
    parts = [part.strip() for part in PART_MARK.split(text)]
    if len(shares) == 1:
        return [" ".join(filter(None, parts))]
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
