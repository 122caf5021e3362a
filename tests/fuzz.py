"""Reads media files of raw bytes and small whole files with changed bytes: ``python tests/fuzz.py FOLDER SEED COUNT``.

Prints, as JSON on the last line, how often each reader took a file and how often it refused one. Ends with an error at
the first answer that is neither, and leaves that file in FOLDER: also where a decoder takes the process down.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
from media import grey, tone, write_sound, write_video
from PIL import Image

from uniavgen_core.audio.sound import driving_tokens, read_sound
from uniavgen_core.video.footage import frames_for_model, read_footage
from uniavgen_core.video.picture import fit_picture, read_picture

MAGIC = (b"", b"RIFF\xff\0\0\0WAVEfmt ", b"\0\0\0\x18ftypmp42", b"\x1aE\xdf\xa3", b"GIF89a", b"\x89PNG\r\n\x1a\n",
         b"\xff\xd8\xff\xe0", b"ID3\3\0\0", b"OggS", b"fLaC", b"G@\0", b"FORM", b"FLV\1", b"II*\0", b"BM",
         b"P6 ")  # fmt: skip


def whole_files(folder: Path) -> list[bytes]:
    """Small sound, video and picture files of many kinds."""
    folder.mkdir()
    pictures, voice = [grey(i) for i in range(12)], tone(0.5, 24_000)
    for name, options in {
        "a.mp4": {"sound": voice},
        "b.mp4": {"sound": voice, "container_options": {"movflags": "+faststart"}},
        "a.mkv": {"sound": voice},
        "a.avi": {"codec": "mpeg4", "options": {}},
        "a.ts": {"sound": voice},
        "a.mov": {"codec": "png", "pix_fmt": "rgba", "source": "rgba", "options": {}},
        "a.webm": {"codec": "libvpx-vp9", "options": {}},
    }.items():
        shown = [np.dstack((picture, picture[..., :1])) for picture in pictures] if name == "a.mov" else pictures
        write_video(folder / name, shown, **options)
    for name, codec, kind in (
        ("a.wav", "pcm_s16le", "s16"), ("b.wav", "pcm_f32le", "flt"), ("a.flac", "flac", "s16"),
        ("a.mp3", "libmp3lame", "fltp"), ("a.opus", "libopus", "s16"), ("a.aiff", "pcm_s16be", "s16"),
    ):  # fmt: skip
        write_sound(folder / name, voice, 24_000 if name != "a.opus" else 48_000, codec=codec, sample_format=kind)
    for name in ("a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff"):
        Image.fromarray(grey(20)).save(folder / name)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def damaged(random: Random, files: list[bytes]) -> bytes:
    """Raw bytes after the first ones of a known kind, or a whole file with bytes changed, left out, doubled or cut."""
    if random.random() < 0.2:
        return random.choice(MAGIC) + random.randbytes(random.randrange(2000))
    data = bytearray(random.choice(files))
    for _ in range(random.choice((1, 1, 3, 10, 50))):
        if len(data) < 2:
            break
        # headers decide most, and lie at the beginning or at the end
        place = random.choice(
            (
                random.randrange(min(len(data), 900)),
                random.randrange(len(data)),
                -random.randrange(1, min(len(data), 900)),
            )
        )
        place %= len(data)
        length = random.choice((1, 1, 2, 4, 64))
        change = random.randrange(6)
        if change < 3:
            data[place : place + length] = random.choice((random.randbytes(length), b"\xff" * length, b"\0" * length))
        elif change == 3:
            del data[place : place + length]
        elif change == 4:
            data[place:place] = data[place : place + length]
        elif random.random() < 0.2:
            del data[place:]
    return bytes(data)


def look(path: Path) -> None:
    footage = read_footage(path)
    if footage.duration < 60:
        frames_for_model(footage, 32, 32)


READERS = {
    "footage": look,
    "sound": lambda path: driving_tokens(read_sound(path)),
    "picture": lambda path: fit_picture(read_picture(path), 32, 32),
}


def check(path: Path) -> Counter[str]:
    """What each reader says of a file. Raises what is neither an answer nor a sentence."""
    found: Counter[str] = Counter()
    for name, read in READERS.items():
        try:
            read(path)
            found[f"{name} read"] += 1
        except (ValueError, FileNotFoundError) as error:
            told = str(error)
            if str(path) not in told or "\n" in told or not (told[0].islower() or told.startswith(str(path))):
                raise AssertionError(f"{name} of {path} is refused without a sentence: {told!r}") from error
            found[f"{name} refused"] += 1
    return found


def main(folder: Path, seed: int, count: int) -> None:
    logging.disable()
    random, files, total = Random(seed), whole_files(folder / "whole"), Counter()
    for index in range(count):
        path = folder / f"{index}.mp4"
        path.write_bytes(damaged(random, files))
        total += check(path)
        path.unlink()
    print(json.dumps(total))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
