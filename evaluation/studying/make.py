"""Folders of clips, one a method -> the page of a blind study, with its clips, and the key to it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..clips import VIDEOS
from ..packages import need
from ..report import write_text
from .key import CRITERIA, Key, Made, Question
from .loudness import Loudness, gains, loudness_of

if TYPE_CHECKING:
    from torch import Tensor

    from uniavgen_core.video.footage import Footage

HERE = Path(__file__).parent
PLAYED = ("yuv420p", "yuvj420p")  # H.264 that every browser and phone plays
REDRAWN_CRF = 12  # of H.264 for pictures in other codecs: no difference is seen
MOST = 9  # methods: one number key each
# of each criterion: the question, and what to look for
ASKED = {
    "audio": ("Which clip sounds best?", "Only listen: is the voice clear and natural, without noise or errors?"),
    "video": ("Which clip looks best?", "Only look: are the pictures sharp, natural and steady, without flaws?"),
    "coherence": (
        "In which clip do sound and picture fit together best?",
        "Do lips move with the words? Do voice and feeling fit the person who is seen?",
    ),
}


@dataclass(frozen=True)
class Source:
    """A folder's clips, by the names that they share with other folders'."""

    method: str
    clips: dict[str, Path]


def sources_of(words: Sequence[str]) -> list[Source]:
    """words: FOLDER or NAME=FOLDER, one a method. Raises ``ValueError`` or ``OSError`` with a sentence."""
    if not 2 <= len(words) <= MOST:
        raise ValueError(f"a study compares 2 to {MOST} methods: give a folder of clips for each, not {len(words)}")
    pairs = [(None, word) if Path(word).is_dir() or "=" not in word else word.split("=", 1) for word in words]
    sources = [Source(name or Path(folder).resolve().name, _clips(Path(folder))) for name, folder in pairs]
    names = [source.method for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(f"methods need names of their own, not {', '.join(names)}: give folders as NAME=FOLDER")
    return sources


def _clips(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: give a folder of clips for each method")
    clips: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in VIDEOS and not file.name.startswith("."):
            if file.stem in clips:
                raise ValueError(f"{file} and {clips[file.stem]} have the same name: leave one of the two")
            clips[file.stem] = file
    return clips


def common(sources: Sequence[Source]) -> tuple[list[str], dict[str, list[str]]]:
    """Names that all folders have, and for each other name the methods that lack it."""
    every = sorted(set().union(*(source.clips for source in sources)))
    lacking = {name: [source.method for source in sources if name not in source.clips] for name in every}
    return [name for name in every if not lacking[name]], {name: who for name, who in lacking.items() if who}


def check_places(page: Path, key: Path) -> None:
    """Raises ``ValueError`` or ``OSError`` if page and key cannot be written there, or the key would be published."""
    if page.exists() and (not page.is_dir() or any(page.iterdir())):
        raise FileExistsError(f"{page} is there already: give a new folder, so that no study in use is changed")
    if key.exists():
        raise FileExistsError(f"the key {key} is there already, and answers may need it: give another --key")
    if page.resolve() in key.resolve().parents:
        raise ValueError(f"the key {key} would lie in the page's folder, for all to read: give another --key")


def make(
    sources: Sequence[Source],
    names: Sequence[str],
    page: Path,
    key: Path,
    *,
    title: str,
    seed: int | None = None,
    one_file: bool = False,
) -> tuple[Key, list[str]]:
    """Writes page/index.html with page/clips/ and, elsewhere, the key; all or nothing. Returns the key and notices.

    names: of the clips to ask about, which all sources have. seed: of the neutral names; None: an unguessable one
    one_file: clips inside the page instead of beside it. Raises as `check_places` and `need` do, and
    ``ValueError`` or ``OSError`` that names a clip that cannot be read or that browsers would not play, before anything
    is written.
    """
    check_places(page, key)
    need("equal volume", "pyloudnorm")
    seed = secrets.randbits(64) if seed is None else seed
    looked = {(name, source.method): _look(source.clips[name]) for name in names for source in sources}
    notices = [notice for clip in looked.values() for notice in clip.notices]
    study = _hash(seed, title, [[*which, clip.digest] for which, clip in looked.items()])
    questions, files, sizes = [], {}, {}
    for name in names:
        clips = [looked[name, source.method] for source in sources]
        made = []
        for source, clip, gain in zip(sources, clips, gains([clip.loudness for clip in clips]), strict=True):
            neutral = _hash(study, seed, name, source.method)
            made.append(Made(neutral, source.method, clip.loudness and round(clip.loudness.level, 2), round(gain, 2)))
            files[neutral], sizes[neutral] = (clip, gain), (clip.footage.width, clip.footage.height)
        questions.append(Question(_hash(study, seed, name), name, tuple(made)))
    found = Key(study, title, seed, tuple(source.method for source in sources), tuple(questions))
    page.parent.mkdir(parents=True, exist_ok=True)
    key.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=page.parent, prefix=".study.") as folder:
        unfinished = Path(folder) / "page"
        (unfinished / "clips").mkdir(parents=True)
        for neutral, (clip, gain) in sorted(files.items()):  # an order of writing that tells nothing
            _write(clip, gain, unfinished / "clips" / f"{neutral}.mp4")
        _write_page(unfinished, found, sizes, one_file)
        write_text(key, found.text())  # first, since a page without its key is worth nothing
        if page.exists():
            page.rmdir()
        os.replace(unfinished, page)
    return found, notices


@dataclass(frozen=True)
class _Looked:
    footage: Footage
    loudness: Loudness | None
    digest: str
    copied: bool
    notices: tuple[str, ...]


def _look(path: Path) -> _Looked:
    from uniavgen_core.media import moving_pictures, open_media
    from uniavgen_core.video.footage import read_footage
    from uniavgen_core.video.mux import check_sound

    footage = read_footage(path)
    if not footage.has_sound:
        raise ValueError(f"{path} has no sound, and the study asks for it: leave the clip out of all folders")
    with open_media(path, "video") as container:
        context = moving_pictures(container).codec_context
        codec, layout = context.name, context.pix_fmt
    if codec == "h264" and layout not in PLAYED:
        raise ValueError(f"{path} holds pictures as {layout}, which phones do not play: encode it as yuv420p")
    waveform, rate = _sound(path, footage)
    try:
        check_sound(waveform, rate)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    loudness = loudness_of(waveform.numpy(), rate)
    copied, notices = codec == "h264" and not footage.turned, []
    if not copied:
        notices.append(f"{path}: its pictures ({codec}) were encoded anew as upright H.264, which all browsers play")
    if loudness is None:
        notices.append(f"{path}: its sound is silent or very short, and its volume stays as it is")
    return _Looked(footage, loudness, hashlib.sha256(path.read_bytes()).hexdigest(), copied, tuple(notices))


def _sound(path: Path, footage: Footage) -> tuple[Tensor, int]:
    """[1 or 2 channels, samples], as long as the pictures, and its rate."""
    from uniavgen_core.audio.sound import read_sound
    from uniavgen_core.video.mux import fit_sound

    sound = read_sound(path)
    waveform = sound.waveform if sound.waveform.shape[0] <= 2 else sound.waveform.mean(dim=0, keepdim=True)
    return fit_sound(waveform, round(footage.duration * sound.sample_rate)), sound.sample_rate


def _write(clip: _Looked, gain: float, path: Path) -> None:
    """Pictures as they are, sound at its gain in dB; tags, titles and other streams stay behind."""
    from uniavgen_core.video.mux import write_dubbed

    waveform, rate = _sound(clip.footage.path, clip.footage)
    codec = None if clip.copied else "h264"
    write_dubbed(path, clip.footage, waveform * 10 ** (gain / 20), rate, crf=REDRAWN_CRF, codec=codec)


def _write_page(folder: Path, key: Key, sizes: dict[str, tuple[int, int]], one_file: bool) -> None:
    """index.html with what the page may know: neither methods nor the clips' own names."""
    groups = [
        {
            "name": question.name,
            "clips": [
                {"name": name, "width": sizes[name][0], "height": sizes[name][1]}
                for name in sorted(made.name for made in question.clips)
            ],
        }
        for question in sorted(key.questions, key=lambda question: question.name)
    ]
    criteria = [{"name": name, "ask": ASKED[name][0], "hint": ASKED[name][1]} for name in CRITERIA]
    study = {"study": key.study, "title": key.title, "questions": groups, "criteria": criteria}
    clips = []
    if one_file:
        for file in sorted((folder / "clips").iterdir()):
            inside = base64.b64encode(file.read_bytes()).decode()
            clips.append(f'<script type="text/plain" id="clip-{file.stem}">{inside}</script>')
            file.unlink()
        (folder / "clips").rmdir()
    filled = {
        "STYLE": (HERE / "page.css").read_text("utf-8"),
        "SCRIPT": (HERE / "page.js").read_text("utf-8"),
        "TITLE": html.escape(key.title),
        "STUDY": json.dumps(study, ensure_ascii=False).replace("<", "\\u003c"),  # no tag can end the script
        "CLIPS": "\n".join(clips),
    }
    template = (HERE / "page.html").read_text("utf-8")
    text = re.sub(f"@@({'|'.join(filled)})@@", lambda found: filled[found[1]], template)
    write_text(folder / "index.html", text)


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
