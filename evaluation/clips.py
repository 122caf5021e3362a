"""Which clips are measured, and what is known of each: a folder of video files, or a CSV file that names them."""

from __future__ import annotations

import argparse
import csv
import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from .recording import Recording

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
NAME, CLIP = "data_id", "clip"
# columns that are read; those of the released code's CSV files that say nothing of the result are passed over
COLUMNS = (NAME, CLIP, "speech_content", "lang", "prompt", "ref_image_path", "ref_audio_path")
IGNORED = ("ref_speech_content", "video_path", "audio_path", "seed")


@dataclass(frozen=True)
class Clip:
    """A file, and what it was to show and say: empty or None where that is not known.

    name: in tables; path: of a video file with its sound
    speech: the words to be said; language: en, zh, auto or empty; prompt: what is seen
    image, voice: files of the person and of how the person sounds
    """

    name: str
    path: Path
    speech: str = ""
    language: str = ""
    prompt: str = ""
    image: Path | None = None
    voice: Path | None = None

    def read(self) -> Recording:
        """Its pictures, at a constant rate, and its sound, which may be missing.

        Raises ``FileNotFoundError`` or ``ValueError`` with a sentence for what is no whole video file.
        """
        from uniavgen_core.audio.sound import read_sound
        from uniavgen_core.video.footage import read_footage, resample_times

        footage = read_footage(self.path)
        fps = Fraction(footage.rate).limit_denominator(1001)
        shown = resample_times(footage.times, footage.duration, fps)
        frames = np.stack(list(footage.pictures(shown)))
        if not footage.has_sound:
            return Recording(frames, fps, np.zeros(0, np.float32), 16_000)
        sound = read_sound(self.path)
        return Recording(frames, fps, sound.waveform.mean(dim=0).numpy(), sound.sample_rate)


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clips", type=Path, help="a folder of video files, or a CSV file with a column 'clip'")
    parser.add_argument(
        "--rows",
        type=Path,
        help="CSV file that tells what the clips of the folder were to say and show, in the columns of run_batch.py: "
        "the clip of a row is FOLDER/DATA_ID.mp4",
    )
    parser.add_argument("--root", type=Path, help="where paths in the CSV file start (default: its folder)")


def clips_of(options: argparse.Namespace) -> list[Clip]:
    """The clips that a command line names, in the order of the table or of the files' names.

    A row whose clip is missing is a clip too: it cannot be measured, which the report tells. Raises ``ValueError`` or
    ``OSError`` with a sentence for what is no folder or table of clips.
    """
    path, rows, root = options.clips, options.rows, options.root
    if path.is_dir():
        clips = _of_folder(path) if rows is None else _of_table(rows, root or rows.parent, path)
    elif not path.exists():
        raise FileNotFoundError(f"there is no {path}: give a folder of clips, or a CSV file")
    elif rows is not None:
        raise ValueError(f"--rows belongs to a folder of clips, and {path} is a file: leave one of the two out")
    elif path.suffix.lower() in VIDEOS:
        raise ValueError(f"{path} is one clip: give its folder, or a CSV file that names it")
    else:
        clips = _of_table(path, root or path.parent, None)
    if not clips:
        raise ValueError(f"there are no clips in {path}: they end in {', '.join(VIDEOS)}")
    return clips


def is_inside(name: str) -> bool:
    """Whether a name stays in its folder on every system."""
    return not any(way.anchor or ".." in way.parts for way in (PurePosixPath(name), PureWindowsPath(name)))


def _of_folder(folder: Path) -> list[Clip]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in VIDEOS)
    stems = [file.stem for file in files]
    return [Clip(file.stem if stems.count(file.stem) == 1 else file.name, file) for file in files]


def _of_table(table: Path, root: Path, folder: Path | None) -> list[Clip]:
    """folder: where DATA_ID.mp4 lie; None where a column names the files."""
    try:
        text = table.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is not UTF-8: save it as 'CSV UTF-8'") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    header = reader.fieldnames or []
    needed = NAME if folder else CLIP
    if needed not in header:
        raise ValueError(f"{table}, line 1: there is no column {needed!r}: the first line names the columns")
    if unknown := set(header) - {*COLUMNS, *IGNORED}:
        raise ValueError(f"{table}, line 1: unknown columns {sorted(unknown)}: the columns are {', '.join(COLUMNS)}")
    clips: dict[str, Clip] = {}
    try:
        for row in reader:
            line, cells = reader.line_num, {key: (row.get(key) or "").strip() for key in header}
            if None in row or not cells[needed]:
                raise ValueError(f"{table}, line {line}: it has other cells than the header names, or no {needed}")
            if folder and not is_inside(cells[NAME]):
                raise ValueError(f"{table}, line {line}: {cells[NAME]!r} leads out of {folder}: name a clip in it")
            path = folder / f"{cells[NAME]}.mp4" if folder else root / cells[CLIP]
            name = cells.get(NAME) or path.stem
            if name in clips:
                raise ValueError(f"{table}, line {line}: {name!r} is there twice: give each clip a {NAME} of its own")
            image, voice = (
                root / cells[column] if cells.get(column) else None for column in ("ref_image_path", "ref_audio_path")
            )
            texts = (cells.get(column, "") for column in ("speech_content", "lang", "prompt"))
            clips[name] = Clip(name, path, *texts, image, voice)
    except csv.Error as error:
        raise ValueError(f"{table}, line {reader.line_num}: {error}: check its double quotes") from error
    return list(clips.values())
