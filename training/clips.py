"""Clips to learn from: a drawn face says words at a pace that the text does not tell."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from uniavgen_core.geometry import HOP_LENGTH, SAMPLE_RATE, TRAINED_FRAMES, VIDEO_FPS, ClipLength

from .drawing import SIDE, Array
from .faces import Face, render
from .mouths import curves
from .speech import RATES, VOICES, WORDS, Phoneme, Utterance, say

SPLITS = ("train", "test")
TEST_SHARE = 10  # one of so many word sequences is kept for testing
MIN_FRAMES = 17  # room for a word
LEAD = (0.05, 0.5)  # seconds of silence before the first word
TAIL = 0.15  # seconds of silence after the last word, at least
PAUSE, PAUSES_SHARE = (0.08, 0.6), 0.55  # seconds between words, and how often there is such a pause
WORD_SECONDS, WORDS_A_MINUTE = 0.42, 155  # an average word of the vocabulary at that rate
PITCH_SHIFTS = range(-6, 7)
NOISE = 1e-4  # under all sound: a recording's silence is not nothing
REFERENCE_SECONDS = (0.8, 1.5)
BLINK = (0.5, 1.0, 1.0, 0.5)  # how far the eyes are shut, frame by frame
BLINK_EVERY = (1.2, 4.0)  # seconds


@dataclass(frozen=True)
class Clip:
    """A talking face with its voice, and all that is known about it.

    frames: uint8 [F, 128, 128, 3], frame i at i / 16 seconds
    waveform: float32 [ClipLength(F).samples] at 24 kHz
    opening, width: float32 [F], 0 to 1, of the mouth
    mask: float32 [4, 4], share of each cell of the picture that is face
    voice: index into ``VOICES``; pitch_shift: added to its pitch
    reference_waveform: float32 [whole mel frames], another short utterance of that voice; reference_text: its words
    phonemes, word_starts: in seconds of the clip
    """

    text: str
    frames: NDArray[np.uint8]
    waveform: Array
    opening: Array
    width: Array
    mask: Array
    voice: int
    pitch_shift: int
    caption: str
    reference_text: str
    reference_waveform: Array
    phonemes: tuple[Phoneme, ...]
    word_starts: tuple[float, ...]

    @property
    def word_times(self) -> list[tuple[float, float]]:
        """When each word is said, from the start of its first sound to the end of its last: seconds."""
        bounds = pairwise((*self.word_starts, math.inf))
        return [(a, max(sound.end for sound in self.phonemes if a <= sound.start < b)) for a, b in bounds]


def split_of(words: Sequence[str]) -> str:
    """To which split a sequence of words belongs, always and everywhere the same."""
    digest = hashlib.sha256(" ".join(words).encode()).digest()
    return "test" if int.from_bytes(digest[:4], "big") % TEST_SHARE == 0 else "train"


def make_clip(seed: int, frames: int = TRAINED_FRAMES, split: str = "train", drawn: bool = True) -> Clip:
    """The clip of that seed; the same arguments give the same clip, and the splits share no sentence.

    drawn: False leaves the pictures out: ``frames`` is [0, 128, 128, 3]
    Raises ``ValueError`` for a length that is not 4n + 1 or has no room for a word, and for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}: it must be one of {', '.join(SPLITS)}.")
    length = ClipLength(frames)
    if frames < MIN_FRAMES:
        raise ValueError(f"a clip of {frames} frames has no room for a word: make it {MIN_FRAMES} or longer.")
    rng = np.random.default_rng([SPLITS.index(split), seed])
    voice, pitch_shift = int(rng.integers(len(VOICES))), int(rng.choice(PITCH_SHIFTS))

    lead, spoken = _sentence(rng, voice, pitch_shift, length.seconds, split)
    reference = _reference(rng, voice, pitch_shift, split)
    phonemes = tuple(Phoneme(sound.start + lead, sound.end + lead, sound.name) for sound in spoken.phonemes)
    opening, width = curves(phonemes, np.arange(frames) / VIDEO_FPS).T
    face, blinks = Face.random(rng, VOICES[voice].woman), _blinks(rng, frames)
    return Clip(
        text=spoken.text,
        frames=render(face, opening, width, blinks) if drawn else np.empty((0, SIDE, SIDE, 3), np.uint8),
        waveform=_recorded(rng, spoken.waveform, lead, length.samples),
        opening=opening,
        width=width,
        mask=face.mask(),
        voice=voice,
        pitch_shift=pitch_shift,
        caption=face.caption(),
        reference_text=reference.text,
        reference_waveform=_recorded(
            rng, reference.waveform, 0, -(-len(reference.waveform) // HOP_LENGTH) * HOP_LENGTH
        ),
        phonemes=phonemes,
        word_starts=tuple(start + lead for start in spoken.word_starts),
    )


def _words(rng: np.random.Generator, count: int, split: str) -> list[str]:
    """So many words at random, a sequence of that split."""
    while True:
        words = [str(word) for word in rng.choice(WORDS, count)]
        if split_of(words) == split:
            return words


def _sentence(
    rng: np.random.Generator, voice: int, pitch_shift: int, seconds: float, split: str
) -> tuple[float, Utterance]:
    """When speech begins in a clip of so many seconds, and the speech: about as many words as there is room for."""
    count = None
    while True:
        rate, lead = int(rng.choice(RATES)), rng.uniform(LEAD[0], min(LEAD[1], seconds / 8))
        room = seconds - lead - TAIL
        a_word = WORD_SECONDS * WORDS_A_MINUTE / rate
        if count is None:
            count = int(room / (a_word + PAUSES_SHARE * sum(PAUSE) / 2))
        count = max(count, 1)
        pauses = rng.uniform(*PAUSE, count - 1) * (rng.random(count - 1) < PAUSES_SHARE)
        spoken = say(_words(rng, count, split), VOICES[voice], rate, pitch_shift, pauses.tolist())
        if len(spoken.waveform) <= room * SAMPLE_RATE:
            return lead, spoken
        count -= 1


def _reference(rng: np.random.Generator, voice: int, pitch_shift: int, split: str) -> Utterance:
    """Two or three other words of the same speaker."""
    shortest, longest = (seconds * SAMPLE_RATE for seconds in REFERENCE_SECONDS)
    while True:
        words = _words(rng, int(rng.integers(2, 4)), split)
        spoken = say(words, VOICES[voice], int(rng.choice(RATES)), pitch_shift)
        if shortest <= len(spoken.waveform) <= longest:
            return spoken


def _recorded(rng: np.random.Generator, waveform: Array, lead: float, samples: int) -> Array:
    """Speech that begins after ``lead`` seconds, in so many samples with faint noise."""
    recorded = NOISE * rng.standard_normal(samples, dtype=np.float32)
    start = round(lead * SAMPLE_RATE)
    recorded[start : start + len(waveform)] += waveform
    return recorded


def _blinks(rng: np.random.Generator, frames: int) -> Array:
    """How far the eyes are shut in each frame [F]; they are open in the first, which is the portrait."""
    blinks = np.zeros(frames + len(BLINK), np.float32)
    start = 1 + int(rng.uniform(0, BLINK_EVERY[1]) * VIDEO_FPS)
    while start < frames:
        blinks[start : start + len(BLINK)] = BLINK
        start += int(rng.uniform(*BLINK_EVERY) * VIDEO_FPS)
    return blinks[:frames]
