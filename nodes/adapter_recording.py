"""The host's VIDEO as `evaluation` measures it. Only nodes that measure use this, and only when they run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..uniavgen_core.audio.sound import read_sound, writable
from ..uniavgen_core.video.footage import resample_times
from ..uniavgen_core.video.mux import AAC_RATES, fit_sound, sound_samples
from ..uniavgen_core.video.picture import to_bytes
from .adapter_output import ExactVideo
from .adapter_video import MAX_DENOMINATOR, FromComponents, FromFile, Source, sound_of

if TYPE_CHECKING:
    from ..evaluation.recording import Recording


def recording_of(source: Source) -> Recording:
    """Pictures and sound in memory; of a file just as the command line reads it, so that the numbers are the same."""
    from ..evaluation.recording import Recording

    if isinstance(source, FromFile):
        footage = source.footage
        rate = Fraction(footage.rate).limit_denominator(MAX_DENOMINATOR)
        pictures = footage.pictures(resample_times(footage.times, footage.duration, rate))
        sound = read_sound(footage.path) if footage.has_sound else None
    else:
        rate, pictures = source.rate, (to_bytes(image) for image in source.images)
        sound = sound_of(source.audio) if source.audio and source.audio["waveform"].numel() else None
    frames = np.stack(list(pictures))
    if sound is None:
        return Recording(frames, rate, np.zeros(0, np.float32), 16_000)
    return Recording(frames, rate, sound.waveform.mean(dim=0).float().cpu().numpy(), sound.sample_rate)


def file_for(source: Source, folder: Path) -> Path:
    """The file that a VIDEO is, else an MP4 of it in the folder. Raises ``ValueError`` if it has no sound."""
    if isinstance(source, FromFile):
        return source.footage.path
    path = folder / "clip.mp4"
    written(source).save_to(path)
    return path


def written(source: FromComponents) -> ExactVideo:
    sound = writable(source.sound(), AAC_RATES)
    samples = sound_samples(len(source.images), source.rate, sound.sample_rate)
    return ExactVideo(source.images, fit_sound(sound.waveform, samples), sound.sample_rate, source.rate)


@contextmanager
def told_why(what: str) -> Iterator[None]:
    """What `evaluation` says of a clip without a number ("it has no sound") as an error of the node."""
    from ..evaluation.recording import Unmeasurable

    try:
        yield
    except Unmeasurable as error:
        raise ValueError(f"{what}: {error}") from error
