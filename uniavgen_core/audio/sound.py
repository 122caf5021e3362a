"""A sound file -> samples -> what the model hears.

file -> read_sound -> Sound -> to_model_sound -> [1, samples] at 24 kHz -> driving_tokens, voice_tokens -> [1, 80, L]
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..geometry import SAMPLE_RATE
from ..media import (
    check_seconds,
    declared_seconds,
    decodable,
    decode_what_can_be,
    first_readable,
    moving_pictures,
    open_media,
)
from .mel import MIN_SAMPLES, log_mel, normalize, peak_normalize

VOICE_PAUSE = 7200  # samples of silence after a reference voice: 0.3 s (released behaviour)
MIN_RATE, MAX_RATE = 1_000, 768_000
GAP = 0.1  # seconds that timestamps may be off before the difference is filled with silence
MISSING = 0.05  # share of the declared length that may be missing
STOP_BAND = 120.0  # dB
TRANSITION = 0.08  # share of the band below the lower Nyquist frequency in which the filter falls off

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sound:
    """Sound as a file holds it.

    waveform: [channels, samples] of real numbers, full scale is 1; whole numbers are scaled by their type's range
    sample_rate: samples a second
    """

    waveform: Tensor
    sample_rate: int

    def __post_init__(self) -> None:
        check_rate(self.sample_rate)
        if not self.waveform.is_floating_point():
            scaled = torch.from_numpy(_full_scale(self.waveform.cpu().numpy())).float()
            object.__setattr__(self, "waveform", scaled.to(self.waveform.device))

    @property
    def seconds(self) -> float:
        return self.waveform.shape[1] / self.sample_rate


def read_sound(path: str | Path) -> Sound:
    """The first sound track of a sound or video file, all of it.

    In a video file, time 0 is the first picture: what sounds earlier is cut off, a later start is preceded by silence.
    Places that cannot be decoded are silent, with a logged warning; tracks in an unknown format are passed over. Raises
    ``FileNotFoundError`` or ``ValueError`` with a sentence, also if more than 5 % of the declared length is missing:
    half a voice would be cloned, or half a clip driven, and no one would know why.
    """
    with open_media(path, "sound") as container:
        stream = first_readable(container.streams.audio)
        if stream is None:
            raise ValueError(f"{path} has no sound: give a file with a sound track")
        if not decodable(stream):
            raise ValueError(f"the sound of {path} is in a format that cannot be read here: export it again as AAC")
        pictures = moving_pictures(container)
        start = None if pictures is None else _start(pictures)
        declared = declared_seconds(container, stream)
        check_seconds("sound", declared or 0, path)
        cut_at = _seconds_of_edit_list(container, stream, start)
        losses: list[str] = []
        parts, rate, decoded = _place(decode_what_can_be(container, stream, losses), start, declared, path)
    if not decoded:
        reason = f"cannot be decoded ({losses[0]})" if losses else "has not a single sample"
        raise ValueError(f"the sound of {path} {reason}: export it again")
    if declared and decoded / rate < declared * (1 - MISSING) - GAP:
        raise ValueError(
            f"{path} declares {float(declared):.2f} s of sound but holds {decoded / rate:.2f} s: it was cut off or "
            "is damaged; copy or export it again"
        )
    if losses:
        log.warning("%s has %d damaged places in its sound, which are silent (%s)", path, len(losses), losses[0])
    waveform = np.concatenate(parts, axis=1)
    if cut_at is not None and 0 < waveform.shape[1] - cut_at * rate < GAP * rate:
        waveform = np.ascontiguousarray(waveform[:, : max(0, round(cut_at * rate))])
    if not waveform.shape[1]:
        raise ValueError(f"the sound of {path} ends before its pictures start")
    sound = Sound(torch.from_numpy(waveform), rate)
    check_finite(sound.waveform, f"the sound of {path}")
    return sound


def to_model_sound(waveform: Tensor, sample_rate: int, wanted_rate: int = SAMPLE_RATE) -> Tensor:
    """Waveform [channels, samples] of any number type and rate -> [1, samples] mono, float32, at the wanted rate.

    Mono is the mean of the channels, as in the release; whole numbers are scaled by their type's full range.
    round(samples * wanted_rate / rate) samples, at least 1, with no delay. Raises ``ValueError`` with a sentence.
    """
    check_waveform(waveform)
    check_rate(sample_rate)
    numbers = waveform.detach().cpu()
    mono = _full_scale((numbers.double() if numbers.is_floating_point() else numbers).numpy()).mean(axis=0)
    return torch.from_numpy(_resample(mono, int(sample_rate), wanted_rate).astype(np.float32))[None].to(waveform.device)


def check_waveform(waveform: Tensor) -> None:
    """Raises ``ValueError`` with a sentence unless this is sound [channels, samples] that can be heard."""
    if waveform.ndim != 2 or 0 in waveform.shape:
        raise ValueError(
            f"a sound must be [channels, samples], with samples, not {list(waveform.shape)}: give one that is not empty"
        )
    if waveform.is_floating_point():
        check_finite(waveform)


def check_finite(waveform: Tensor, name: str = "the sound") -> None:
    """Raises ``ValueError`` with a sentence for real samples that float32 cannot hold."""
    if not (waveform.detach().cpu().double().abs() <= torch.finfo(torch.float32).max).all():
        raise ValueError(f"{name} holds samples that are NaN or infinite: export it again, or leave out what made it")


def check_rate(sample_rate: float, place: str = "") -> None:
    """Raises ``ValueError`` with a sentence for what is no sample rate, and where it is."""
    if not MIN_RATE <= sample_rate <= MAX_RATE or int(sample_rate) != sample_rate:
        raise ValueError(
            f"a sample rate of {sample_rate} Hz{place} is not usable: it must be from {MIN_RATE} to {MAX_RATE}, "
            "and whole"
        )


def writable(sound: Sound, rates: Sequence[int]) -> Sound:
    """The sound itself if its rate is one of ``rates`` and it has one or two channels, else mono at 48 kHz."""
    if sound.sample_rate in rates and sound.waveform.shape[0] <= 2:
        return sound
    return Sound(to_model_sound(sound.waveform, sound.sample_rate, 48_000), 48_000)


def driving_tokens(sound: Sound) -> Tensor:
    """Sound that a face is driven by -> audio tokens [1, 80, L], L = samples at 24 kHz // 240.

    As loud as the model knows it (released behaviour); shorter than 17 ms is filled up with silence to one token.
    """
    return _tokens(peak_normalize(_model_sound(sound)))


def voice_tokens(sound: Sound) -> Tensor:
    """A reference voice -> audio tokens [1, 80, R], with 0.3 s of silence after it (released behaviour)."""
    return _tokens(pad(peak_normalize(_model_sound(sound)), (0, VOICE_PAUSE)))


def part_tokens(sound: Sound) -> Tensor:
    """A part of a sound -> audio tokens [1, 80, L], as loud as it is: the whole decides how loud, not the part."""
    return _tokens(_model_sound(sound))


def _model_sound(sound: Sound) -> Tensor:
    return to_model_sound(sound.waveform, sound.sample_rate)


def _tokens(waveform: Tensor) -> Tensor:
    return normalize(log_mel(pad(waveform, (0, max(0, MIN_SAMPLES - waveform.shape[1])))))


def _start(stream: av.stream.Stream) -> Fraction | None:
    return None if stream.start_time is None else stream.start_time * stream.time_base


def _seconds_of_edit_list(
    container: av.container.InputContainer, stream: av.AudioStream, start: Fraction | None
) -> Fraction | None:
    """How long after ``start`` an MP4's sound ends. That may be inside of a coded frame, which FFmpeg gives whole."""
    begin, declared = _start(stream), declared_seconds(container, stream)
    if begin is None or declared is None or "mp4" not in container.format.name.split(","):
        return None
    return begin + declared - (begin if start is None else start)


def _place(
    frames: Iterable[av.AudioFrame], start: Fraction | None, declared: Fraction | None, path: str | Path
) -> tuple[list[np.ndarray], int, int]:
    """Frames in their places -> parts to be joined [C, n], their rate, and how many samples were decoded.

    Time 0 is ``start``, or the first frame. A frame that is later than the samples so far is preceded by silence.
    """
    parts: list[np.ndarray] = []
    rate = position = decoded = 0  # position: of the next sample, in samples from time 0
    for frame in frames:
        samples = _samples(frame)
        if not parts:
            rate, channels = frame.sample_rate, samples.shape[0]
            check_rate(rate, f" in {path}")
            parts.append(np.zeros((channels, 0), np.float32))
            if start is None and frame.time is not None:
                start = frame.pts * frame.time_base
        if (frame.sample_rate, samples.shape[0]) != (rate, channels):
            raise ValueError(
                f"the sound of {path} changes from {channels} channels at {rate} Hz to {samples.shape[0]} at "
                f"{frame.sample_rate} Hz in the middle: export it again with one layout"
            )
        decoded += samples.shape[1]
        check_seconds("sound", decoded / rate, path)
        begin = position
        if frame.time is not None and start is not None:
            begin = round((frame.pts * frame.time_base - start) * rate)
            late = (begin - position) / rate
            believable = GAP < late <= (declared or 0) + 60 or (decoded == samples.shape[1] and late <= GAP)
            begin = begin if believable else position
        parts.append(np.zeros((channels, max(0, begin - position)), np.float32))
        parts.append(samples[:, max(0, -begin) :])
        position = begin + samples.shape[1]
    return parts, rate, decoded


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """[C, n] float32."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:  # [1, n * C], one moment after another
        values = values.reshape(-1, frame.layout.nb_channels).T
    with np.errstate(invalid="ignore", over="ignore"):  # what is no number is refused when all is read
        return _full_scale(values).astype(np.float32)


def _full_scale(values: np.ndarray) -> np.ndarray:
    """Samples of any number type -> float64; whole numbers by their type's range, so that full scale is 1."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"a sound cannot consist of {values.dtype} numbers: give whole or real ones")
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    half = 2.0 ** (8 * values.dtype.itemsize - 1)
    return (values - half if values.dtype.kind == "u" else values.astype(np.float64)) / half


def _resample(samples: np.ndarray, rate: int, wanted_rate: int) -> np.ndarray:
    """Samples [n] -> [round(n * wanted_rate / rate)] by one zero-phase polyphase filter."""
    from scipy.signal import resample_poly

    if rate == wanted_rate:
        return samples
    common = math.gcd(wanted_rate, rate)
    up, down = wanted_rate // common, rate // common
    wanted = max(1, round(Fraction(samples.shape[0] * up, down)))
    return resample_poly(samples, up, down, window=_low_pass(max(up, down)))[:wanted]


@lru_cache(maxsize=8)
def _low_pass(factor: int) -> np.ndarray:
    """A Kaiser filter that passes 92 % of the band kept and stops everything beyond it by 120 dB."""
    from scipy.signal import firwin

    half = math.ceil((STOP_BAND - 7.95) / (2.285 * math.pi * TRANSITION) / 2) * factor
    return firwin(2 * half + 1, (1 - TRANSITION / 2) / factor, window=("kaiser", 0.1102 * (STOP_BAND - 8.7)))
