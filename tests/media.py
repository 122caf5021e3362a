"""Makes small sound and video files of known content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MILLISECOND = Fraction(1, 1000)
SMALL = (32, 48)  # height, width


def grey(index: int, size: tuple[int, int] = SMALL) -> np.ndarray:
    """A picture that tells its index, up to 60, by its brightness."""
    return np.full((*size, 3), 10 + 4 * index, np.uint8)


def index_of(pixels: np.ndarray) -> int:
    """The index that `grey` was given, from pixels of 0 to 255."""
    return round((float(np.asarray(pixels, np.float64).mean()) - 10) / 4)


def tone(seconds: float, rate: int, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    """[channels, samples] float32, amplitude 0.5."""
    moments = np.arange(round(seconds * rate)) / rate
    return np.tile(0.5 * np.sin(2 * np.pi * hertz * moments).astype(np.float32), (channels, 1))


def write_video(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    fps: int | Fraction = 16,
    times: Sequence[Fraction] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    sound: np.ndarray | None = None,
    sample_rate: int = 24_000,
    sound_start: Fraction = Fraction(0),
    source: str = "rgb24",
    matrix: int = 5,
    aspect: Fraction | None = None,
    color_range: int = 1,
) -> Path:
    """Pictures one after another at ``fps``, or at ``times`` in seconds; sound [channels, n] from ``sound_start``."""
    pictures = list(pictures)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options={"crf": "1"} if options is None else options)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pix_fmt
        context = stream.codec_context
        context.colorspace, context.color_range = matrix, color_range
        if aspect:
            context.sample_aspect_ratio = aspect
        if times is not None:
            context.time_base = Fraction(1, 90_000)
        voice = (
            None
            if sound is None
            else container.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", sample_rate)
        )
        if voice is not None:
            voice.layout = {1: "mono", 2: "stereo"}[sound.shape[0]]
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format=source)
            if pix_fmt.startswith("yuv"):
                frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix, dst_color_range=color_range)
            elif pix_fmt != source:
                frame = frame.reformat(format=pix_fmt)
            if times is None:
                frame.pts, frame.time_base = index, 1 / Fraction(fps)
            else:
                frame.pts, frame.time_base = round(times[index] * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice is not None:
            _add_sound(container, voice, sound, sample_rate, round(sound_start * sample_rate))
    return path


def write_sound(
    path: Path, waveform: np.ndarray, rate: int, *, codec: str, sample_format: str = "fltp", layout: str | None = None
) -> Path:
    """waveform: [channels, samples] float32."""
    with av.open(str(path), "w") as container:
        layout = layout or {1: "mono", 2: "stereo", 6: "5.1"}[waveform.shape[0]]
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.format, stream.bit_rate = sample_format, 256_000
        container.start_encoding()
        _add_sound(container, stream, waveform, rate, 0)
    return path


def _add_sound(container, stream, waveform: np.ndarray, rate: int, start: int) -> None:
    context = stream.codec_context
    if not context.is_open:
        context.open()
    size = context.frame_size or 1024
    layout = context.layout.name
    resampler = av.AudioResampler(format=context.format.name, layout=layout, rate=rate)
    for begin in range(0, waveform.shape[1], size):
        part = np.ascontiguousarray(waveform[:, begin : begin + size], np.float32)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start + begin, Fraction(1, rate)
        for converted in resampler.resample(frame):
            container.mux(stream.encode(converted))
    container.mux(stream.encode(None))


def turn(path: Path, matrix: Sequence[int]) -> Path:
    """Writes a display matrix (a, b, c, d as whole numbers) into the track header of an MP4."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value * 65536 for value in matrix)
    data[place : place + 36] = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    path.write_bytes(data)
    return path


def cut_off(path: Path, share: float) -> Path:
    """Keeps only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def write_playlist(path: Path, kind: str, target: Path) -> Path:
    """A text file that names another file."""
    text = {
        "ffconcat": f"ffconcat version 1.0\nfile '{target.name}'\n",
        "m3u8": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\n{target.name}\n#EXT-X-ENDLIST\n",
        "m3u": f"#EXTM3U\n{target}\n",
    }[kind]
    path.write_text(text)
    return path
