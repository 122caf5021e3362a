"""Timbre and emotion consistency (the paper's TC and EC), judged by a multimodal model of a service.

Each clip goes to the service in several independent requests with a rubric; the scores are averaged.
Without --send nothing is sent: the command says what would go where, and how much. The clips, and the voices and faces
in them, go to the service that you name; what it does with them, and what it costs, its terms tell.

  gemini: the Gemini API; the key is read from the environment variable GEMINI_API_KEY
  openai: any address with OpenAI's chat completions: give --endpoint and --key-variable

--form says how a clip travels: "file", the whole video, for models that hear the sound in it (the Gemini API,
OpenRouter); "file+sound", the video and its sound apart, for servers that take only the pictures out of a video (vLLM);
"frames", single pictures and the sound, for models without video (OpenAI's own with audio).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from . import measure
from .clips import Clip, clips_of
from .judging import (
    RUBRIC,
    SERVICES,
    Judgement,
    Media,
    Patience,
    Service,
    Stop,
    judge,
    of_file,
    of_file_and_sound,
    of_frames,
    request,
)
from .judging.media import SOUND_RATE
from .judging.services import address
from .recording import Recording, Unmeasurable
from .report import Column, Value

FILE, APART, FRAMES = "file", "file+sound", "frames"
FPS = 4.0  # pictures a second that the model sees
FASTEST = 24.0  # that the Gemini API takes
TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mov", ".webm": "video/webm", ".avi": "video/avi"}
LONGEST_RUBRIC = 100_000  # characters
LONGEST_TIMEOUT = 3600  # seconds
AT_HOME = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Judge:
    """The measure (see `measure.Measure`). form: how clips are sent; fps: as `Media.fps`"""

    service: Service
    rubric: str
    runs: int
    form: str
    fps: float | None
    patience: Patience

    name = "judge"
    columns = (Column("timbre", "TC", "higher", 3), Column("emotion", "EC", "higher", 3))

    @property
    def settings(self) -> dict[str, Value]:
        return {
            "service": next(name for name, kind in SERVICES.items() if isinstance(self.service, kind)),
            "model": self.service.model,
            "host": urlsplit(self.service.endpoint).netloc,
            "runs": self.runs,
            "form": self.form,
            "pictures a second": "the service's choice" if self.fps is None else self.fps,
            "rubric (sha256)": hashlib.sha256(self.rubric.encode()).hexdigest(),
        }

    def of(self, clip: Clip) -> dict[str, Value]:
        return values(asyncio.run(judge(self.shown(clip), self.service, self.rubric, self.runs, self.patience)))

    def shown(self, clip: Clip) -> Media:
        """Raises `Unmeasurable`, ``ValueError`` or ``OSError`` if the clip is not whole, or has no sound to judge."""
        return self.media(clip.read(), clip.path)

    def media(self, recording: Recording, path: Path) -> Media:
        """path: of the recording's file, which the form "frames" does not read. Raises as `shown` does."""
        recording.sound_at(SOUND_RATE)
        if self.form == FRAMES:
            return of_frames(recording, self.fps or FPS)
        mime = TYPES.get(path.suffix.lower())
        if not mime:
            raise Unmeasurable(f"services take no {path.suffix} files: make it an MP4, or choose the form {FRAMES}")
        data = path.read_bytes()
        if self.form == APART:
            return of_file_and_sound(data, mime, recording, self.fps)
        return of_file(data, mime, self.fps)


def values(judgement: Judgement) -> dict[str, Value]:
    """Of a clip's row: the means, and the scores and reason of each run."""
    row: dict[str, Value] = {"timbre": judgement.timbre, "emotion": judgement.emotion}
    for number, answer in enumerate(judgement.runs, 1):
        row |= {f"{key}_{number}": getattr(answer, key) for key in ("timbre", "emotion", "reason")}
    return row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    measure.add_arguments(parser)
    parser.add_argument("--service", choices=SERVICES, required=True)
    parser.add_argument("--model", required=True, help="its name at the service")
    parser.add_argument("--endpoint", metavar="URL", help="where requests go, as https://HOST/v1 (gemini: Google's)")
    parser.add_argument(
        "--key-variable", metavar="NAME", help="environment variable that holds the key (gemini: GEMINI_API_KEY)"
    )
    parser.add_argument("--form", choices=(FILE, APART, FRAMES), default=FILE, help="default: %(default)s")
    parser.add_argument(
        "--fps",
        type=float,
        help=f"pictures a second that the model sees (default: {FPS:g}); with openai only for --form {FRAMES}",
    )
    parser.add_argument("--rubric", type=Path, help="text file to judge by, in place of judging/rubric.md")
    parser.add_argument("--runs", type=int, default=3, help="independent requests a clip (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=180, help="seconds for a request (default: %(default)s)")
    parser.add_argument(
        "--send", action="store_true", help="do send the clips; without it, only say what would be sent"
    )


def main(options: argparse.Namespace) -> int:
    asked = judge_of(options)
    clips = clips_of(options)[: options.limit]
    print(plan(asked, clips, measure.output_of(options) / f"{asked.name}.jsonl"), flush=True)
    if not options.send:
        print("Nothing was sent: the same command with --send does it.")
        return 0
    try:
        return measure.run(asked, options)
    except Stop as error:
        raise ValueError(f"{error}\nwhat was judged before is kept: the same command goes on from there") from error


def judge_of(options: argparse.Namespace) -> Judge:
    """Raises ``ValueError`` or ``OSError`` with a sentence for options that do not fit together."""
    if options.runs < 1 or not 0 < options.timeout <= LONGEST_TIMEOUT:
        raise ValueError(f"runs must be 1 or more, timeout above 0 and up to {LONGEST_TIMEOUT} seconds")
    if not options.model.strip():
        raise ValueError("there is no model: give its name at the service")
    kind, key = SERVICES[options.service], _key(options)
    if options.service == "openai" and not options.endpoint:
        raise ValueError("openai needs an endpoint: the address of the service, as https://HOST/v1")
    told = {"endpoint": address(options.endpoint)} if options.endpoint else {}
    service = kind(options.model, key, **told)
    picked = options.form == FRAMES or service.picks_rate
    if options.fps is not None and not picked:
        raise ValueError(f"fps: here the service picks the pictures of a video; choose the form {FRAMES} to pick them")
    if options.fps is not None and not 0 < options.fps <= FASTEST:
        raise ValueError(f"fps {options.fps:g} is not above 0 and up to {FASTEST:g}")
    fps = (options.fps or FPS) if picked else None
    return Judge(service, _rubric(options.rubric), options.runs, options.form, fps, Patience(timeout=options.timeout))


def _key(options: argparse.Namespace) -> str:
    """Empty if there is none and none is needed. No message shows it, nor a name that may be it by mistake."""
    name = options.key_variable or ("GEMINI_API_KEY" if options.service == "gemini" else None)
    if name is None:
        raise ValueError("openai needs a key variable: the name of the environment variable with the key")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("a key variable is the name of an environment variable, not the key itself")
    key = os.environ.get(name, "").strip()
    if not key and options.send:
        where = "that was named" if options.key_variable else name
        raise ValueError(f"there is no key: put it into the environment variable {where}")
    if not key.isascii() or any(sign.isspace() or not sign.isprintable() for sign in key):
        raise ValueError("what the environment variable holds is no key: it has spaces, or signs beyond ASCII")
    return key


def _rubric(path: Path | None) -> str:
    if path is None:
        return RUBRIC
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8") from error
    if '"score"' not in text or len(text) > LONGEST_RUBRIC:
        raise ValueError(
            f'{path} is no rubric: it must ask for {{"score": [timbre, emotion], "reason": "..."}}, '
            f"in at most {LONGEST_RUBRIC} characters"
        )
    return text


def plan(asked: Judge, clips: Sequence[Clip], ledger: Path) -> str:
    """What will be sent, where to and how much. ledger: of what was judged before."""
    known, sizes, left_out = measure.read_ledger(ledger), [], []
    fresh = [clip for clip in clips if measure.key_of(asked, clip) not in known]
    for clip in tqdm(fresh, desc="looking at the clips", unit="clip", mininterval=1, leave=False):
        try:
            sizes.append(len(request(asked.shown(clip), asked.service, asked.rubric)))
        except (Unmeasurable, ValueError, OSError) as error:
            left_out.append(f"- {clip.name}: {error}")
    lines = announced(asked, sizes, len(clips))
    if len(fresh) < len(clips):
        lines.append(f"{len(clips) - len(fresh)} of them were judged before, with the same settings, and are not sent.")
    if left_out:
        lines += [f"{len(left_out)} of them cannot be judged and are not sent:", *left_out]
    return "\n".join(lines)


def announced(asked: Judge, sizes: Sequence[int], clips: int) -> list[str]:
    """Where requests of these sizes in bytes, one for each clip that can be judged, go and what they hold."""
    endpoint, runs, patience = urlsplit(asked.service.endpoint), asked.runs, asked.patience
    what = {
        FILE: "the whole video file with its sound",
        APART: "the whole video file, and its sound again",
        FRAMES: f"{asked.fps} pictures a second, and the sound",
    }[asked.form]
    lines = [
        f"To {endpoint.scheme}://{endpoint.netloc}, model {asked.service.model}:",
        f"{len(sizes)} of {clips} clips, {runs} times each: {len(sizes) * runs} requests, "
        f"{sum(sizes) * runs / 1e6:.2f} MB in all.",
        f"Each request holds {what}, and the rubric.",
        f"If one gets no usable answer it is sent again: up to {patience.tries} times as long as the service fails, "
        f"and for up to {patience.answers} answers.",
    ]
    if endpoint.scheme == "http" and endpoint.hostname not in AT_HOME:
        lines.append("It is http, not https: whoever is on the way can read the clips and the key.")
    return lines
