"""Makes the example inputs of the repository, none of them trained on, and the clip that the tiny model makes of them,
with its picture: ``python -m training examples``."""

from __future__ import annotations

import argparse
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from uniavgen_core.__main__ import main as make_clip_by_command
from uniavgen_core.audio.mel import log_mel
from uniavgen_core.audio.picture import mel_picture
from uniavgen_core.audio.sound import read_sound, to_model_sound
from uniavgen_core.geometry import SAMPLE_RATE, VIDEO_FPS
from uniavgen_core.types import Clip as Film
from uniavgen_core.video.mux import write_mp4

from .clips import Clip, make_clip

ASSETS = Path(__file__).parents[1] / "assets"
FULL_SCALE = 32767
MADE = "joint.mp4"  # what the tiny model makes of the portrait
SHOWN = 8  # frames in its picture


@dataclass(frozen=True)
class Example:
    """The seed of a clip of the test split, and the files that what it shows and sounds like is written to."""

    seed: int
    picture: str = ""
    speech: str = ""
    voice: str = ""
    film: str = ""


EXAMPLES = (
    Example(5, picture="portrait.png"),
    Example(7, speech="speech.wav"),
    Example(16, voice="voice.wav"),
    Example(19, film="clip.mp4"),
)


def make_examples(folder: Path = ASSETS) -> dict[str, str]:
    """Writes the files; returns for each what is said or seen in it."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {}
    for example in EXAMPLES:
        clip = make_clip(example.seed, split="test")
        if example.picture:
            Image.fromarray(clip.frames[0]).save(folder / example.picture)
            texts[example.picture] = clip.caption
        if example.speech:
            write_sound(folder / example.speech, clip.waveform)
            texts[example.speech] = clip.text
        if example.voice:
            write_sound(folder / example.voice, clip.reference_waveform)
            texts[example.voice] = clip.reference_text
        if example.film:
            write_mp4(folder / example.film, film_of(clip))
            texts[example.film] = f"{clip.caption} {clip.text}"
    return texts


def write_sound(path: Path, waveform: np.ndarray) -> None:
    """float32 [samples] at 24 kHz in [-1, 1] -> 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((waveform.clip(-1, 1) * FULL_SCALE).round().astype("<i2").tobytes())


def film_of(clip: Clip) -> Film:
    """A drawn clip as the project writes clips."""
    frames = torch.from_numpy(clip.frames).float() / 255
    return Film(frames, torch.from_numpy(clip.waveform)[None], VIDEO_FPS, SAMPLE_RATE)


def draw_film(film: Path, picture: Path) -> None:
    """Some frames of a film side by side, and the mel of its sound below them."""
    with av.open(str(film)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    shown = np.concatenate(list(frames[np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)]), axis=1)
    sound = read_sound(film)
    mel = Image.fromarray(mel_picture(log_mel(to_model_sound(sound.waveform, sound.sample_rate))[0]))
    below = np.asarray(mel.resize((shown.shape[1], round(mel.height * shown.shape[1] / mel.width))))
    Image.fromarray(np.concatenate((shown, below))).save(picture, quality=92)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=ASSETS, help="folder to write to")


def main(options: argparse.Namespace) -> None:
    for name, text in make_examples(options.output).items():
        print(f"{name}: {text}")
    film = options.output / MADE
    if make_clip_by_command(["joint", "--output", str(film)]):
        raise ValueError("the joint example could not be made")
    draw_film(film, film.with_suffix(".jpg"))
