"""A clip -> an MP4 file: H.264 pictures, AAC sound exactly as long, and no file at all unless it is whole."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from heapq import merge
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace
from torch import Tensor
from torch.nn.functional import pad

from ..interruption import check_interruption
from ..media import moving_pictures, open_media
from ..types import Clip
from ..whole import whole_or_nothing
from .footage import Footage
from .picture import to_bytes

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
AAC_FRAME = 1024  # samples
PICTURES_AT_ONCE = 16
COPIED = ("h264", "hevc", "av1", "vp9", "mpeg4")  # codecs whose packets MP4 holds as they are
CLIPPED = 1.12  # 1 dB too loud; less comes from every codec
BT709 = 1  # H.264's number for these primaries, transfer and matrix


log = logging.getLogger(__name__)


def fit_sound(waveform: Tensor, samples: int) -> Tensor:
    """Waveform [C, n] -> [C, samples]: cut, or followed by silence."""
    return pad(waveform[:, :samples], (0, max(0, samples - waveform.shape[1])))


def full_scale(waveform: Tensor) -> Tensor:
    """Waveform with peaks beyond -1 and 1 cut off. Logs a warning where that is heard."""
    loudest = float(waveform.abs().max()) if waveform.numel() else 0.0
    if loudest > CLIPPED:
        log.warning("the sound is up to %.2f times too loud for a file: its peaks are cut off; turn it down", loudest)
    return waveform.clamp(-1, 1)


def sound_samples(frames: int, fps: int | Fraction, sample_rate: int) -> int:
    """Samples of sound that last as long as ``frames`` pictures at ``fps`` a second."""
    return round(Fraction(frames) / Fraction(fps) * sample_rate)


def check_output(path: str | Path) -> Path:
    """Returns the path if an MP4 can be written there, else raises ``ValueError`` or ``OSError``. Writes nothing."""
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"the output {path} must be an .mp4 file: give a name that ends in .mp4")
    if path.exists() and not path.is_file():
        raise IsADirectoryError(f"the output {path} is a folder or a device, not a file: give another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the output's folder {path.parent} does not exist: make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"no file may be written to the folder {path.parent}: choose another one")
    return path


def write_mp4(
    path: str | Path,
    clip: Clip,
    *,
    crf: int = 18,
    bits_per_channel: int = 96_000,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes the clip to ``path``, replacing what is there only when the new file is complete.

    The sound is cut or filled up with silence to the length of the pictures. Mono stays mono, stereo stereo.
    crf: quality of H.264, smaller is better; bits_per_channel: bits a second of AAC for each channel;
    metadata: tags to write, under any name.
    Raises ``ValueError`` or ``OSError`` with a sentence before anything is written if the clip or the path is unfit.
    """
    path = check_output(path)
    check_clip(clip)
    with _complete_or_nothing(path) as unfinished, _open(unfinished, clip.sample_rate, metadata) as container:
        pictures = _add_pictures(container, Fraction(clip.fps), *clip.frames.shape[1:3], crf)
        sound = _add_sound(container, clip.waveform, clip.sample_rate, bits_per_channel)
        samples = sound_samples(clip.frames.shape[0], clip.fps, clip.sample_rate)
        packets = _sound_packets(sound, fit_sound(clip.waveform, samples)), _picture_packets(pictures, clip)
        for packet in merge(*packets, key=_time):
            container.mux(packet)
    return path


def write_dubbed(
    path: str | Path,
    footage: Footage,
    waveform: Tensor,
    sample_rate: int,
    *,
    crf: int = 18,
    bits_per_channel: int = 96_000,
    metadata: Mapping[str, str] | None = None,
    codec: str | None = None,
) -> Path:
    """Writes footage with another sound, waveform [1 or 2 channels, n], cut or filled up to the length of the pictures.

    The pictures keep their size, their times and their codec: their packets are copied where MP4 can hold them, and
    only drawn anew (H.264) where it cannot, where they are turned, or where ``codec`` is named and another.
    Raises as `write_mp4` does.
    """
    path = check_output(path)
    check_sound(waveform, sample_rate)
    check_dub(footage, path)
    with (
        open_media(footage.path, "video") as source,  # outside, as it takes every error of FFmpeg for one of reading
        _complete_or_nothing(path) as unfinished,
        _open(unfinished, sample_rate, metadata) as container,
    ):
        stream = moving_pictures(source)
        found = stream.codec_context.name
        if codec in (None, found) and found in COPIED and not footage.turned:
            pictures = _copied_packets(container.add_stream_from_template(stream), source, stream, footage)
        else:
            height, width = even_size(footage.height, footage.width)
            redrawn = _add_pictures(container, footage.rate, height, width, crf)
            redrawn.codec_context.time_base = 1 / footage.rate if footage.rounded else footage.time_base
            pictures = _redrawn_packets(redrawn, footage)
        sound = _add_sound(container, waveform, sample_rate, bits_per_channel)
        fitted = fit_sound(waveform, round(footage.duration * sample_rate))
        for packet in merge(pictures, _sound_packets(sound, fitted), key=_time):
            container.mux(packet)
    return path


def even_size(height: int, width: int) -> tuple[int, int]:
    """The size without an odd row and column, which H.264 cannot hold. Logs a warning if there are some."""
    even = height // 2 * 2, width // 2 * 2
    if even != (height, width):
        log.warning("H.264 holds no odd sizes: pictures of %d x %d become %d x %d", width, height, *reversed(even))
    return even


def check_dub(footage: Footage, path: Path, level: float = 0.0) -> None:
    """Raises ``ValueError`` if footage cannot be dubbed to ``path`` with its own sound at ``level`` below."""
    if path.exists() and path.samefile(footage.path):
        raise ValueError(f"{path} is the footage itself: give the dubbed clip another name")
    check_level(level)
    if level and not footage.has_sound:
        raise ValueError(f"{footage.path} has no sound to mix below the voice: leave the original's level at 0")


def check_level(level: float) -> None:
    """Raises ``ValueError`` for what is no share."""
    if not 0 <= level <= 1:
        raise ValueError(f"the level of the original sound must be from 0 (none) to 1 (as loud as it was), not {level}")


def mix(voice: Tensor, original: Tensor, level: float) -> Tensor:
    """Voice [C, n] with an original sound [1, m] of the same rate below it, at ``level`` times its loudness.

    As long as the voice; quieter as a whole where the sum would clip. Raises ``ValueError`` for a level that is none.
    """
    check_level(level)
    mixed = voice + level * fit_sound(original, voice.shape[1])
    return mixed / mixed.abs().max().clamp(min=1.0) if mixed.numel() else mixed


def check_clip(clip: Clip) -> None:
    """Raises ``ValueError`` with a sentence if the clip cannot become an MP4."""
    frames, waveform = clip.frames, clip.waveform
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"the pictures of a clip must be [frames, height, width, 3], not {list(frames.shape)}")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ValueError(f"H.264 needs even sizes, not {frames.shape[2]} x {frames.shape[1]}: crop them")
    check_sound(waveform, clip.sample_rate)
    if not clip.fps > 0:
        raise ValueError(f"a clip cannot have {clip.fps} pictures a second")
    if not all_finite(frames):
        raise ValueError("the pictures of the clip hold numbers that are NaN or infinite; nothing was written")


def all_finite(frames: Tensor) -> bool:
    """Whether no number of the pictures is NaN or infinite, looked at some pictures at a time."""
    for part in frames.split(PICTURES_AT_ONCE):
        check_interruption()
        if not torch.isfinite(part).all():
            return False
    return True


def check_sound(waveform: Tensor, sample_rate: int) -> None:
    """Raises ``ValueError`` with a sentence if the sound cannot become AAC."""
    if waveform.ndim != 2 or waveform.shape[0] not in (1, 2):
        raise ValueError(f"the sound of a clip must be [1 or 2 channels, samples], not {list(waveform.shape)}")
    if not waveform.is_floating_point():
        raise ValueError(f"the sound of a clip must be real numbers with full scale 1, not {waveform.dtype}")
    if sample_rate not in AAC_RATES:
        raise ValueError(f"AAC has no sample rate of {sample_rate} Hz: resample it, for example to 48000 Hz")
    if not torch.isfinite(waveform).all():
        raise ValueError("the sound of the clip holds numbers that are NaN or infinite; nothing was written")


def _open(path: Path, sample_rate: int, metadata: Mapping[str, str] | None) -> av.container.OutputContainer:
    # the edit list counts in the movie's time scale: in samples, not the usual milliseconds, lengths are exact
    options = {"movflags": "+faststart+use_metadata_tags", "movie_timescale": str(sample_rate)}
    container = av.open(str(path), "w", format="mp4", options=options)
    container.metadata.update(metadata or {})
    return container


@contextmanager
def _complete_or_nothing(path: Path) -> Iterator[Path]:
    """`whole_or_nothing` in words, also for FFmpeg's errors."""
    try:
        with whole_or_nothing(path) as unfinished:
            yield unfinished
    except av.FFmpegError as error:
        raise OSError(f"{path} could not be written: {error}") from error


def _add_pictures(
    container: av.container.OutputContainer, rate: Fraction, height: int, width: int, crf: int
) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf)})
    stream.height, stream.width = height, width
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = ColorRange.MPEG
    return stream


def _add_sound(
    container: av.container.OutputContainer, waveform: Tensor, sample_rate: int, bits_per_channel: int
) -> av.AudioStream:
    channels = waveform.shape[0]
    stream = container.add_stream("aac", rate=sample_rate, layout="mono" if channels == 1 else "stereo")
    stream.bit_rate = bits_per_channel * channels
    return stream


def _picture_packets(stream: av.VideoStream, clip: Clip) -> Iterator[av.Packet]:
    for index, picture in enumerate(clip.frames):
        check_interruption()
        yield from stream.encode(_frame(to_bytes(picture), index, 1 / Fraction(clip.fps)))
    yield from stream.encode(None)


def _frame(pixels: np.ndarray, pts: int, time_base: Fraction) -> av.VideoFrame:
    """uint8 [H, W, 3] -> a frame in H.264's colours."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
    frame.pts, frame.time_base = pts, time_base
    return frame


def _copied_packets(
    stream: av.VideoStream, source: av.container.InputContainer, original: av.VideoStream, footage: Footage
) -> Iterator[av.Packet]:
    """The footage's own packets, their times counted from its first picture, and exact where they were rounded."""
    packets = _with_decoding_times([packet for packet in source.demux(original) if packet.pts is not None])
    shown = {pts: i for i, pts in enumerate(footage.pts)}
    exact = footage.rounded and all(packet.pts in shown for packet in packets)
    if exact:
        stream.time_base = step = 1 / footage.rate
        early = max(i - shown[packet.pts] for i, packet in enumerate(packets))  # pictures decoded before they are shown
    for i, packet in enumerate(packets):
        check_interruption()
        if exact:
            packet.time_base, packet.duration = step, 1
            packet.pts, packet.dts = shown[packet.pts], i - early
        else:
            packet.pts, packet.dts = packet.pts - footage.pts[0], packet.dts - footage.pts[0]
        packet.stream = stream
        yield packet


def _with_decoding_times(packets: list[av.Packet]) -> list[av.Packet]:
    """Matroska knows no decoding times, and FFmpeg none for the first packets: one picture before the next each."""
    known = next((i for i, packet in enumerate(packets) if packet.dts is not None), None)
    if known is None:  # no picture is shown in another order than it comes
        for packet in packets:
            packet.dts = packet.pts
        return packets
    for i in reversed(range(known)):
        packets[i].dts = packets[i + 1].dts - max(1, packets[i].duration or 0)
    return packets


def _redrawn_packets(stream: av.VideoStream, footage: Footage) -> Iterator[av.Packet]:
    """The footage's pictures, upright, at their own times."""
    time_base = Fraction(stream.codec_context.time_base)
    for time, pixels in zip(footage.times, footage.pictures(range(len(footage.pts))), strict=True):
        check_interruption()
        cropped = pixels[: stream.height, : stream.width]  # H.264 holds no odd row or column
        yield from stream.encode(_frame(cropped, round(time / time_base), time_base))
    yield from stream.encode(None)


def _time(packet: av.Packet) -> Fraction:
    return packet.dts * packet.time_base


def _sound_packets(stream: av.AudioStream, waveform: Tensor) -> Iterator[av.Packet]:
    """Packets of AAC that last exactly as long as the waveform [C, samples], also when decoded.

    AAC comes in frames of 1024 samples, and players do not cut the last one. So the silence that fills the frames up
    goes in front, before time 0, where the container's edit list cuts it off together with the encoder's delay.
    Of a sound below half a frame (one picture at 60 a second) FFmpeg would give nothing then: it is filled up behind.
    """
    lead_in = -waveform.shape[1] % AAC_FRAME if waveform.shape[1] > AAC_FRAME // 2 else 0
    numbers = pad(full_scale(waveform.detach().float()).cpu(), (lead_in, 0)).numpy()  # [C, whole AAC frames]
    for start in range(0, numbers.shape[1], AAC_FRAME):
        check_interruption()
        part = np.ascontiguousarray(numbers[:, start : start + AAC_FRAME])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.time_base = stream.rate, Fraction(1, stream.rate)
        frame.pts = start - lead_in
        yield from stream.encode(frame)
    yield from stream.encode(None)
