"""Media as people have them, from the command line to the file: the clip is right, or there is one sentence."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from media import cut_off, grey, index_of, tone, turn, write_playlist, write_sound, write_video
from PIL import Image

from uniavgen_core import tiny
from uniavgen_core.__main__ import main
from uniavgen_core.audio.mel import peak_gain
from uniavgen_core.audio.sound import Sound, driving_tokens, read_sound
from uniavgen_core.pipeline import Earlier
from uniavgen_core.video import footage as footage_module
from uniavgen_core.video.footage import read_footage
from uniavgen_core.video.mux import CLIPPED, full_scale, write_dubbed
from uniavgen_core.video.picture import fit_picture, read_picture

PORTRAIT = Path(__file__).parents[1] / "assets" / "portrait.png"
NEEDED = {"joint": "image", "drive": "audio", "dub": "video", "continue": "video"}


def make(task: str, file: Path, output: Path, **options: object) -> int:
    """Runs a task on a file, small; a portrait shows the person where sound drives."""
    given = {NEEDED[task]: file, "caption": "A person talks.", "output": output, "steps": 1, "width": 64, "height": 64}
    given |= {"image": PORTRAIT} if task == "drive" else {"speech": "Hi."}
    given |= {"frames": 5} if task == "joint" else {}
    return main([task, *(word for name, value in (given | options).items() for word in (f"--{name}", str(value)))])


def contents(path: Path) -> tuple[list[np.ndarray], np.ndarray, int]:
    """Pictures, sound [channels, samples] and its rate."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        container.seek(0)
        frames = list(container.decode(audio=0))
    return pictures, np.concatenate([frame.to_ndarray() for frame in frames], axis=1), frames[0].sample_rate


def renamed(path: Path, old: bytes, new: bytes) -> Path:
    """The file with the name of a codec changed for one that no one knows."""
    data = path.read_bytes()
    assert old in data and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


def sized(path: Path, width: int, height: int) -> Path:
    """A PNG that claims to have that size, and holds next to nothing."""
    Image.fromarray(grey(0)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    return path


def clip(folder: Path, name: str = "a.mp4", **options) -> Path:
    return write_video(folder / name, [grey(i) for i in range(24)], **options)


def voice(folder: Path, name: str, waveform: np.ndarray, rate: int = 24_000, kind=("pcm_f32le", "flt")) -> Path:
    return write_sound(folder / name, waveform, rate, codec=kind[0], sample_format=kind[1])


BROKEN = np.array([[0.1, np.nan, 0.1] * 3000], np.float32)
# what is given to which task, and what the sentence says
REFUSED = {
    "truncated MP4": ("dub", lambda f: cut_off(clip(f, container_options={"movflags": "+faststart"}), 0.6), "was cut"),
    "MP4 without its end": ("dub", lambda f: cut_off(clip(f), 0.6), "cannot be read as video: give a whole file"),
    "text": ("dub", lambda f: write_playlist(f / "a.mp4", "ffconcat", clip(f, "b.mp4")), "not a playlist"),
    "HLS": ("dub", lambda f: write_playlist(f / "a.m3u8", "m3u8", clip(f, "b.ts")), "not a playlist"),
    "pictures": ("dub", lambda f: renamed(clip(f), b"avc1", b"zzzz"), "export it again as H.264"),
    "sound": (
        "drive",
        lambda f: renamed(clip(f, "a.mkv", sound=tone(1, 24_000)), b"A_PCM/INT/LIT", b"A_PCX/INT/LIT"),
        "is in a format that cannot be read here: export it again as AAC",
    ),
    "mute": ("continue", clip, "has no sound: give a file with a sound track"),
    "only sound": ("dub", lambda f: voice(f, "a.m4a", tone(1, 24_000), kind=("aac", "fltp")), "has no pictures: give"),
    "no samples": ("drive", lambda f: voice(f, "a.wav", np.zeros((1, 0), np.float32)), "has not a single sample"),
    "NaN": ("drive", lambda f: voice(f, "a.wav", BROKEN), "a.wav holds samples that are NaN or infinite"),
    "gigapixel": ("joint", lambda f: sized(f / "a.png", 40_000, 30_000), "has more than 67 million pixels"),
    "larger": ("joint", lambda f: sized(f / "a.png", 13_000, 13_000), "make it smaller .13000 x 13000"),
    "large": (
        "joint",
        lambda f: sized(f / "a.png", 9000, 9000),
        "more than 67 million .* make it smaller .9000 x 9000",
    ),
}


@pytest.mark.case("Media", "truncated MP4: declared against decoded pictures")
@pytest.mark.case("Media", "text playlist named .mp4")
@pytest.mark.case("Media", "HLS")
@pytest.mark.case("Media", "stream in an unknown codec")
@pytest.mark.case("Media", "no audio track where one is needed")
@pytest.mark.case("Media", "sound only where pictures are needed")
@pytest.mark.case("Media", "a file with zero samples")
@pytest.mark.case("Media", "numbers that are NaN")
@pytest.mark.case("Media", "gigapixel pictures")
@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_files_are_refused_before_weights_are_loaded(tmp_path: Path, monkeypatch, capsys, name: str) -> None:
    monkeypatch.setattr(tiny, "load_tiny", lambda *_: pytest.fail("weights were loaded"))
    task, build, sentence = REFUSED[name]
    assert make(task, build(tmp_path), tmp_path / "out.mp4") == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("error: ")
    assert re.search(sentence, told[0])
    assert not (tmp_path / "out.mp4").exists()


# codecs


@pytest.mark.case("Media", "stream in an unknown codec")
def test_a_track_in_an_unknown_codec_is_passed_over(tmp_path: Path) -> None:
    """As the spatial sound beside the usual one in telephones' clips. PyAV gives such streams no decoder."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream(codec, rate=24_000, layout="mono") for codec in ("pcm_s16be", "pcm_s16le")]
        for track, level in zip(tracks, (1000, 8000), strict=True):
            frame = av.AudioFrame.from_ndarray(np.full((1, 2400), level, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 24_000, 0
            container.mux([*track.encode(frame), *track.encode(None)])
    assert float(read_sound(path).waveform[0, 1200]) == pytest.approx(1000 / 32768)
    renamed(path, b"A_PCM/INT/BIG", b"A_PCX/INT/BIG")
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context is None
    assert float(read_sound(path).waveform[0, 1200]) == pytest.approx(8000 / 32768)


@pytest.mark.case("Media", "stream in an unknown codec")
def test_pictures_with_sound_in_an_unknown_codec_are_mute(tmp_path: Path) -> None:
    footage = read_footage(
        renamed(clip(tmp_path, "a.mkv", sound=tone(1.5, 24_000)), b"A_PCM/INT/LIT", b"A_PCX/INT/LIT")
    )
    assert len(footage.pts) == 24 and not footage.has_sound


# sound

SILENT = [("a.wav", "pcm_s16le", "s16"), ("b.wav", "pcm_u8", "u8"), ("a.m4a", "aac", "fltp"),
          ("a.mp3", "libmp3lame", "fltp"), ("a.opus", "libopus", "s16"), ("a.flac", "flac", "s16")]  # fmt: skip


@pytest.mark.case("Media", "silence stays silence")
@pytest.mark.parametrize(("name", "codec", "sample_format"), SILENT)
def test_silence_in_every_format_is_heard_as_silence(tmp_path: Path, name: str, codec: str, sample_format: str) -> None:
    """Made as loud as the model knows sound, the least hiss of a decoder would be a roar."""
    path = voice(tmp_path, name, np.zeros((1, 48_000), np.float32), 48_000, (codec, sample_format))
    found = driving_tokens(read_sound(path))
    assert torch.equal(found, driving_tokens(Sound(torch.zeros(1, found.shape[2] * 480), 48_000)))
    hiss = driving_tokens(Sound(1e-9 * torch.randn(1, 48_000), 48_000))
    assert (hiss.mean() - found.mean()) > 2  # this is how it would sound


@pytest.mark.case("Media", "silence stays silence")
def test_a_silent_sound_gives_a_silent_clip(tmp_path: Path) -> None:
    path = voice(tmp_path, "a.wav", np.zeros((2, 12_000), np.float32))
    assert make("drive", path, tmp_path / "out.mp4") == 0
    pictures, sound, rate = contents(tmp_path / "out.mp4")
    assert (len(pictures), rate, sound.shape) == (9, 24_000, (2, 13_500))
    assert not sound.any()
    quiet = Earlier.of(torch.zeros(9, 32, 32, 3), read_sound(path), 9)
    assert quiet.gain == peak_gain(quiet.sound.waveform) == 1.0 and not quiet.sound.waveform.any()


@pytest.mark.case("Media", "sound beyond full scale (clipping)")
def test_peaks_that_a_file_cannot_hold_are_told(tmp_path: Path, caplog) -> None:
    loud = torch.from_numpy(5 * tone(0.5, 24_000))  # up to 2.5
    assert float(full_scale(loud).abs().max()) == 1 and caplog.messages == [
        "the sound is up to 2.50 times too loud for a file: its peaks are cut off; turn it down"
    ]
    caplog.clear()
    assert torch.equal(full_scale(loud / 2.5), loud / 2.5)
    full_scale(loud / 2.5 * (CLIPPED - 0.01))  # as lossy codecs make it
    full_scale(loud[:, :0])
    assert not caplog.messages
    assert make("drive", voice(tmp_path, "a.wav", loud.numpy()), tmp_path / "out.mp4") == 0
    assert len(caplog.messages) == 1 and "2.50 times too loud" in caplog.messages[0]
    assert np.abs(contents(tmp_path / "out.mp4")[1]).max() < 1.2


@pytest.mark.case("Media", "three and more channels")
@pytest.mark.case("Media", "odd sample rates")
@pytest.mark.parametrize(
    ("channels", "rate", "heard"),
    [(6, 44_100, (1, 48_000)), (1, 37_800, (1, 48_000)), (2, 11_025, (2, 11_025)), (1, 192_000, (1, 48_000))],
)
def test_any_channels_and_rate_drive_a_clip(tmp_path: Path, channels: int, rate: int, heard: tuple[int, int]) -> None:
    """Sound that MP4 cannot hold is there as the mean of its channels, at its own speed and pitch."""
    path = voice(tmp_path, "a.wav", tone(1, rate, channels=channels), rate, ("pcm_s16le", "s16"))
    assert make("drive", path, tmp_path / "out.mp4") == 0
    pictures, sound, written = contents(tmp_path / "out.mp4")
    assert (len(pictures), len(sound), written) == (17, *heard)
    assert sound.shape[1] == round(17 / 16 * written)
    middle = sound[0, written // 4 : 3 * written // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(int(spectrum.argmax()) - 220) <= 1  # 440 Hz, in half a second
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.05)


# pictures

PICTURES = {
    "1 x 1": lambda: Image.new("RGB", (1, 1), (200, 40, 40)),
    "odd sizes": lambda: Image.new("RGB", (37, 53), (200, 40, 40)),
    "RGBA": lambda: Image.new("RGBA", (64, 64), (200, 40, 40, 255)),
    "grey": lambda: Image.new("L", (64, 64), 93),
    "no face": lambda: Image.new("RGB", (64, 64), "white"),
    "many faces": lambda: Image.fromarray(np.tile(np.asarray(portrait().resize((32, 32))), (2, 2, 1))),
}


def portrait() -> Image.Image:
    return Image.open(PORTRAIT).convert("RGB")


@pytest.mark.case("Media", "pictures of 1 x 1")
@pytest.mark.case("Media", "odd sizes")
@pytest.mark.case("Media", "RGBA pictures")
@pytest.mark.case("Media", "grey pictures")
@pytest.mark.case("Media", "no face")
@pytest.mark.case("Media", "many faces")
@pytest.mark.parametrize("name", PICTURES)
def test_any_picture_becomes_a_clip_that_begins_with_it(tmp_path: Path, name: str) -> None:
    PICTURES[name]().save(tmp_path / "a.png")
    assert make("joint", tmp_path / "a.png", tmp_path / "out.mp4") == 0
    pictures, sound, _ = contents(tmp_path / "out.mp4")
    assert [picture.shape for picture in pictures] == [(64, 64, 3)] * 5
    assert sound.shape == (1, 7500)
    given = (fit_picture(read_picture(tmp_path / "a.png"), 64, 64)[0, :, 0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(pictures[0].mean(axis=(0, 1)) - given.mean(axis=(0, 1))).max() < 12


@pytest.mark.case("Media", "pictures of 1 x 1")
def test_a_picture_that_is_a_strip_is_refused(tmp_path: Path, capsys) -> None:
    Image.new("RGB", (1, 9)).save(tmp_path / "a.png")
    request = [
        "joint",
        "--image",
        tmp_path / "a.png",
        "--speech",
        "Hi.",
        "--caption",
        "x",
        "--output",
        tmp_path / "o.mp4",
    ]
    assert main(list(map(str, request))) == 2
    assert "the picture is 1 x 9, more than 4 times as long as wide: crop it" in capsys.readouterr().err


@pytest.mark.case("Media", "gigapixel pictures")
def test_gigapixel_pictures_in_memory_and_in_footage(tmp_path: Path, monkeypatch) -> None:
    huge = torch.zeros(1, 1, 1, 3).expand(1, 40_000, 30_000, 3)  # of three numbers, which a copy would make 14 GB
    with pytest.raises(ValueError, match=r"more than 67 million pixels, .* make it smaller .30000 x 40000"):
        fit_picture(huge, 64, 64)
    monkeypatch.setattr(footage_module, "MAX_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"each picture of .*a\.mp4 has more than .* .48 x 32"):
        read_footage(clip(tmp_path))


# turned footage


@pytest.mark.case("Media", "rotation flag")
def test_turned_footage_is_dubbed_upright(tmp_path: Path) -> None:
    """Its packets would lie on their side, so it is drawn anew; the new file has no flag that could be lost."""
    bright_left = np.full((32, 48, 3), 20, np.uint8)
    bright_left[:, :24] = 220
    path = turn(write_video(tmp_path / "a.mp4", [bright_left] * 24), (0, 1, -1, 0))  # shown turned clockwise
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).to_ndarray(format="rgb24").shape == (32, 48, 3)  # lies on its side
    footage = read_footage(path)
    assert footage.turned and (footage.height, footage.width) == (48, 32)
    assert make("dub", path, tmp_path / "out.mp4") == 0
    for written in (tmp_path / "out.mp4", write_dubbed(tmp_path / "b.mp4", footage, torch.zeros(1, 9), 24_000)):
        upright, _, _ = contents(written)
        assert len(upright) == 24 and upright[0].shape == (48, 32, 3)
        assert upright[0][:20].mean() > 180 and upright[0][28:].mean() < 60  # what was left is above
        assert not read_footage(written).turned


@pytest.mark.case("Media", "rotation flag")
def test_turned_footage_goes_on_upright(tmp_path: Path) -> None:
    path = turn(clip(tmp_path, sound=tone(1.5, 24_000)), (0, 1, -1, 0))
    assert make("continue", path, tmp_path / "out.mp4", overlap=2, frames=9, width=64, height=96) == 0
    pictures, _, _ = contents(tmp_path / "out.mp4")
    assert len(pictures) == 24 + 4 and pictures[0].shape == (96, 64, 3)
    assert [index_of(picture) for picture in pictures[:24]] == pytest.approx(list(range(24)), abs=1)


# raw bytes


@pytest.mark.case("Media", "raw bytes and damaged files")
def test_no_file_takes_the_process_down(tmp_path: Path) -> None:
    """In a process of its own: a crash of a decoder fails the test and leaves the file. Always the same files."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-X", "faulthandler", str(root / "tests" / "fuzz.py"), str(tmp_path), "0", "150"]
    paths = {"PYTHONPATH": os.pathsep.join((str(root), str(root / "tests")))}
    done = subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, timeout=600)
    left = [path.name for path in tmp_path.glob("*.mp4")]
    assert done.returncode == 0, f"{left}, {done.stderr[-3000:]}"
    counted = json.loads(done.stdout.splitlines()[-1])
    for reader in ("footage", "sound", "picture"):
        assert counted[f"{reader} read"] + counted[f"{reader} refused"] == 150
        assert counted[f"{reader} read"] >= 5  # damage that does no harm
