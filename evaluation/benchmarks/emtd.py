"""EMTD's list and its videos -> rows in which each clip's sound drives the person of its first picture.

EMTD (EchoMimicV2): a list of places in videos of half-body speech, which are no part of it: URL, Start Timecode, End
Timecode. Its scripts save a video as ID.mp4 and cut place N, from 0, out as NNN_ID.mp4, three pictures shorter at both
ends. Either is taken; the cut clips first. Their half-body crop needs poses and is not done here: the picture is whole.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from tqdm import tqdm

from ..clips import VIDEOS
from .rows import Rows

HEADER = ["URL", "Start Timecode", "End Timecode"]
TIME = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")
MARGIN = 3  # pictures that the published script leaves off at both ends
SHORTEST = Fraction(1, 2)  # seconds of a clip
PAST_THE_END = Fraction(1, 2)  # seconds that a time may lie behind a video's end: pages and files differ a little
PICTURES, SOUNDS, REAL = "pictures", "sounds", "real"  # folders
QUALITY = "12"  # of x264, smaller is better
BT709 = 1  # H.264's number for these primaries, transfer and matrix


@dataclass(frozen=True)
class Place:
    """A line of the list. video: its name on YouTube; saved_as: that of the file, by the published script"""

    number: int
    video: str
    saved_as: str
    start: Fraction
    end: Fraction

    @property
    def name(self) -> str:
        return f"{self.number:03d}_{self.video}"


@dataclass(frozen=True)
class Part:
    """What is taken of a file: from ``start`` seconds to ``end``."""

    name: str
    path: Path
    start: Fraction
    end: Fraction


def read_list(path: Path) -> list[Place]:
    """Raises ``ValueError`` with a sentence for what is not EMTD's list."""
    lines = csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline=""))
    if [cell.strip() for cell in next(lines, [])] != HEADER:
        raise ValueError(f"{path}, line 1: it is not {','.join(HEADER)}: give the list of EMTD")
    places = []
    for cells in filter(None, lines):
        where = f"{path}, line {lines.line_num}"
        url = cells[0].strip()
        video = parse_qs(urlsplit(url).query).get("v", [""])[0]
        times = [TIME.fullmatch(cell.strip()) for cell in cells[1:]]
        if not re.fullmatch(r"[\w-]+", video) or len(times) != 2 or not all(times):
            raise ValueError(f"{where}: it is no address with v=NAME and two times such as 00:01:02.345")
        start, end = (int(time[1]) * 3600 + int(time[2]) * 60 + Fraction(time[3]) for time in times)
        if end - start < SHORTEST:
            raise ValueError(f"{where}: it ends less than {float(SHORTEST)} s after it starts")
        places.append(Place(len(places), video, url.split("v=")[1], start, end))
    if not places:
        raise ValueError(f"{path} has no lines below its header")
    return places


def find(place: Place, folder: Path) -> tuple[Path | None, bool]:
    """The file of a place, and whether it is the place alone, not the whole video. None if there is neither."""
    for alone, prefix in ((True, f"{place.number:03d}_"), (False, "")):
        for name, suffix in product((place.video, place.saved_as), VIDEOS):
            if (path := folder / f"{prefix}{name}{suffix}").is_file():
                return path, alone
    return None, False


def rows_of(
    places: Sequence[Place], folder: Path, target: Path, limit: int | None = None, seconds: Fraction | None = None
) -> Rows:
    """The rows, whose files are written to the folder ``target``: all of them, or there is no such folder.

    Pictures (the first of each clip, PNG), sounds (WAV) and the real clips (MP4 without sound), which FID and FVD
    compare with. Every file is decoded before the first is written.
    limit: only so many clips, the first ones; seconds: no more of each
    Raises ``ValueError`` or ``OSError`` with a sentence if nothing is left, or ``target`` is there already.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: give the one that EMTD's videos are in")
    if target.exists():
        raise FileExistsError(f"there is already {target}: delete it, or give another --output")
    rows, parts, look = Rows(), [], lru_cache(maxsize=None)(look_at)
    for place in tqdm(places, desc="looking", unit="clip", mininterval=1):
        if len(parts) == limit:
            break
        try:
            parts.append(part_of(place, folder, seconds, look))
        except ValueError as error:
            rows.left_out[place.name] = str(error)
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for part in tqdm(parts, desc="cutting", unit="clip", mininterval=1):
            picture, sound, real = f"{PICTURES}/{part.name}.png", f"{SOUNDS}/{part.name}.wav", f"{REAL}/{part.name}.mp4"
            cut(part, unfinished / picture, unfinished / sound, unfinished / real)
            rows.cells.append({"data_id": part.name, "ref_image_path": target / picture, "audio_path": target / sound})
        rows.check()
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return rows


def look_at(path: Path) -> tuple[Fraction, Fraction] | str:
    """How long a file lasts and its pictures a second, found by decoding all of it; or what is wrong with it."""
    from uniavgen_core.audio.sound import read_sound
    from uniavgen_core.video.footage import read_footage

    try:
        footage = read_footage(path)
        return (footage.duration, footage.rate) if read_sound(path).waveform.any() else f"{path} is silent"
    except (ValueError, OSError) as error:
        return str(error)


def part_of(place: Place, folder: Path, seconds: Fraction | None, look: Callable[[Path], Any]) -> Part:
    """Raises ``ValueError`` with a sentence if there is no whole file of the place."""
    path, alone = find(place, folder)
    if path is None:
        raise ValueError(f"there is neither {place.name}.mp4 nor {place.video}.mp4 in {folder}")
    if isinstance(found := look(path), str):
        raise ValueError(found)
    duration, rate = found
    start, end = (Fraction(0), duration) if alone else (place.start + MARGIN / rate, place.end - MARGIN / rate)
    if end > duration + PAST_THE_END:
        raise ValueError(f"{path} ends at {float(duration):.2f} s, before the place at {float(end):.2f} s does")
    end = min(end, duration) if seconds is None else min(end, duration, start + seconds)
    if end - start < SHORTEST:
        raise ValueError(f"{path} holds only {float(end - start):.2f} s of it")
    return Part(place.name, path, start, end)


def cut(part: Part, picture: Path, sound: Path, real: Path) -> None:
    """Writes the first picture, the sound and the pictures of a part."""
    from PIL import Image
    from scipy.io import wavfile

    from uniavgen_core.audio.sound import read_sound
    from uniavgen_core.video.footage import read_footage, resample_times

    for file in (picture, sound, real):
        file.parent.mkdir(parents=True, exist_ok=True)
    footage = read_footage(part.path)
    fps = footage.rate.limit_denominator(1001)
    shown = resample_times(footage.times, footage.duration, fps)[round(part.start * fps) : round(part.end * fps)]
    Image.fromarray(next(footage.pictures(shown[:1]))).save(picture)
    write_pictures(real, footage.pictures(shown), fps, footage.height // 2 * 2, footage.width // 2 * 2)
    heard = read_sound(part.path)
    begin, end = (round(moment * heard.sample_rate) for moment in (part.start, part.end))
    samples = (heard.waveform[:, begin:end].T.clamp(-1, 1) * 32767).round().short()
    wavfile.write(sound, heard.sample_rate, samples.numpy())


def write_pictures(path: Path, pictures: Iterable[np.ndarray], fps: Fraction, height: int, width: int) -> None:
    """H.264 of high quality, of pictures [height or more, width or more, 3], whose right and lower rest is left out."""
    import av
    from av.video.reformatter import ColorRange, Colorspace

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": QUALITY})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            frame.pts, frame.time_base = index, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
