"""A local copy of GRID -> rows that dub its videos, each with the voice of a speaker who is not the one seen.

GRID (Cooke et al. 2006): 34 speakers say 1000 sentences of six words; a video is 3 s long; there is none of speaker 21.
Setting 3.0 (the README of StyleDubber's code) takes the reference audio from unseen speakers, of another data set. Its
list for GRID is not in that code: a table of voices may be given, else the voices are other speakers of GRID.
"""

from __future__ import annotations

import csv
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from .rows import Rows

VIDEOS, SOUNDS, ALIGNMENTS = (".mpg", ".mpeg", ".mp4", ".avi", ".mov", ".mkv"), (".wav", ".flac"), (".align",)
KINDS = {"video": VIDEOS, "sound": SOUNDS, "alignment": ALIGNMENTS}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},
    dict(zip("z123456789", DIGITS, strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
CODE = "".join(f"[{''.join(words)}]" for words in WORDS)
NAME = re.compile(rf"(?:s0*(\d+)[-_])?({CODE})", re.IGNORECASE)  # bbaf2n, or s1-bbaf2n as in EmoDubber
SPEAKER = re.compile(r"s0*(\d+)(?:[._-].*)?", re.IGNORECASE)  # of a folder: s1, s01, s1.mpg_vcd, s1_50kHz
LISTED = re.compile(rf"\bs0*(\d+)[-_/\\](?:s\d+[-_])?({CODE})\b", re.IGNORECASE)  # in a list of the test set
SILENT = ("sil", "sp")  # no words in an .align file
SECONDS, TOLERANCE = 3.0, 0.2  # of a video


@dataclass(frozen=True)
class Utterance:
    """A sentence of a speaker, and the files there are of it."""

    speaker: int
    code: str
    files: dict[str, Path]

    @property
    def name(self) -> str:
        return f"s{self.speaker}-{self.code}"

    @property
    def sound(self) -> Path | None:
        """Of the voice; the video has one too."""
        return self.files.get("sound") or self.files.get("video")


@dataclass(frozen=True)
class Voice:
    """How somebody sounds: the file, and the words in it. speaker, code: of GRID; 0 and empty for others"""

    name: str
    speaker: int
    code: str
    path: Path
    words: str


Check = Callable[[Path, str], "str | None"]  # a file, "video" or "sound" -> what is wrong with it


def rows_of(
    folder: Path,
    seed: int,
    limit: int | None = None,
    names: Sequence[str] | None = None,
    voices: Sequence[Voice] | None = None,
    check: Check | None = None,
) -> Rows:
    """Rows in the order of the speakers' numbers and of the codes. The same seed and files give the same rows.

    limit: take so many utterances, drawn by the seed; names: the test set, as `read_list` gives it; None: all there are
    voices: as `read_voices` gives them; None: other speakers of GRID, who say other words
    check: None decodes the files
    Raises ``ValueError`` or ``OSError`` with a sentence if nothing is left.
    """
    rows, utterances = Rows(), find(folder)
    if not utterances:
        raise ValueError(f"there are no files of GRID in {folder}, such as s1/bbaf2n.mpg: give the folder it is in")
    voices = voices_of(utterances.values()) if voices is None else voices
    choice = Choice(voices, check or problem_of, rows.left_out)
    wanted = sorted(wanted_of(utterances, rows) if names is None else set(names), key=sort_key)
    if limit is not None:
        random.Random(seed).shuffle(wanted)  # noqa: S311  a sample, no secret
    for name in tqdm(wanted, desc="GRID", unit="clip", mininterval=1):
        if len(rows.cells) == limit:
            break
        utterance = utterances.get(name)
        if problem := problem_with(utterance, choice.check):
            rows.left_out[name] = problem
            continue
        voice = choice.draw(random.Random(f"{seed} {name}"), utterance)  # noqa: S311
        rows.cells.append(
            {
                "data_id": name,
                "video_path": utterance.files["video"],
                "ref_audio_path": voice.path,
                "ref_speech_content": voice.words,
                "speech_content": sentence(words_of(name)),
                "lang": "en",
            }
        )
    rows.check()
    rows.cells.sort(key=lambda cells: sort_key(cells["data_id"]))
    return rows


def wanted_of(utterances: dict[str, Utterance], rows: Rows) -> list[str]:
    """All utterances of speakers who are seen; of the others it is noted that they are only heard."""
    counts = Counter(one.speaker for one in utterances.values())
    seen = {one.speaker for one in utterances.values() if "video" in one.files}
    rows.notes += [
        f"s{speaker} has no video: {counts[speaker]} utterances are voices only" for speaker in sorted({*counts} - seen)
    ]
    return [name for name, one in utterances.items() if one.speaker in seen]


def find(folder: Path) -> dict[str, Utterance]:
    """By name. The speaker is in the file's name or is that of the nearest folder that is named after one.

    Raises ``ValueError`` with a sentence if an utterance has two files of one kind, as in a copy of two qualities.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: give the one that GRID is in")
    utterances: dict[str, Utterance] = {}
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        parts = (folder.resolve().name, *Path(place).relative_to(folder).parts)
        above = next((found[1] for part in reversed(parts) if (found := SPEAKER.fullmatch(part))), None)
        for file in sorted(files):
            path = Path(place, file)
            kind = next((kind for kind, ends in KINDS.items() if path.suffix.lower() in ends), None)
            found = NAME.fullmatch(path.stem)
            if not kind or not found or not (found[1] or above):
                continue
            utterance = Utterance(int(found[1] or above), found[2].lower(), {})
            utterance = utterances.setdefault(utterance.name, utterance)
            if kind in utterance.files:
                both = f"{utterance.files[kind]} and {path}"
                raise ValueError(f"{utterance.name} has two {kind} files, {both}: give a folder with one of each")
            utterance.files[kind] = path
    return utterances


def read_list(path: Path) -> list[str]:
    """A test set, as StyleDubber's or EmoDubber's lists: each line's first field, up to a |, names an utterance.

    Raises ``ValueError`` with a sentence for a line that names none.
    """
    names = []
    for line, text in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        if not text.strip():
            continue
        found = LISTED.search(text.split("|")[0])
        if not found:
            raise ValueError(f"{path}, line {line}: it names no utterance of GRID, such as s1-bbaf2n or s1/bbaf2n.wav")
        names.append(f"s{int(found[1])}-{found[2].lower()}")
    return names


def read_voices(path: Path) -> list[Voice]:
    """Voices of another data set: a CSV file with the columns ref_audio_path and ref_speech_content.

    Raises ``ValueError`` or ``OSError`` with a sentence for what is none.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = ("ref_audio_path", "ref_speech_content")
        if missing := [column for column in columns if column not in (reader.fieldnames or [])]:
            raise ValueError(f"{path}, line 1: there is no column {', '.join(missing)}")
        voices = []
        for row in reader:
            sound, words = ((row[column] or "").strip() for column in columns)
            if not sound or not words:
                raise ValueError(f"{path}, line {reader.line_num}: give both a sound file and what is said in it")
            voices.append(Voice(sound, 0, "", path.parent / sound, words))
    if not voices:
        raise ValueError(f"{path} has no rows below its header")
    return voices


def voices_of(utterances: Iterable[Utterance]) -> list[Voice]:
    """Those that are heard saying what their files say."""
    return [
        Voice(one.name, one.speaker, one.code, one.sound, sentence(words_of(one.name)))
        for one in utterances
        if one.sound and not alignment_problem(one)
    ]


class Choice:
    """Draws voices; each file is decoded once, and one that is damaged is named in ``left_out`` and drawn no more."""

    def __init__(self, voices: Iterable[Voice], check: Check, left_out: dict[str, str]):
        self.check, self.left_out = check, left_out
        self.known: dict[Path, bool] = {}
        self.voices: dict[int, list[Voice]] = {}
        for voice in sorted(voices, key=lambda voice: voice.name):
            self.voices.setdefault(voice.speaker, []).append(voice)

    def draw(self, source: random.Random, utterance: Utterance) -> Voice:
        """A whole voice of another speaker, who says other words; all other speakers are equally likely.

        Raises ``ValueError`` with a sentence if there is none.
        """
        others = sorted({*self.voices} - {utterance.speaker})
        for speaker in source.sample(others, len(others)):
            for voice in source.sample(self.voices[speaker], len(self.voices[speaker])):
                if voice.code != utterance.code and self.is_whole(voice):
                    return voice
        raise ValueError(f"there is no whole voice of another speaker for {utterance.name}: add some, or give --voices")

    def is_whole(self, voice: Voice) -> bool:
        if voice.path not in self.known:
            problem = self.check(voice.path, "sound")
            self.known[voice.path] = not problem
            if problem:
                self.left_out[f"{voice.name} as a voice"] = problem
        return self.known[voice.path]


def problem_with(utterance: Utterance | None, check: Check) -> str | None:
    """Why an utterance cannot be dubbed."""
    if utterance is None:
        return "there is no file of it"
    if "video" not in utterance.files:
        return "there is no video of it"
    return alignment_problem(utterance) or check(utterance.files["video"], "video")


def alignment_problem(utterance: Utterance) -> str | None:
    """Why its .align file, if there is one, does not say what the file's name says."""
    path = utterance.files.get("alignment")
    if path is None:
        return None
    try:
        lines = [line.split() for line in path.read_text("ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return f"{path} cannot be read"
    if any(len(line) != 3 for line in lines):
        return f"{path} is damaged: each line has a start, an end and a word"
    said = tuple(line[2].lower() for line in lines if line[2].lower() not in SILENT)
    if said != (named := words_of(utterance.name)):
        return f"its name says {' '.join(named)!r}, and {path} {' '.join(said)!r}"
    return None


def words_of(name: str) -> tuple[str, ...]:
    """s1-bbaf2n -> bin blue at f two now."""
    return tuple(words[letter] for words, letter in zip(WORDS, name.split("-")[1], strict=True))


def sentence(words: Sequence[str]) -> str:
    """As it is written: Bin blue at F two now."""
    text = " ".join(word.upper() if len(word) == 1 else word for word in words)
    return f"{text[0].upper()}{text[1:]}."


def sort_key(name: str) -> tuple[int, str]:
    speaker, code = name[1:].split("-")
    return int(speaker), code


def problem_of(path: Path, kind: str) -> str | None:
    """Why a file cannot be used, found by decoding all of it."""
    from uniavgen_core.audio.sound import read_sound
    from uniavgen_core.video.footage import read_footage

    try:
        if kind == "sound":
            return None if read_sound(path).waveform.any() else f"{path} is silent"
        footage = read_footage(path)
    except (ValueError, OSError) as error:
        return str(error)
    seconds = float(len(footage.pts) / footage.rate)
    if abs(seconds - SECONDS) > TOLERANCE:
        return f"{path} shows {seconds:.2f} s, and a video of GRID {SECONDS:g} s: copy it again"
    return None
