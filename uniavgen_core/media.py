"""Opening sound and video files: only whole files of known containers, never a playlist that names other files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
from av.stream import Disposition

from .interruption import check_interruption

# FFmpeg's names of the containers that are read. The content decides, not the file's name. Left out on purpose: all
# that follow names written in a file (concat, hls, dash, image2, sdp, ...) and what is neither sound nor video.
CONTAINERS = (
    *("mov", "matroska", "avi", "flv", "mpegts", "mpeg", "asf", "gif", "mxf", "nut", "dv", "ivf", "ogg", "wav", "w64"),
    *("mp3", "flac", "aac", "ac3", "eac3", "aiff", "au", "caf", "amr", "ape", "wv", "tta"),
)
# containers without a written length: FFmpeg guesses it from the size of the file
GUESSED_LENGTH = ("mp3", "aac", "ac3", "eac3", "amr", "mpegts", "mpeg", "flv")

Stream = TypeVar("Stream", bound=av.stream.Stream)
MAX_SECONDS = 2 * 3600  # of a file that is read
UNKNOWN_SIZE = 0x7FFF_0000  # programs that write WAV into a pipe put this or more


@contextmanager
def open_media(path: str | Path, kind: str) -> Iterator[av.container.InputContainer]:
    """Opens a sound or video file. ``kind`` is what the sentences call it, "sound" or "video".

    Raises ``FileNotFoundError`` or ``ValueError`` with a sentence, also when reading inside the block fails.
    """
    path = Path(path)
    check_file(path, kind)
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    try:
        # the absolute path, so that no name is taken for a protocol; foreign letters in titles are no reason to fail
        with av.open(str(path.absolute()), options=options, metadata_errors="replace") as container:
            yield container
    except PermissionError as error:
        raise ValueError(f"the {kind} {path} may not be read: change its permissions") from error
    except av.FFmpegError as error:
        raise ValueError(
            f"{path} cannot be read as {kind}: give a whole file such as MP4, MOV, MKV, WebM, AVI, WAV, MP3, FLAC or "
            f"Ogg, not a playlist ({error.strerror})"
        ) from error


def check_file(path: Path, kind: str) -> None:
    """Raises ``FileNotFoundError`` or ``ValueError`` with a sentence if there is no such file, or nothing in it."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a {kind} file")
    if not path.exists():
        raise FileNotFoundError(f"there is no {kind} file {path}")
    if not path.is_file():
        raise ValueError(f"{path} is not a file but a device or a pipe: give a {kind} file")
    if not path.stat().st_size:
        raise ValueError(f"the {kind} file {path} is empty: it has no bytes at all")


def check_seconds(kind: str, seconds: float | Fraction, path: str | Path) -> None:
    """Raises ``ValueError`` with a sentence for a file that is too long to be read whole. kind: pictures or sound"""
    if seconds > MAX_SECONDS:
        raise ValueError(
            f"{path} has {float(seconds) / 3600:.1f} hours of {kind}, {MAX_SECONDS // 3600} at most can be read: cut "
            "out what is needed, or export it again if it is shorter"
        )


def moving_pictures(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first stream of pictures that is footage, not cover art or thumbnails. None if there is none."""
    stills = Disposition.attached_pic | Disposition.timed_thumbnails
    return first_readable([stream for stream in container.streams.video if not stream.disposition & stills])


def first_readable(streams: Sequence[Stream]) -> Stream | None:
    """The first stream that can be decoded, else the first; None if there is none."""
    return next(filter(decodable, streams), streams[0] if streams else None)


def decodable(stream: av.stream.Stream) -> bool:
    """Whether FFmpeg knows the stream's codec. Without one, older PyAVs crash the process when they decode."""
    return stream.codec_context is not None


def declared_seconds(container: av.container.InputContainer, stream: av.stream.Stream) -> Fraction | None:
    """How long the file itself says that the stream lasts. None if it does not say, or FFmpeg would only guess."""
    if set(container.format.name.split(",")) & set(GUESSED_LENGTH):
        return None
    if stream.duration:
        return stream.duration * stream.time_base * _written_share(container)
    try:  # Matroska writes the time of the stream's end as a tag, 00:00:05.062500000
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds) - (stream.start_time or 0) * stream.time_base
    except (KeyError, ValueError):
        pass
    alone = len(container.streams) == 1
    return Fraction(container.duration, av.time_base) if alone and container.duration else None


def _written_share(container: av.container.InputContainer) -> Fraction:
    """How many times longer a WAV file is by its header than on the disk. FFmpeg corrects the length silently."""
    with open(container.name, "rb") as file:
        header = file.read(8)
    written = int.from_bytes(header[4:], "little") + 8
    cut_off = header.startswith(b"RIFF") and container.size < written < UNKNOWN_SIZE
    return Fraction(written, container.size) if cut_off else Fraction(1)


def decode_what_can_be(
    container: av.container.InputContainer, stream: av.stream.Stream, losses: list[str] | None = None
) -> Iterator[av.frame.Frame]:
    """Frames of a stream from the present place on. Packets that cannot be decoded are passed over.

    losses: gets what the decoder said, once for each packet passed over
    """
    packets = container.demux(stream)
    while True:
        check_interruption()
        try:
            packet = next(packets, None)  # the last packet is empty and flushes the decoder
        except av.FFmpegError as error:  # the file ends in the middle, or is damaged from here on
            packet = None
            _note(losses, error)
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.EOFError:
            return
        except av.FFmpegError as error:
            _note(losses, error)


def _note(losses: list[str] | None, error: av.FFmpegError) -> None:
    if losses is not None:
        losses.append(error.strerror)
