"""Spoken words with the exact times of their sounds, from espeak-ng (library and data: PyPI's ``espeakng-loader``).

words, voice, rate -> phrases between pauses -> espeak -> one waveform at 24 kHz
"""

from __future__ import annotations

import _ctypes
import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

import numpy as np
from scipy.signal import resample_poly

from uniavgen_core.geometry import SAMPLE_RATE

# Words that tell themselves apart in espeak's mouth: four, five, seven and eight, among others, are often misheard.
WORDS = (
    *("zero", "one", "two", "three", "six", "nine", "hello", "goodbye", "yes", "please", "water", "music", "money"),
    *("yellow", "orange", "purple", "morning", "evening", "tomorrow", "garden", "doctor", "banana", "coffee"),
    *("chocolate", "together", "children"),
)
RATES = range(120, 191)  # words a minute


@dataclass(frozen=True)
class Voice:
    """name: as it is called here; espeak: as espeak calls it; pitch: espeak's 0..99; woman: how it is drawn"""

    name: str
    espeak: str
    pitch: int
    woman: bool


# None lower than 95 Hz, shifted: the window of the mel, 43 ms, would not tell their harmonics apart
VOICES = (
    Voice("low man", "en-us+m3", 62, woman=False),
    Voice("high man", "en-us+m6", 85, woman=False),
    Voice("low woman", "en-us+f1", 55, woman=True),
    Voice("high woman", "en-us+f5", 80, woman=True),
)


@dataclass(frozen=True)
class Phoneme:
    """One sound of speech: start and end in seconds, name as espeak writes it (a ' before it: stressed)."""

    start: float
    end: float
    name: str


@dataclass(frozen=True)
class Utterance:
    """waveform: float32 [samples] at 24 kHz in [-1, 1]; between phonemes there is silence; word_starts: seconds"""

    waveform: np.ndarray
    phonemes: tuple[Phoneme, ...]
    word_starts: tuple[float, ...]
    text: str


def say(words: Sequence[str], voice: Voice, rate: int, pitch_shift: int = 0, pauses: Sequence[float] = ()) -> Utterance:
    """Words one after the other; the same arguments give the same samples. The first sound begins at 0.

    rate: words a minute, one of ``RATES``
    pitch_shift: added to the voice's pitch
    pauses: seconds of silence after each word but the last; none at 0, where the words run into each other
    Raises ``ValueError`` for no words, another number of pauses, and a rate or pitch that is not possible.
    """
    pauses = pauses or [0.0] * (len(words) - 1)
    if not words or len(pauses) != len(words) - 1 or min(pauses, default=0) < 0:
        raise ValueError(f"{len(words)} words take {max(len(words) - 1, 1)} pauses, none negative, not {list(pauses)}")
    if rate not in RATES:
        raise ValueError(f"the rate must be {RATES[0]} to {RATES[-1]} words a minute, not {rate}")
    if not 0 <= voice.pitch + pitch_shift <= 99:
        raise ValueError(f"the pitch {voice.pitch} {pitch_shift:+d} of the {voice.name} is not within 0 to 99")
    pieces, phonemes, starts, time = [], [], [], 0.0
    with _espeak() as espeak:
        espeak.choose(voice.espeak, rate, voice.pitch + pitch_shift)
        for phrase, pause in _phrases(words, pauses):
            samples, sounds, begins = espeak.speak(" ".join(phrase))
            silence = round(pause * espeak.rate)
            phonemes += [Phoneme(time + start, time + end, name) for start, end, name in sounds]
            starts += [time + begin for begin in begins]
            pieces += [samples, np.zeros(silence, np.float32)]
            time += (len(samples) + silence) / espeak.rate
        divisor = gcd(SAMPLE_RATE, espeak.rate)
        up, down = SAMPLE_RATE // divisor, espeak.rate // divisor
    if len(starts) != len(words):
        raise ValueError(f"espeak says {len(starts)} words for {list(words)}: give words that it says one by one")
    waveform = resample_poly(np.concatenate(pieces), up, down).clip(-1, 1).astype(np.float32)
    return Utterance(waveform, tuple(phonemes), tuple(starts), " ".join(words))


def _phrases(words: Sequence[str], pauses: Sequence[float]) -> Iterator[tuple[list[str], float]]:
    """Words that no pause divides, and the pause after them."""
    phrase = []
    for word, pause in zip(words, (*pauses, 0.0), strict=True):
        phrase.append(word)
        if pause:
            yield phrase, pause
            phrase = []
    if phrase:
        yield phrase, 0.0


# Of espeak's C interface (speak_lib.h)
SYNCHRONOUS, BUFFER, PHONEME_EVENTS, UTF8 = 2, 500, 1, 1
RATE, PITCH = 1, 3  # parameters
LIST_END, WORD, PHONEME = 0, 1, 7  # events


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Speaker:
    """espeak in this process."""

    def __init__(self, library: ctypes.CDLL, data: str):
        self._library, self._samples, self._events = library, [], []
        self._callback = _Callback(self._receive)  # kept: espeak calls it
        self.rate = library.espeak_Initialize(SYNCHRONOUS, BUFFER, data.encode(), PHONEME_EVENTS)
        if self.rate <= 0:
            raise ValueError(f"espeak cannot start with the data in {data}: install espeakng-loader anew")
        library.espeak_SetSynthCallback(self._callback)
        library.espeak_ng_SetRandSeed(ctypes.c_long(0))

    def choose(self, voice: str, rate: int, pitch: int) -> None:
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak has no voice {voice}: see `espeak-ng --voices=variant`")
        self._library.espeak_SetParameter(RATE, rate, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)

    def speak(self, text: str) -> tuple[np.ndarray, list[tuple[float, float, str]], list[float]]:
        """Samples in [-1, 1] from the first sound to the last, each sound's start, end and name, each word's start."""
        self._samples.clear()
        self._events.clear()
        data = text.encode() + b"\0"
        if self._library.espeak_Synth(data, len(data), 0, 0, 0, UTF8, None, None):
            raise ValueError(f"espeak cannot say {text!r}")
        samples = np.concatenate(self._samples).astype(np.float32) / 2**15
        marks = [(sample, name) for kind, sample, name in self._events if kind == PHONEME]  # the last one is silence
        sounds = [(a, b, name) for (a, name), (b, _) in pairwise(marks) if not name.startswith("_")]
        first, end = sounds[0][0], sounds[-1][1]
        words = [sample for kind, sample, _ in self._events if kind == WORD]
        begins = [next(start for start, *_ in sounds if start >= word) for word in words]  # after a short silence
        seconds = [((a - first) / self.rate, (b - first) / self.rate, name) for a, b, name in sounds]
        return samples[first:end], seconds, [(begin - first) / self.rate for begin in begins]

    def _receive(self, samples, count, events) -> int:
        if count > 0:
            self._samples.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in iter(events):
            if event.type == LIST_END:
                break
            self._events.append((event.type, event.sample, event.id.string.decode("utf-8", "replace")))
        return 0


@contextmanager
def _espeak() -> Iterator[_Speaker]:
    """espeak, loaded anew each time (2 ms): its flutter and noise go on from what was said before."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        yield _Speaker(library, espeakng_loader.get_data_path())
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)
