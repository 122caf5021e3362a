"""Footage with another sound: pictures as they were, sound exactly as long."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from uniavgen_core.audio.sound import Sound
from uniavgen_core.types import Clip
from uniavgen_core.video.footage import read_footage
from uniavgen_core.video.mux import check_dub, even_size, mix, write_dubbed, write_mp4


def make_footage(
    path: Path, rate: Fraction, frames: int = 40, codec: str = "libx264", size=(64, 48), **options
) -> Path:
    """A clip whose brightness tells the picture's number, with a tone."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="stereo")
        for i in range(frames):
            pixels = np.full((size[1], size[0], 3), 5 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
        for start in range(0, int(frames / rate * 48000), 1024):
            tone = 0.3 * np.sin(np.arange(start, start + 1024) * 0.05, dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 48000, start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def contents(path: Path) -> tuple[list[Fraction], list[np.ndarray], np.ndarray]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    return (
        [frame.pts * frame.time_base for frame in frames],
        [frame.to_ndarray(format="rgb24") for frame in frames],
        sound,
    )


@pytest.mark.case("Media", "23.976, 29.97 and 60 pictures a second")
@pytest.mark.parametrize("rate", ["16", "24000/1001", "25", "30000/1001", "30", "60"])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_pictures_stay_and_sound_is_as_long(tmp_path: Path, rate: str, container: str) -> None:
    source = make_footage(tmp_path / f"source.{container}", Fraction(rate))
    footage = read_footage(source)
    wave = 0.5 * torch.sin(torch.arange(24000 * 9) * 0.1)[None]  # too long, so it is cut
    written = write_dubbed(tmp_path / "dubbed.mp4", footage, wave, 24000)

    times, frames, _ = contents(source)
    new_times, new_frames, sound = contents(written)
    assert new_times == [i / Fraction(rate) for i in range(len(times))]  # also where Matroska had rounded them
    assert all(np.array_equal(a, b) for a, b in zip(new_frames, frames, strict=True))
    end = len(times) / Fraction(rate)
    assert footage.duration == end
    samples = round(end * 24000)
    assert sound.shape[1] == samples
    with av.open(str(written)) as result:
        (pictures,), (track,) = result.streams.video, result.streams.audio
        assert pictures.average_rate == Fraction(rate)
        assert track.duration * track.time_base == Fraction(samples, 24000)
        packets = [packet for packet in result.demux() if packet.pts is not None]
        shown = sorted((packet.pts, packet.duration) for packet in packets if packet.stream is pictures)
        assert shown[0][0] == 0
        assert sum(shown[-1]) * pictures.time_base == end
        heard = [packet for packet in packets if packet.stream is track]
        assert heard[0].pts <= 0  # the encoder's delay lies before time 0
        assert (heard[-1].pts + heard[-1].duration) * track.time_base == Fraction(samples, 24000)


@pytest.mark.case("Media", "odd sizes")
def test_a_codec_that_mp4_lacks_is_drawn_anew(tmp_path: Path) -> None:
    source = make_footage(tmp_path / "source.mkv", Fraction(25), codec="ffv1", size=(65, 49))
    written = write_dubbed(tmp_path / "dubbed.mp4", read_footage(source), torch.zeros(1, 100), 24000)
    times, frames, sound = contents(written)
    assert [round(time * 25) for time in times] == list(range(40))
    assert frames[0].shape == (48, 64, 3)
    assert [abs(float(frame.mean()) - 5 * i) < 4 for i, frame in enumerate(frames)] == [True] * 40
    assert sound.shape[1] == 38_400


def test_the_footage_is_not_overwritten(tmp_path: Path) -> None:
    source = make_footage(tmp_path / "source.mp4", Fraction(25), frames=5)
    before = source.read_bytes()
    with pytest.raises(ValueError, match="is the footage itself"):
        write_dubbed(source, read_footage(source), torch.zeros(1, 100), 24000)
    assert source.read_bytes() == before


@pytest.mark.case("Media", "sound beyond full scale (clipping)")
def test_mixing() -> None:
    voice, original = torch.full((1, 4), 0.5), torch.full((1, 9), 0.4)
    torch.testing.assert_close(mix(voice, original, 0.5), torch.full((1, 4), 0.7))
    torch.testing.assert_close(mix(voice, original, 0.0), voice)
    torch.testing.assert_close(mix(voice, torch.full((1, 2), 1.0), 1.0), torch.tensor([[1.0, 1.0, 1 / 3, 1 / 3]]))
    for level in (-1.0, 1.5):
        with pytest.raises(ValueError, match="must be from 0"):
            mix(voice, original, level)


def test_what_cannot_be_dubbed_is_known_beforehand(tmp_path: Path) -> None:
    footage = read_footage(make_footage(tmp_path / "source.mp4", Fraction(25), frames=5))
    check_dub(footage, tmp_path / "new.mp4", 0.5)
    with pytest.raises(ValueError, match=r"must be from 0 .* not nan"):
        check_dub(footage, tmp_path / "new.mp4", float("nan"))
    with pytest.raises(ValueError, match="has no sound to mix"):
        check_dub(replace(footage, has_sound=False), tmp_path / "new.mp4", 0.5)


@pytest.mark.case("Media", "odd sizes")
def test_odd_sizes_lose_a_row_and_a_column_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert even_size(48, 64) == (48, 64)
    assert not caplog.records
    assert even_size(49, 65) == (48, 64)
    assert "pictures of 65 x 49 become 64 x 48" in caplog.text


def test_whole_numbers_are_no_loud_noise(tmp_path: Path) -> None:
    tone = (3000 * torch.sin(torch.arange(24_000) * 0.1)).to(torch.int16)[None]
    with pytest.raises(ValueError, match=r"real numbers with full scale 1, not torch\.int16"):
        write_mp4(tmp_path / "a.mp4", Clip(torch.zeros(16, 32, 32, 3), tone, 16, 24_000))
    assert not list(tmp_path.iterdir())
    assert float(Sound(tone, 24_000).waveform.abs().max()) == pytest.approx(3000 / 32768, rel=1e-3)
