"""Pictures in, MP4 out: what comes back is what went in, for exactly as long, or there is no file."""

from __future__ import annotations

import math
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from uniavgen_core.types import Clip
from uniavgen_core.video import mux
from uniavgen_core.video.mux import check_output, fit_sound, sound_samples, write_mp4
from uniavgen_core.video.picture import fit_picture, read_picture

CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]], [[0, 0, 0], [255, 255, 255]]], np.uint8)


def make_clip(frames: int = 9, *, fps=16, rate: int = 24_000, channels: int = 1, size=(32, 64)) -> Clip:
    """Pictures whose brightness rises, with noise as loud as speech, as long as the pictures."""
    pictures = torch.linspace(0.1, 0.9, frames)[:, None, None, None].expand(frames, *size, 3)
    noise = torch.randn(channels, sound_samples(frames, fps, rate) + 8, generator=torch.Generator().manual_seed(0))
    smooth = noise.unfold(1, 9, 1).mean(dim=-1) * 0.2  # AAC keeps low frequencies
    return Clip(pictures, smooth, fps, rate)


# pictures


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.webp", "a.ppm"])
def test_a_picture_comes_as_it_is(tmp_path: Path, name: str) -> None:
    Image.fromarray(CORNERS).save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    picture = read_picture(tmp_path / name)
    assert torch.equal(picture, torch.from_numpy(CORNERS)[None] / 255)


@pytest.mark.case("Media", "rotation flag")
def test_exif_turns_the_picture_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned by 90 degrees clockwise
    Image.fromarray(CORNERS).save(tmp_path / "a.png", exif=exif)
    assert torch.equal(read_picture(tmp_path / "a.png")[0] * 255, torch.from_numpy(np.rot90(CORNERS, -1).copy()))


@pytest.mark.case("Media", "RGBA pictures")
def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png")[0, 0] * 255).round().tolist() == [[10, 20, 30], [255] * 3, [204] * 3]
    palette = Image.fromarray(np.array([[[9, 9, 9], [200, 0, 0]]], np.uint8)).quantize(2)
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((1, 0)))
    assert (read_picture(tmp_path / "p.png")[0, 0] * 255).round().tolist() == [[9] * 3, [255] * 3]


@pytest.mark.case("Media", "grey pictures")
@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_grey_of_8_and_16_bits(tmp_path: Path, dtype: type, top: int) -> None:
    Image.fromarray(np.array([[0, top // 5, top]], dtype)).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png")[0, 0] * 255).round().tolist() == [[0] * 3, [51] * 3, [255] * 3]


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("a.png", lambda path: None, "there is no picture"),
        ("a.png", lambda path: path.mkdir(), "is a folder: give a picture file"),
        ("a.png", lambda path: path.write_bytes(b""), "cannot be read as a picture"),
        ("a.png", lambda path: path.write_text("hello"), "cannot be read as a picture"),
        ("a.png", lambda path: (Image.fromarray(CORNERS).resize((99, 99)).save(path), damage(path)), "cannot be read"),
        ("a.jpg", lambda path: (Image.fromarray(CORNERS).resize((99, 99)).save(path), damage(path)), "cannot be read"),
        ("a.eps", lambda path: Image.fromarray(CORNERS).save(path), "cannot be read as a picture"),
        ("a.tiff", lambda path: Image.new("F", (2, 2)).save(path), "32-bit pixels"),
        ("a.tiff", lambda path: Image.new("I", (2, 2)).save(path), "32-bit pixels"),
    ],
)
def test_unreadable_pictures_are_refused_in_words(tmp_path: Path, name: str, make, sentence: str) -> None:
    make(tmp_path / name)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as error:
        read_picture(tmp_path / name)
    assert name in str(error.value)


def test_a_picture_of_the_right_size_is_only_scaled_in_range() -> None:
    picture = torch.from_numpy(CORNERS)[None] / 255
    fitted = fit_picture(picture, 3, 2)
    assert fitted.shape == (1, 3, 1, 3, 2)
    torch.testing.assert_close(fitted[0, :, 0].permute(1, 2, 0), picture[0] * 2 - 1)


def test_resizing_is_pillow_s_on_bytes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 41, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((64, 32), Image.Resampling.BILINEAR))
    fitted = fit_picture(torch.from_numpy(pixels)[None] / 255, 32, 64)
    assert np.array_equal(((fitted[0, :, 0].permute(1, 2, 0) + 1) * 127.5).round().numpy(), expected)


@pytest.mark.case("Media", "numbers that are NaN")
@pytest.mark.case("Media", "pictures with another number of channels")
@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (torch.zeros(2, 8, 8, 3), r"must be \[1, height, width, 3\]"),
        (torch.zeros(1, 8, 8, 4), r"must be \[1, height, width, 3\]"),
        (torch.zeros(1, 0, 8, 3), r"must be \[1, height, width, 3\]"),
        (torch.full((1, 8, 8, 3), math.nan), "NaN or infinite"),
    ],
)
def test_unfit_pictures_are_refused(picture: torch.Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fit_picture(picture, 32, 32)


# the file


@pytest.mark.parametrize("frames", [1, 5, 9, 81])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_sound_lasts_exactly_as_long_as_the_pictures(tmp_path: Path, frames: int, channels: int) -> None:
    check_file(tmp_path, make_clip(frames, channels=channels))


@pytest.mark.case("Media", "23.976, 29.97 and 60 pictures a second")
@pytest.mark.parametrize(
    ("fps", "rate"), [(25, 44_100), (30, 48_000), (Fraction(30_000, 1001), 48_000), (Fraction(24_000, 1001), 16_000)]
)
def test_other_rates(tmp_path: Path, fps: int | Fraction, rate: int) -> None:
    check_file(tmp_path, make_clip(47, fps=fps, rate=rate, channels=2))


def check_file(folder: Path, clip: Clip) -> None:
    path = write_mp4(folder / "clip.mp4", clip)
    frames, channels = clip.frames.shape[0], clip.waveform.shape[0]
    with av.open(str(path), format="mp4") as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, video.pix_fmt) == (*clip.frames.shape[2:0:-1], "yuv420p")
        assert video.average_rate == clip.fps
        assert video.duration * video.time_base == Fraction(frames) / Fraction(clip.fps)
        assert (audio.rate, audio.layout.nb_channels) == (clip.sample_rate, channels)
        assert (video.start_time, audio.start_time) == (0, 0)
        assert audio.duration * audio.time_base == Fraction(clip.waveform.shape[1], clip.sample_rate)
        times = [frame.pts * frame.time_base for frame in container.decode(video)]
        assert times == [Fraction(index) / Fraction(clip.fps) for index in range(frames)]
        container.seek(0)
        decoded = np.concatenate([frame.to_ndarray() for frame in container.decode(audio)], axis=1)
    assert decoded.shape == clip.waveform.shape
    sound = clip.waveform.numpy()
    assert np.linalg.norm(decoded - sound) < 0.35 * np.linalg.norm(sound)
    later = np.roll(decoded, 1, axis=1)  # a shift by one sample fits worse: nothing is early or late
    assert np.linalg.norm(decoded - sound) < np.linalg.norm(later - sound)


def test_colours_come_back(tmp_path: Path) -> None:
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.1, 0.2, 0.9], [1, 1, 1], [0, 0, 0]])
    pictures = colours[:, None, None].expand(5, 64, 64, 3)
    path = write_mp4(tmp_path / "a.mp4", Clip(pictures, torch.zeros(1, 7500), 16, 24_000))
    with av.open(str(path)) as container:
        found = [frame.to_ndarray(format="rgb24").mean(axis=(0, 1)) / 255 for frame in container.decode(video=0)]
    assert np.abs(np.array(found) - colours.numpy()).max() < 0.02


@pytest.mark.case("Media", "sound of another length than the pictures")
@pytest.mark.parametrize("given", [0, 3000, 60_000])
def test_sound_of_another_length_is_cut_or_filled_up(tmp_path: Path, given: int) -> None:
    clip = Clip(torch.full((9, 32, 32, 3), 0.5), torch.full((1, given), 0.3), 16, 24_000)
    with av.open(str(write_mp4(tmp_path / "a.mp4", clip))) as container:
        decoded = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert decoded.shape == (1, 13_500)
    assert np.abs(decoded[0, given + 2048 :]).max(initial=0) < 1e-3


RATES = st.sampled_from([8, 12, Fraction(24_000, 1001), 25, Fraction(30_000, 1001), 60, 120]) | st.builds(
    Fraction, st.integers(1000, 120_000), st.just(1000)
)


@pytest.mark.case("Media", "sound exactly as long as the pictures, whatever their number and rates")
@given(st.integers(1, 10**6), RATES, st.sampled_from(mux.AAC_RATES))
def test_no_clip_s_sound_is_half_a_sample_off(frames: int, fps: int | Fraction, rate: int) -> None:
    assert abs(Fraction(sound_samples(frames, fps, rate), rate) - Fraction(frames) / fps) <= Fraction(1, 2 * rate)


@pytest.mark.case("Media", "sound exactly as long as the pictures, whatever their number and rates")
@given(st.integers(1, 12), RATES, st.sampled_from(mux.AAC_RATES), st.sampled_from([1, 2]), st.integers(0, 50_000))
@settings(max_examples=20)
def test_every_file_s_sound_lasts_exactly_as_long(
    frames: int, fps: int | Fraction, rate: int, channels: int, samples: int
) -> None:
    clip = Clip(torch.full((frames, 32, 32, 3), 0.5), torch.full((channels, samples), 0.3), fps, rate)
    with tempfile.TemporaryDirectory() as folder:
        path = write_mp4(Path(folder, "a.mp4"), clip)
        with av.open(str(path)) as container:
            pictures, sound = container.streams.video[0], container.streams.audio[0]
            assert sound.duration * sound.time_base == Fraction(sound_samples(frames, fps, rate), rate)
            assert [frame.pts * frame.time_base for frame in container.decode(pictures)] == [
                Fraction(i) / fps for i in range(frames)
            ]
            container.seek(0)
            decoded = sum(frame.samples for frame in container.decode(sound))
    shortest = mux.AAC_FRAME // 2  # less is filled up when it is decoded: FFmpeg would give nothing at all
    samples = sound_samples(frames, fps, rate)
    assert decoded == (samples if samples > shortest else mux.AAC_FRAME)


@pytest.mark.parametrize("samples", [67, 400, 512])
def test_a_sound_of_one_short_picture_is_heard(tmp_path: Path, samples: int) -> None:
    sound = 0.3 * torch.sin(torch.arange(samples) * 0.2)[None]
    path = write_mp4(
        tmp_path / "a.mp4", Clip(torch.full((1, 32, 32, 3), 0.5), sound, Fraction(24_000, samples), 24_000)
    )
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        assert track.duration * track.time_base == Fraction(samples, 24_000)
        decoded = np.concatenate([frame.to_ndarray() for frame in container.decode(track)], axis=1)
    assert np.abs(decoded[0, :samples] - sound[0].numpy()).mean() < 0.05


def test_fit_sound() -> None:
    sound = torch.tensor([[1.0, 2, 3]])
    assert fit_sound(sound, 2).tolist() == [[1, 2]]
    assert fit_sound(sound, 5).tolist() == [[1, 2, 3, 0, 0]]


@pytest.mark.case("Life", "cancel during mux")
@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError, av.error.ExternalError])
def test_no_file_is_left_when_writing_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type) -> None:
    path, calls = tmp_path / "a.mp4", []

    def stop_late(pixels: torch.Tensor) -> np.ndarray:
        calls.append(list(tmp_path.iterdir()))
        if len(calls) == 80:  # the encoder holds back its first forty
            raise failure() if failure is not av.error.ExternalError else failure(1, "it broke")
        return original(pixels)

    original = mux.to_bytes
    monkeypatch.setattr(mux, "to_bytes", stop_late)
    with pytest.raises(OSError if failure is av.error.ExternalError else failure):
        write_mp4(path, make_clip(81))
    assert len(calls[-1]) == 1  # there was a temporary file beside the target
    assert not list(tmp_path.iterdir())

    calls.clear()
    path.write_bytes(b"the old clip")
    with pytest.raises(OSError if failure is av.error.ExternalError else failure):
        write_mp4(path, make_clip(81))
    assert path.read_bytes() == b"the old clip"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.case("Concurrency", "two saves at once")
def test_two_clips_saved_under_one_name_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are written side by side, and the file is one of the two, whole."""
    path, both, seen = tmp_path / "a.mp4", threading.Barrier(2, timeout=60), []
    clips = [replace(make_clip(81), frames=torch.full((81, 32, 48, 3), grey)) for grey in (0.2, 0.8)]
    alone = [write_mp4(tmp_path / f"{i}.mp4", clip).read_bytes() for i, clip in enumerate(clips)]
    original = mux.to_bytes

    def in_step(pixels: torch.Tensor) -> np.ndarray:
        both.wait()
        seen.append(len(list(tmp_path.glob(".*.unfinished"))))
        return original(pixels)

    monkeypatch.setattr(mux, "to_bytes", in_step)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda clip: write_mp4(path, clip), clips)) == [path, path]
    assert max(seen) == 2  # the encoder holds back its first forty pictures
    assert path.read_bytes() in alone
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.mp4", "1.mp4", "a.mp4"]


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"the old clip")
    write_mp4(tmp_path / "a.mp4", make_clip(1))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.mp4"]
    assert b"ftyp" in (tmp_path / "a.mp4").read_bytes()[:12]


@pytest.mark.case("Media", "numbers that are NaN")
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"frames": torch.zeros(5, 32, 32, 4)}, r"\[frames, height, width, 3\]"),
        ({"frames": torch.zeros(0, 32, 32, 3)}, r"\[frames, height, width, 3\]"),
        ({"frames": torch.zeros(5, 31, 32, 3)}, "even sizes, not 32 x 31"),
        ({"frames": torch.full((5, 32, 32, 3), math.nan)}, "pictures of the clip hold numbers that are NaN"),
        ({"waveform": torch.full((1, 100), math.inf)}, "sound of the clip holds numbers that are NaN or infinite"),
        ({"waveform": torch.zeros(3, 100)}, "1 or 2 channels"),
        ({"waveform": torch.zeros(100)}, "1 or 2 channels"),
        ({"sample_rate": 22_000}, "no sample rate of 22000 Hz"),
        ({"fps": 0}, "0 pictures a second"),
    ],
)
def test_unfit_clips_are_refused(tmp_path: Path, changes: dict, sentence: str) -> None:
    fit = {"frames": torch.zeros(5, 32, 32, 3), "waveform": torch.zeros(1, 7500), "fps": 16, "sample_rate": 24_000}
    with pytest.raises(ValueError, match=sentence):
        write_mp4(tmp_path / "a.mp4", Clip(**{**fit, **changes}))
    assert not list(tmp_path.iterdir())


def test_unfit_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be an \.mp4 file"):
        check_output(tmp_path / "a.avi")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        check_output(tmp_path / "nowhere" / "a.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        check_output(tmp_path / "folder.mp4")
    assert check_output(tmp_path / "A.MP4") == tmp_path / "A.MP4"
    assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]
