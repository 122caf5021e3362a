"""Everything that is counted on one clip, and kept: what has been measured once is not measured again."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from uniavgen_core.bundle import Bundle

from ..clips import Clip
from ..data import encode
from ..faces import mouth_opening
from ..voices import pitch, which_voice
from ..words import heard, word_error_rate
from .reader import Reader
from .scores import Rows, correlation, overlap, psnr
from .subject import fingerprint
from .tasks import Made, Plan, Task, make, unseen_clip

Row = dict[str, float | int | str | None]


class Ledger:
    """A file of JSON lines, each with a key and what was measured; only whole lines count."""

    def __init__(self, path: Path):
        self.path, self.rows = path, {}
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # stopped in the middle of a line
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_text(whole)
            os.replace(unfinished, path)
        for line in whole.splitlines():
            row = json.loads(line)
            self.rows[row.pop("key")] = row

    def add(self, key: str, row: Row) -> None:
        self.rows[key] = row
        with self.path.open("a") as file:
            file.write(json.dumps({"key": key, **row}) + "\n")


@dataclass(frozen=True)
class Bench:
    """Who is measured, by whom, and where it is written down."""

    bundle: Bundle
    reader: Reader
    ledger: Ledger
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", fingerprint(self.bundle, self.reader))

    def rows(self, task: Task, how: Plan, clips: int, seeds: Iterable[int] = (0,), label: str = "") -> Rows:
        """The task's numbers for so many test clips, each with each seed."""
        wanted = [(seed, number) for seed in seeds for number in range(clips)]
        name = f"{task.value} {label}".strip()
        return [self.row(task, how, number, seed) for seed, number in tqdm(wanted, name, unit="clip", leave=False)]

    def row(self, task: Task, how: Plan, number: int, seed: int) -> Row:
        how = replace(how, guidance=how.guidance or self.bundle.guidance)
        key = json.dumps([self.fingerprint, task, asdict(how), number, seed])
        if key not in self.ledger.rows:
            clip, other = unseen_clip(number, how.frames), unseen_clip(number + 1, how.frames)
            noise = seed * 1_000_003 + number
            made = make(self.bundle, task, clip, how, noise)
            self.ledger.add(
                key, {"clip": number, "seed": seed, **count(self.bundle, self.reader, task, clip, other, made)}
            )
        return self.ledger.rows[key]


def count(bundle: Bundle, reader: Reader, task: Task, clip: Clip, other: Clip, made: Made) -> Row:
    """The numbers of one clip.

    mouth/truth, mouth/other: the mouth seen against the true curve of this clip, and of another
    sound/mouth, sound/other: the mouth that is heard against the one seen, and against another clip's
    wrong: words misheard, of so many ``words``
    right: 1 if the right voice is heard; pitch, pitch wanted: in Hz; voice: which it is
    picture, picture decoded: PSNR outside the mouth against the portrait, and against its decoded latent
    face: overlap of the face mask
    """
    frames = len(clip.frames)
    seen, spoken = mouth_opening(made.frames), reader.read(made.tokens, frames)
    row: Row = {
        "mouth/truth": correlation(seen, clip.opening),
        "mouth/other": correlation(seen, other.opening),
        "sound/mouth": correlation(spoken, seen),
        "sound/other": correlation(spoken, other.opening),
        "face": None if made.mask is None else overlap(made.mask, clip.mask),
    }
    if task is not Task.DRIVEN:
        row |= _of_sound(clip, made)
    if not task.dubs:
        row |= {
            "picture": psnr(made.frames, clip.frames[0]),
            "picture decoded": psnr(made.frames, _decoded_portrait(bundle, clip)),
        }
    return {name: None if value is None or math.isnan(value) else value for name, value in row.items()}


def _of_sound(clip: Clip, made: Made) -> Row:
    words = len(clip.text.split())
    return {
        "words": words,
        "wrong": words * word_error_rate([clip.text], [" ".join(heard(made.waveform))]),
        "right": float(which_voice(made.waveform) == clip.voice),
        "pitch": pitch(made.waveform),
        "pitch wanted": pitch(clip.reference_waveform),
        "voice": clip.voice,
    }


@torch.inference_mode()
def _decoded_portrait(bundle: Bundle, clip: Clip) -> np.ndarray:
    """[128, 128, 3], 0 to 255."""
    pixels = bundle.vae.decode(encode(bundle.vae, torch.from_numpy(clip.frames[:1])))  # [1, 3, 1, H, W]
    return ((pixels[0, :, 0].movedim(0, -1) + 1) * 127.5).numpy()
