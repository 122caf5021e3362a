"""A clip as a service gets it: the file, the file and its sound apart, or single pictures and the sound."""

from __future__ import annotations

import base64
import io
import wave
from dataclasses import dataclass

import numpy as np

from ..recording import Recording

SOUND_RATE = 16_000  # Hz, of sound that goes apart
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Part:
    """kind: video, picture or sound; data: a whole file of type ``mime``"""

    kind: str
    mime: str
    data: bytes

    @property
    def encoded(self) -> str:
        return base64.b64encode(self.data).decode("ascii")

    @property
    def url(self) -> str:
        return f"data:{self.mime};base64,{self.encoded}"


@dataclass(frozen=True)
class Media:
    """What is shown of a clip. note: what the model must know of it besides the rubric
    fps: pictures a second that the model is to see; None leaves that to the service
    """

    parts: tuple[Part, ...]
    note: str = ""
    fps: float | None = None


def of_file(data: bytes, mime: str, fps: float | None = None) -> Media:
    """A whole video file, for a model that hears the sound in it."""
    return Media((Part("video", mime, data),), fps=fps)


def of_file_and_sound(data: bytes, mime: str, recording: Recording, fps: float | None = None) -> Media:
    """A whole video file, and its sound again, for a server that takes only the pictures out of a video.

    Raises `Unmeasurable` without sound.
    """
    note = "The sound of the video comes apart from it, as a file of its own; both begin together."
    return Media((Part("video", mime, data), _sound(recording)), note, fps)


def of_frames(recording: Recording, fps: float) -> Media:
    """Pictures, evenly spaced, and the sound, for a model that takes no video. Raises `Unmeasurable` without either."""
    pictures = [Part("picture", "image/jpeg", _jpeg(picture)) for picture in recording.frames_at(fps)]
    note = f"The clip comes as {len(pictures)} pictures in order, {fps:g} a second, and its sound; both begin together."
    return Media((*pictures, _sound(recording)), note, fps)


def _jpeg(picture: np.ndarray) -> bytes:
    """picture: uint8 [H, W, 3]"""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _sound(recording: Recording) -> Part:
    """A WAV file, 16 bits, one channel."""
    samples = (recording.sound_at(SOUND_RATE).clip(-1, 1) * 32767).round().astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SOUND_RATE)
        sound.writeframes(samples.tobytes())
    return Part("sound", "audio/wav", file.getvalue())
