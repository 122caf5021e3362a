"""Video files of any kind -> upright pictures at their times -> 16 a second, or one sentence."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from media import MILLISECOND, SMALL, cut_off, grey, index_of, tone, turn, write_playlist, write_sound, write_video
from PIL import Image

from uniavgen_core.pipeline import Material, clip_length
from uniavgen_core.video.footage import (
    Footage,
    FootageFrames,
    fit_frames,
    frames_for_model,
    read_footage,
    resample_times,
)
from uniavgen_core.video.picture import fit_picture

FILM, NTSC = Fraction(24_000, 1001), Fraction(30_000, 1001)
RATES = (12, 16, FILM, 25, NTSC, 30, 60)
LOSSLESS = {"codec": "ffv1", "pix_fmt": "bgr0", "options": {}, "matrix": 0}


def shown(footage: Footage, **which: int) -> list[int]:
    return [index_of(frame * 255) for frame in frames_for_model(footage, *SMALL, **which)]


def check_choice(found: list[int], times: list[Fraction]) -> None:
    """Each output picture is the one on screen at its time, give or take the rounding to milliseconds."""
    assert found[0] == 0
    for i, index in enumerate(found):
        assert times[index] <= Fraction(i, 16) + MILLISECOND * Fraction(3, 2)
        assert index == len(times) - 1 or times[index + 1] > Fraction(i, 16)


# times


@pytest.mark.case("Media", "23.976, 29.97 and 60 pictures a second")
@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("rounding", [0, MILLISECOND, Fraction(1, 90_000)])
def test_constant_rates(fps: int | Fraction, rounding: Fraction) -> None:
    exact = [Fraction(i) / Fraction(fps) for i in range(97)]
    times = [round(time / rounding) * rounding if rounding else time for time in exact]
    duration = 97 / Fraction(fps)
    found = resample_times(times, duration)
    assert len(found) == round(duration * 16)
    check_choice(found, exact)
    if fps == 16:
        assert found == list(range(97))


@pytest.mark.case("Media", "variable frame rate")
def test_a_variable_rate_and_a_long_stop() -> None:
    times = [0.0, 0.01, 0.02, 0.3, 1.0, 1.03]
    assert resample_times(times, 1.25) == [0, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5]
    shifted = [Fraction(1000) + Fraction(str(time)) for time in times]
    assert resample_times(shifted, 1.25) == resample_times(times, 1.25)


def test_one_picture_is_one_picture() -> None:
    assert resample_times([0.0], Fraction(1, 60)) == [0]
    with pytest.raises(ValueError, match="no pictures"):
        resample_times([], 1)


def test_fit_frames() -> None:
    assert [fit_frames(count) for count in (1, 4, 5, 8, 9, 81, 84, 85)] == [1, 1, 5, 5, 9, 81, 81, 85]
    with pytest.raises(ValueError, match="at least one picture"):
        fit_frames(0)


# files


@pytest.mark.case("Media", "23.976, 29.97 and 60 pictures a second")
@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_every_rate_from_a_file(tmp_path: Path, fps: int | Fraction, name: str) -> None:
    count = 45
    footage = read_footage(write_video(tmp_path / name, map(grey, range(count)), fps=fps))
    assert (footage.height, footage.width, len(footage.pts), footage.has_sound) == (*SMALL, count, False)
    assert float(footage.rate) == pytest.approx(float(fps), rel=1e-4)
    assert float(footage.duration) == pytest.approx(count / float(fps), abs=2e-3)
    check_choice(shown(footage), [Fraction(i) / Fraction(fps) for i in range(count)])


@pytest.mark.case("Media", "variable frame rate")
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_a_variable_rate_from_a_file(tmp_path: Path, name: str) -> None:
    generator = np.random.default_rng(0)
    times = [Fraction(0), *np.cumsum(generator.integers(5, 200, 29)) * MILLISECOND]
    codec = {"codec": "libvpx-vp9", "options": {"lossless": "1"}} if name == "a.webm" else {}
    footage = read_footage(write_video(tmp_path / name, map(grey, range(30)), times=times, fps=30, **codec))
    assert footage.times == times
    check_choice(shown(footage), times)


def test_a_start_that_is_not_zero(tmp_path: Path) -> None:
    times = [Fraction(5) + Fraction(i, 16) for i in range(20)]
    for name in ("a.mkv", "a.ts"):
        footage = read_footage(write_video(tmp_path / name, map(grey, range(20)), times=times))
        assert footage.times[0] == 0
        assert shown(footage) == list(range(20))


def test_pictures_in_another_order_than_their_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", map(grey, range(20)), codec="mpeg4", options={"bf": "2", "qscale": "1"})
    footage = read_footage(path)
    assert footage.times == [Fraction(i, 16) for i in range(20)]
    assert shown(footage) == pytest.approx(list(range(20)), abs=1)  # MPEG-4 is that coarse


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_any_part_is_the_same_part_of_the_whole(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, map(grey, range(60)), fps=25, options={"g": "10", "bf": "2", "crf": "1"})
    footage = read_footage(path)
    whole = shown(footage)
    assert len(whole) == 38
    for start, count in ((0, 1), (1, 5), (17, 9), (37, 1), (30, None)):
        assert shown(footage, start=start, count=count) == whole[start:][:count]
    for start, count in ((38, 1), (0, 39), (-1, 5), (5, 0), (38, None)):
        with pytest.raises(ValueError, match="38 pictures"):
            frames_for_model(footage, *SMALL, start=start, count=count)


def test_an_edit_list_shows_only_its_part(tmp_path: Path) -> None:
    """Phones cut clips so: all the pictures are still in the file."""
    options = {"g": "30", "bf": "0", "crf": "1"}
    path = write_video(tmp_path / "a.mp4", map(grey, range(32)), options=options)
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 4
    assert data[place + 4 : place + 8] == b"\0\0\0\1"  # one entry, in version 0: length in ms, start in track units
    ticks = int.from_bytes(data[data.index(b"mdhd") + 16 :][:4], "big")
    data[place + 8 : place + 16] = (1000).to_bytes(4, "big") + (ticks // 2).to_bytes(4, "big")
    path.write_bytes(data)
    footage = read_footage(path)
    assert footage.times[0] == 0
    assert shown(footage) == list(range(8, 24))
    assert shown(footage, start=10) == list(range(18, 24))


# pictures

CORNERS = np.kron(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255], [255, 255, 0]]],
                           np.uint8), np.ones((16, 16, 1), np.uint8))  # fmt: skip


@pytest.mark.case("Media", "rotation flag")
@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((1, 0, 0, 1), lambda x: x),
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),  # a telephone held upright: show turned clockwise
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
        ((0, -1, 1, 0), lambda x: np.rot90(x, 1)),
        ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
        ((1, 0, 0, -1), lambda x: x[::-1]),
        ((0, 1, 1, 0), lambda x: x.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda x: np.rot90(x, 2).swapaxes(0, 1)),
    ],
)
def test_pictures_are_turned_upright(tmp_path: Path, matrix, turned) -> None:
    lossless = {"codec": "libx264rgb", "pix_fmt": "rgb24", "options": {"qp": "0"}, "matrix": 0}
    footage = read_footage(turn(write_video(tmp_path / "a.mp4", [CORNERS] * 3, **lossless), matrix))
    upright = turned(CORNERS)
    assert (footage.height, footage.width) == upright.shape[:2]
    found = next(footage.pictures([1]))
    assert np.array_equal(found, upright)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le"])
@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("matrix", [5, 1])
def test_colours_whatever_the_pixel_format(tmp_path: Path, pix_fmt: str, color_range: int, matrix: int) -> None:
    colour = np.full((*SMALL, 3), (200, 60, 30), np.uint8)
    path = write_video(tmp_path / "a.mp4", [colour] * 2, pix_fmt=pix_fmt, color_range=color_range, matrix=matrix)
    found = next(read_footage(path).pictures([0]))
    np.testing.assert_allclose(found.mean(axis=(0, 1)), (200, 60, 30), atol=3)


@pytest.mark.case("Media", "RGBA pictures")
def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    picture = np.zeros((*SMALL, 4), np.uint8)
    picture[:, :16], picture[:, 16:32] = (10, 20, 30, 255), (10, 20, 30, 51)
    path = write_video(tmp_path / "a.mov", [picture] * 2, codec="png", pix_fmt="rgba", source="rgba", options={})
    found = next(read_footage(path).pictures([0]))
    assert found[0, [0, 20, 40]].tolist() == [[10, 20, 30], [206, 208, 210], [255, 255, 255]]


@pytest.mark.case("Media", "odd sizes")
@pytest.mark.case("Media", "pictures of 1 x 1")
@pytest.mark.parametrize("size", [(31, 47), (1, 1), (33, 2)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    pictures = [grey(i, size) for i in range(5)]
    footage = read_footage(write_video(tmp_path / "a.mkv", pictures, **LOSSLESS))
    assert (footage.height, footage.width) == size
    assert [index_of(picture) for picture in footage.pictures([0, 2, 2, 4])] == [0, 2, 2, 4]
    assert shown(footage) == [0, 1, 2, 3, 4]


def test_pixels_become_square(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [CORNERS] * 3, aspect=Fraction(4, 3))
    footage = read_footage(path)
    assert (footage.height, footage.width) == (32, 64)
    assert next(footage.pictures([0])).shape == (32, 64, 3)
    turned = read_footage(turn(path, (0, 1, -1, 0)))
    assert (turned.height, turned.width) == (64, 32)


def test_frames_are_resized_as_pictures_are(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (*SMALL, 3), np.uint8)
    footage = read_footage(write_video(tmp_path / "a.mkv", [picture] * 3, **LOSSLESS))
    frames = frames_for_model(footage, 64, 32)
    assert frames.shape == (3, 64, 32, 3)
    expected = fit_picture(torch.from_numpy(picture)[None] / 255, 64, 32)[0, :, 0].permute(1, 2, 0)
    torch.testing.assert_close(frames[2] * 2 - 1, expected)


def test_an_animation(tmp_path: Path) -> None:
    pictures = [Image.fromarray(grey(index)) for index in range(5)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[250, 60, 60, 130, 500])
    footage = read_footage(tmp_path / "a.gif")
    assert footage.times == [Fraction(hundredths, 100) for hundredths in (0, 25, 31, 37, 50)]
    assert shown(footage)[:8] == [0, 0, 0, 0, 1, 2, 3, 3]


# refusals


@pytest.mark.case("Media", "text playlist named .mp4")
@pytest.mark.case("Media", "HLS")
@pytest.mark.parametrize("kind", ["ffconcat", "m3u8", "m3u"])
@pytest.mark.parametrize("name", ["list.mp4", "list.ts", "list.m3u8"])
def test_playlists_are_not_followed(tmp_path: Path, kind: str, name: str) -> None:
    """FFmpeg by itself shows what some of them name, whatever they are called."""
    target = write_video(tmp_path / "secret.ts", map(grey, range(16)))
    assert len(read_footage(target).pts) == 16
    path = write_playlist(tmp_path / name, kind, target)
    if kind == "ffconcat" or (kind, name) == ("m3u8", "list.m3u8"):
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 16
    with pytest.raises(ValueError, match=f"{name} cannot be read as video.*not a playlist"):
        read_footage(path)


@pytest.mark.case("Media", "a gap of hours between two pictures")
def test_a_gap_of_hours_is_refused_and_one_of_minutes_is_no_clip(tmp_path: Path) -> None:
    for hours in (10, 1):
        times = [*(Fraction(i, 16) for i in range(8)), Fraction(hours * 3600)]
        write_video(tmp_path / f"{hours}.mkv", [grey(i) for i in range(9)], times=times)
    with pytest.raises(ValueError, match=r"10\.mkv has 10\.0 hours of pictures, 2 at most can be read: cut out"):
        read_footage(tmp_path / "10.mkv")
    footage = read_footage(tmp_path / "1.mkv")
    assert footage.on_screen is footage.on_screen and len(footage.on_screen) == pytest.approx(3600 * 16, abs=2)
    with pytest.raises(ValueError, match="the footage lasts 3600 s, a clip can last 1024 s at most: cut it into parts"):
        clip_length(Material(footage=FootageFrames(footage, 32, 64)), None)


@pytest.mark.case("Media", "sound only where pictures are needed")
def test_unfit_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video " * 500)
    Image.fromarray(CORNERS).save(tmp_path / "picture.mp4", format="PNG")
    write_sound(tmp_path / "voice.m4a", tone(1, 24_000), 24_000, codec="aac")
    for name, sentence in {
        "missing.mp4": "there is no video file",
        ".": "is a folder",
        "empty.mp4": "is empty",
        "text.mp4": "cannot be read as video",
        "picture.mp4": "cannot be read as video",
        "voice.m4a": "has no pictures: give a video file",
    }.items():
        with pytest.raises((ValueError, FileNotFoundError), match=sentence):
            read_footage(tmp_path / name)


@pytest.mark.case("Media", "sound only where pictures are needed")
def test_a_cover_is_not_footage(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    write_sound(path, tone(1, 24_000), 24_000, codec="libmp3lame")
    Image.fromarray(CORNERS).save(tmp_path / "cover.png")
    image = b"\0image/png\0\3\0" + (tmp_path / "cover.png").read_bytes()  # an ID3 tag of version 2.3
    frame = b"APIC" + len(image).to_bytes(4, "big") + b"\0\0" + image
    size = len(frame)
    seven_bits = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\3\0\0" + seven_bits + frame + path.read_bytes())
    with av.open(str(path)) as container:
        assert container.streams.video  # FFmpeg does call it video
    with pytest.raises(ValueError, match=r"song\.mp3 has no pictures but a cover"):
        read_footage(path)


@pytest.mark.case("Media", "truncated MP4: declared against decoded pictures")
@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize(("name", "options"), [("a.mp4", {"movflags": "+faststart"}), ("a.mkv", {}), ("a.avi", {})])
def test_a_clip_that_declares_more_than_it_holds(tmp_path: Path, share: float, name: str, options) -> None:
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 255, (*SMALL, 3), np.uint8) for _ in range(48)]
    path = write_video(tmp_path / name, pictures, container_options=options)
    assert len(read_footage(path).pts) == 48
    with pytest.raises(ValueError, match=r"declares 4[78] pictures but holds \d+") as raised:
        read_footage(cut_off(path, share))
    held = int(str(raised.value).split("holds ")[1].split(":")[0])
    assert abs(held - 48 * share) < 8


def test_sound_is_noticed(tmp_path: Path) -> None:
    footage = read_footage(write_video(tmp_path / "a.mp4", map(grey, range(16)), sound=tone(1, 24_000)))
    assert footage.has_sound
    assert footage.duration == 1


def test_footage_that_changed_is_not_mixed_up(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", map(grey, range(16)))
    footage = read_footage(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="there is no video file"):
        frames_for_model(footage, *SMALL)


def test_pictures_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uniavgen_core.video import footage as module

    converted = []
    original = module._upright
    monkeypatch.setattr(module, "_upright", lambda *args: converted.append(1) or original(*args))
    footage = read_footage(write_video(tmp_path / "a.mp4", map(grey, range(48)), fps=60))
    assert not converted
    assert len(shown(footage)) == 13
    assert len(converted) == 13  # those not shown at 16 a second are never converted
