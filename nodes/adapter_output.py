"""What the Mux hands out as VIDEO: the host's own kinds, but written to MP4 with exact rates and exact lengths."""

from __future__ import annotations

import io as bytes_io
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl, Types
from torch import Tensor

from ..uniavgen_core.types import Clip
from ..uniavgen_core.video.footage import Footage
from ..uniavgen_core.video.mux import AAC_RATES, even_size, full_scale, write_dubbed, write_mp4
from ..uniavgen_core.whole import whole_or_nothing

AUTO, MP4, H264 = "auto", "mp4", "h264"


class ExactVideo(InputImpl.VideoFromComponents):
    """Pictures [F, H, W, 3] with sound [channels, samples]. The host's own would round the rate to thousandths."""

    def __init__(self, images: Tensor, waveform: Tensor, sample_rate: int, rate: Fraction):
        height, width = even_size(*images.shape[1:3])
        images, waveform = images[:, :height, :width], full_scale(waveform)
        audio = {"waveform": waveform[None], "sample_rate": sample_rate}
        super().__init__(Types.VideoComponents(images=images, audio=audio, frame_rate=rate))
        self._clip = Clip(images, waveform, rate, sample_rate)

    def save_to(self, path, format=AUTO, codec=AUTO, metadata=None, **rest: Any) -> None:
        if is_ours(format, codec, self._clip.waveform, self._clip.sample_rate, rest):
            deliver(path, lambda file: write_mp4(file, self._clip, metadata=tags(metadata)))
        else:
            super().save_to(path, as_host(Types.VideoContainer, format), as_host(Types.VideoCodec, codec), metadata)


class DubbedVideo(InputImpl.VideoFromFile):
    """A file with another sound [channels, samples]. Its pictures are copied as they are when it is saved as MP4."""

    def __init__(self, footage: Footage, waveform: Tensor, sample_rate: int):
        super().__init__(str(footage.path))
        self._footage, self._waveform, self._sample_rate = footage, full_scale(waveform), sample_rate

    def get_components(self) -> Any:
        audio = {"waveform": self._waveform[None], "sample_rate": self._sample_rate}
        return replace(super().get_components(), audio=audio)

    def get_stream_source(self) -> bytes_io.BytesIO:
        """All of it as MP4: the file itself has another sound."""
        buffer = bytes_io.BytesIO()
        self.save_to(buffer)
        buffer.seek(0)
        return buffer

    def save_to(self, path, format=AUTO, codec=AUTO, metadata=None, **rest: Any) -> None:
        if is_ours(format, codec, self._waveform, self._sample_rate, rest):
            arguments = (self._footage, self._waveform, self._sample_rate)
            wanted = None if named(codec) == AUTO else named(codec)
            deliver(path, lambda file: write_dubbed(file, *arguments, metadata=tags(metadata), codec=wanted))
        else:
            InputImpl.VideoFromComponents(self.get_components()).save_to(
                path, as_host(Types.VideoContainer, format), as_host(Types.VideoCodec, codec), metadata, **rest
            )


def is_ours(format: Any, codec: Any, waveform: Tensor, sample_rate: int, rest: dict[str, Any]) -> bool:
    """Whether the core can write what is asked for."""
    plain = not any(value is not None for value in rest.values())
    known = sample_rate in AAC_RATES and waveform.shape[0] in (1, 2)
    return plain and known and named(format) in (AUTO, MP4) and named(codec) in (AUTO, H264)


def deliver(path: Any, write: Callable[[Path], object]) -> None:
    """Calls ``write`` with a file name that ends in .mp4, and brings what it wrote to a path or an open buffer."""
    if isinstance(path, str | Path) and Path(path).suffix.lower() == ".mp4":
        write(Path(path))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.mp4")
        write(file)
        if isinstance(path, str | Path):
            with whole_or_nothing(Path(path)) as unfinished:
                unfinished.write_bytes(file.read_bytes())
        else:
            path.write(file.read_bytes())


def tags(metadata: dict[str, Any] | None) -> dict[str, str]:
    """Metadata as the host writes it."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in (metadata or {}).items()}


def named(value: Any) -> str:
    """A container or codec of the host as its name."""
    return str(getattr(value, "value", value)).lower()


def as_host(kind: type, value: Any) -> Any:
    """A name as the host's container or codec."""
    return value if isinstance(value, kind) else kind(value)
