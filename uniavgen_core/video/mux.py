"""A clip -> an MP4 file: H.264 pictures, AAC sound exactly as long, and no file at all unless it is whole."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
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

from ..types import Clip
from .picture import to_bytes

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
AAC_FRAME = 1024  # samples
BT709 = 1  # H.264's number for these primaries, transfer and matrix


def fit_sound(waveform: Tensor, samples: int) -> Tensor:
    """Waveform [C, n] -> [C, samples]: cut, or followed by silence."""
    return pad(waveform[:, :samples], (0, max(0, samples - waveform.shape[1])))


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


def write_mp4(path: str | Path, clip: Clip, *, crf: int = 18, bits_per_channel: int = 96_000) -> Path:
    """Writes the clip to ``path``, replacing what is there only when the new file is complete.

    The sound is cut or filled up with silence to the length of the pictures. Mono stays mono, stereo stereo.
    crf: quality of H.264, smaller is better; bits_per_channel: bits a second of AAC for each channel.
    Raises ``ValueError`` or ``OSError`` with a sentence before anything is written if the clip or the path is unfit.
    """
    path = check_output(path)
    check_clip(clip)
    with _complete_or_nothing(path) as unfinished:
        # the edit list counts in the movie's time scale: in samples, not the usual milliseconds, lengths are exact
        options = {"movflags": "+faststart", "movie_timescale": str(clip.sample_rate)}
        with av.open(str(unfinished), "w", format="mp4", options=options) as container:
            pictures = _add_pictures(container, clip, crf)
            sound = _add_sound(container, clip, bits_per_channel)
            packets = _sound_packets(sound, clip), _picture_packets(pictures, clip)
            for packet in merge(*packets, key=lambda packet: packet.dts * packet.time_base):
                container.mux(packet)
    return path


def check_clip(clip: Clip) -> None:
    """Raises ``ValueError`` with a sentence if the clip cannot become an MP4."""
    frames, waveform = clip.frames, clip.waveform
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"the pictures of a clip must be [frames, height, width, 3], not {list(frames.shape)}")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ValueError(f"H.264 needs even sizes, not {frames.shape[2]} x {frames.shape[1]}: crop them")
    if waveform.ndim != 2 or waveform.shape[0] not in (1, 2):
        raise ValueError(f"the sound of a clip must be [1 or 2 channels, samples], not {list(waveform.shape)}")
    if clip.sample_rate not in AAC_RATES:
        raise ValueError(f"AAC has no sample rate of {clip.sample_rate} Hz: resample it, for example to 48000 Hz")
    if not clip.fps > 0:
        raise ValueError(f"a clip cannot have {clip.fps} pictures a second")
    for name, values in (("pictures", frames), ("sound", waveform)):
        if not torch.isfinite(values).all():
            raise ValueError(f"the {name} of the clip hold numbers that are NaN or infinite; nothing was written")


@contextmanager
def _complete_or_nothing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path``, which becomes ``path`` at the end, or vanishes if anything is raised."""
    unfinished = path.with_name(f".{uuid.uuid4().hex}.unfinished")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except av.FFmpegError as error:
        raise OSError(f"{path} could not be written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _add_pictures(container: av.container.OutputContainer, clip: Clip, crf: int) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=Fraction(clip.fps), options={"crf": str(crf)})
    stream.height, stream.width = clip.frames.shape[1:3]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = ColorRange.MPEG
    return stream


def _add_sound(container: av.container.OutputContainer, clip: Clip, bits_per_channel: int) -> av.AudioStream:
    channels = clip.waveform.shape[0]
    stream = container.add_stream("aac", rate=clip.sample_rate, layout="mono" if channels == 1 else "stereo")
    stream.bit_rate = bits_per_channel * channels
    return stream


def _picture_packets(stream: av.VideoStream, clip: Clip) -> Iterator[av.Packet]:
    for index, picture in enumerate(clip.frames):
        frame = av.VideoFrame.from_ndarray(to_bytes(picture), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        frame.pts, frame.time_base = index, 1 / Fraction(clip.fps)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _sound_packets(stream: av.AudioStream, clip: Clip) -> Iterator[av.Packet]:
    """Packets of AAC that last exactly as long as the pictures, also when decoded.

    AAC comes in frames of 1024 samples, and players do not cut the last one. So the silence that fills the frames up
    goes in front, before time 0, where the container's edit list cuts it off together with the encoder's delay.
    """
    samples = sound_samples(clip.frames.shape[0], clip.fps, clip.sample_rate)
    lead_in = -samples % AAC_FRAME
    waveform = fit_sound(clip.waveform, samples).detach().float().clamp(-1, 1).cpu()
    waveform = pad(waveform, (lead_in, 0)).numpy()  # [C, whole AAC frames]
    for start in range(0, waveform.shape[1], AAC_FRAME):
        part = np.ascontiguousarray(waveform[:, start : start + AAC_FRAME])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.time_base = clip.sample_rate, Fraction(1, clip.sample_rate)
        frame.pts = start - lead_in
        yield from stream.encode(frame)
    yield from stream.encode(None)
