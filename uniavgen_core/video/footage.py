"""A video file -> its pictures, upright, at any moment; read when asked for, never all at full size.

file -> read_footage -> Footage -> frames_for_model -> [F, height, width, 3] at 16 fps
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np
import torch
from av.sidedata.sidedata import Type
from PIL import Image
from torch import Tensor

from ..geometry import TEMPORAL_STRIDE, VIDEO_FPS
from ..media import check_seconds, declared_seconds, decodable, decode_what_can_be, moving_pictures, open_media
from .picture import MAX_PIXELS, TOO_LARGE, resize

ROUNDING = Fraction(1, 1000)  # seconds: Matroska and FLV round their timestamps to milliseconds
MISSING_SECONDS = Fraction(1, 10)  # what may be missing of the declared length
FULL = 2  # FFmpeg's number for colours from 0 to 255

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Footage:
    """What a video file shows, and how to get at it.

    width, height: of a picture as it is shown: turned upright, with square pixels
    rate: average pictures a second
    pts: when each picture comes, in units of ``time_base`` seconds, rising
    duration: seconds from the first picture's start to the last one's end
    turned: whether the file holds it otherwise than it is shown
    rounded: whether ``pts`` are the times of pictures at exactly ``rate``, rounded to milliseconds, as in Matroska
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    pts: tuple[int, ...]
    time_base: Fraction
    duration: Fraction
    has_sound: bool
    turned: bool = False
    rounded: bool = False

    @property
    def times(self) -> list[Fraction]:
        """When each picture comes, in seconds after the first one."""
        if self.rounded:
            return [i / self.rate for i in range(len(self.pts))]
        return [(pts - self.pts[0]) * self.time_base for pts in self.pts]

    @cached_property
    def on_screen(self) -> list[int]:
        """For each moment of the model, 16 a second, the index of the picture that is shown."""
        return resample_times(self.times, self.duration)

    def pictures(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """The pictures with these indices, uint8 [height, width, 3]. The indices may repeat but not fall."""
        return _pictures(self, indices)


def read_footage(path: str | Path) -> Footage:
    """Finds out what a video file shows. Decodes it once, because only that tells how many pictures it holds.

    Raises ``FileNotFoundError`` or ``ValueError`` with a sentence for what is no whole video file, for sound with a
    cover, and for a clip that declares more pictures than it holds.
    """
    with open_media(path, "video") as container:
        stream = _stream(container, path)
        losses: list[str] = []
        pts: list[int] = []
        held = 0
        last = 0  # how long the last picture stays, in units of the time base
        for frame in decode_what_can_be(container, stream, losses):
            moment = _moment(frame, path)
            held += 1
            if not pts:
                height, width = _upright_size(frame, stream.sample_aspect_ratio)
                turned = any(_orientation(frame))
            if not pts or moment > pts[-1]:  # a second picture for the same moment is never seen
                pts.append(moment)
                last = getattr(frame, "duration", 0)
        time_base, rate = Fraction(stream.time_base), stream.average_rate or stream.guessed_rate
        seconds = declared_seconds(container, stream)
        exact_count = "mp4" in container.format.name.split(",")  # others count what shows nothing too
        # the track's own count, or fewer where an edit list shows only a part of it
        counts = [stream.frames, round(seconds * rate) if seconds and rate else 0]
        declared = min(filter(None, counts), default=0)
        if not pts:
            raise ValueError(_too_few(path, declared, 0) + (f" ({losses[0]})" if losses else ""))
        rate = Fraction(rate or (len(pts) - 1) / ((pts[-1] - pts[0]) * time_base or 1) or 1)
        errors = [abs((moment - pts[0]) * time_base - i / rate) for i, moment in enumerate(pts)]
        rounded = 0 < max(errors) <= ROUNDING
        duration = len(pts) / rate if rounded else (pts[-1] - pts[0]) * time_base + (last * time_base or 1 / rate)
        has_sound = any(map(decodable, container.streams.audio))
    missing = seconds - duration if seconds else (declared - len(pts)) / rate
    if len(pts) < declared and missing > MISSING_SECONDS:
        raise ValueError(_too_few(path, declared, len(pts)))
    if held < counts[0] == declared and exact_count:
        log.warning("%s declares %d pictures but holds %d: its very end may be missing", path, declared, held)
    check_seconds("pictures", duration, path)
    if losses:
        log.warning("%s is damaged in %d places, which show the picture before (%s)", path, len(losses), losses[0])
    return Footage(Path(path), width, height, rate, tuple(pts), time_base, duration, has_sound, turned, rounded)


def resample_times(times: Sequence[float | Fraction], duration: float | Fraction, fps: int = VIDEO_FPS) -> list[int]:
    """For each output picture, the index of the input picture that is on screen at its time.

    times: when each input picture comes, in seconds, rising; output picture i comes i / fps after the first of them
    duration: seconds from the first picture's start to the last one's end; there are round(duration * fps) output
    pictures, at least one. Times that are rounded to milliseconds lose and double nothing.
    """
    if not times:
        raise ValueError("there are no pictures to choose from")
    count = max(1, round(Fraction(duration) * fps))
    return [bisect_right(times, times[0] + Fraction(i, fps) + ROUNDING) - 1 for i in range(count)]


def fit_frames(count: int) -> int:
    """The longest clip of 4n + 1 frames that ``count`` frames are enough for."""
    if count < 1:
        raise ValueError(f"a clip needs at least one picture at {VIDEO_FPS} a second, and there are {count}")
    return (count - 1) // TEMPORAL_STRIDE * TEMPORAL_STRIDE + 1


def frames_for_model(footage: Footage, height: int, width: int, start: int = 0, count: int | None = None) -> Tensor:
    """Pictures [F, height, width, 3] in [0, 1] at 16 a second, resized as `fit_picture` does.

    start, count: which of the pictures at 16 a second; None is all the rest. Raises ``ValueError`` if it ends before.
    """
    indices = footage.on_screen
    end = len(indices) if count is None else start + count
    if not 0 <= start < end <= len(indices):
        raise ValueError(
            f"{footage.path} has {len(indices)} pictures at {VIDEO_FPS} a second, not the {start + 1}th to {end}th"
        )
    frames = torch.empty(end - start, height, width, 3)
    for place, pixels in enumerate(footage.pictures(indices[start:end])):
        frames[place] = torch.from_numpy(resize(pixels, height, width))
    return frames.div_(255)


@dataclass(frozen=True)
class FootageFrames:
    """The pictures of `frames_for_model`, of which parts are read when they are asked for (implements Frames)."""

    footage: Footage
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.footage.on_screen)

    def __getitem__(self, part: slice) -> Tensor:
        start, stop, _ = part.indices(len(self))
        return frames_for_model(self.footage, self.height, self.width, start, stop - start)


def _stream(container: av.container.InputContainer, path: str | Path) -> av.VideoStream:
    stream = moving_pictures(container)
    if stream is None:
        cover = " but a cover" if container.streams.video else ""
        raise ValueError(f"{path} has no pictures{cover}: give a video file")
    if not decodable(stream):
        raise ValueError(f"the pictures of {path} are in a format that cannot be read here: export it again as H.264")
    if stream.height * stream.width > MAX_PIXELS:
        raise ValueError(f"each picture of {path} {TOO_LARGE} ({stream.width} x {stream.height})")
    stream.thread_type = "AUTO"
    return stream


def _too_few(path: str | Path, declared: int, held: int) -> str:
    return (
        f"{path} declares {declared} pictures but holds {held}: it was cut off or is damaged; copy or export it again"
    )


def _pictures(footage: Footage, indices: Sequence[int]) -> Iterator[np.ndarray]:
    wanted = [footage.pts[index] for index in indices]
    if not wanted:
        return
    place = 0
    on_screen = None  # the frame before, not converted yet
    for frame in _frames_from(footage, wanted[0]):
        moment = _moment(frame, footage.path)
        if on_screen is not None and moment > wanted[place]:
            pixels = _upright(on_screen, footage)
            while wanted[place] < moment:
                yield pixels
                place += 1
                if place == len(wanted):
                    return
        on_screen = frame
    if on_screen is None:
        raise ValueError(f"{footage.path} holds no pictures any more: open it again")
    yield from [_upright(on_screen, footage)] * (len(wanted) - place)


def _frames_from(footage: Footage, pts: int) -> Iterator[av.VideoFrame]:
    """Frames from a key frame at or before ``pts`` on; all of them where the container cannot be entered there."""
    for enter in (True, False) if pts > footage.pts[0] else (False,):
        with open_media(footage.path, "video") as container:
            stream = _stream(container, footage.path)
            if enter:
                container.seek(pts, stream=stream)
            frames = decode_what_can_be(container, stream)
            first = next(frames, None)
            if first is None or (enter and (not first.key_frame or _moment(first, footage.path) > pts)):
                continue
            yield first
            yield from frames
            return


def _moment(frame: av.VideoFrame, path: str | Path) -> int:
    moment = frame.dts if frame.pts is None else frame.pts
    if moment is None:
        raise ValueError(f"the pictures of {path} have no times: export it again, for example as MP4")
    return moment


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """How a frame is turned upright: swap rows and columns, then mirror left-right, then upside down."""
    if Type.DISPLAYMATRIX not in frame.side_data:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(frame.side_data[Type.DISPLAYMATRIX]), np.int32)[:5].tolist()
    swap = abs(b) + abs(c) > abs(a) + abs(d)  # (x, y) goes to (ax + cy, bx + dy)
    return (True, c < 0, b < 0) if swap else (False, a < 0, d < 0)


def _upright_size(frame: av.VideoFrame, aspect: Fraction | None) -> tuple[int, int]:
    """``(height, width)`` of a frame with square pixels and turned upright; ``aspect``: of its own pixels."""
    height, width = frame.height, max(1, round(frame.width * aspect)) if aspect else frame.width
    return (width, height) if _orientation(frame)[0] else (height, width)


def _upright(frame: av.VideoFrame, footage: Footage) -> np.ndarray:
    """uint8 [footage.height, footage.width, 3]; what is transparent is white."""
    kind = frame.format
    if kind.has_palette or any(component.is_alpha for component in kind.components):
        image = Image.fromarray(frame.to_ndarray(format="rgba"))
        pixels = np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
    else:
        # said explicitly: the first PyAV versions that ComfyUI allows take all for BT.601
        source = {"src_colorspace": int(frame.colorspace), "src_color_range": int(frame.color_range)}
        pixels = frame.reformat(format="rgb24", dst_color_range=FULL, **source).to_ndarray()
    swap, mirror, flip = _orientation(frame)
    if swap:
        pixels = pixels.swapaxes(0, 1)
    pixels = pixels[:: -1 if flip else 1, :: -1 if mirror else 1]
    return resize(np.ascontiguousarray(pixels), footage.height, footage.width)
