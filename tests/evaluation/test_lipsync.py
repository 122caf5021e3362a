"""LSE-C, LSE-D and offset of clips of which the answer is known, and SyncNet's file. Weights here are random."""

from __future__ import annotations

import csv
import hashlib
import json
import pickle
import sys
from fractions import Fraction
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from media import write_video
from PIL import Image
from torch import Tensor

from evaluation import lipsync
from evaluation.__main__ import main
from evaluation.clips import Clip
from evaluation.recording import Recording, Unmeasurable
from evaluation.sync import faces, network, score, sound

PORTRAIT = Path(__file__).parents[2] / "assets" / "portrait.png"
FRAMES, SIZE = 60, (120, 160)
BOX = np.array([[20.0, 5.0, 130.0, 115.0]])

# name, layer -> shapes: of joonson/syncnet_python's SyncNetModel.S, made and listed
CONVOLUTIONS = {
    "netcnnaud": {
        0: (64, 1, 3, 3),
        4: (192, 64, 3, 3),
        8: (384, 192, 3, 3),
        11: (256, 384, 3, 3),
        14: (256, 256, 3, 3),
        18: (512, 256, 5, 4),
    },
    "netcnnlip": {
        0: (96, 3, 5, 7, 7),
        4: (256, 96, 1, 5, 5),
        8: (256, 256, 1, 3, 3),
        11: (256, 256, 1, 3, 3),
        14: (256, 256, 1, 3, 3),
        18: (512, 256, 1, 6, 6),
    },
    "netfcaud": {0: (512, 512), 3: (1024, 512)},
    "netfclip": {0: (512, 512), 3: (1024, 512)},
}


def published() -> dict[str, tuple[int, ...]]:
    """All 102 names of the file and their shapes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part, layers in CONVOLUTIONS.items():
        for index, shape in layers.items():
            shapes |= {f"{part}.{index}.weight": shape, f"{part}.{index}.bias": shape[:1]}
            if part.startswith("netcnn") or index == 0:
                norm = f"{part}.{index + 1}"
                numbers = ("weight", "bias", "running_mean", "running_var")
                shapes |= {f"{norm}.{name}": shape[:1] for name in numbers} | {f"{norm}.num_batches_tracked": ()}
    return shapes


class Loudness:
    """Of the lips it sees how bright each picture is, of the sound how loud it is meanwhile: both 0 to 1, [N, 5]."""

    def lips(self, pictures: Tensor) -> Tensor:
        assert pictures.shape[1:] == (3, 5, 224, 224)
        return pictures.mean(dim=(1, 3, 4)) / 200

    def voice(self, mfcc: Tensor) -> Tensor:
        assert mfcc.shape[1:] == (1, 13, 20)
        return (mfcc[:, 0, 0, ::4] / 2).exp() / LOUDEST  # the first window of 25 ms lies within the picture's 40


def hum(loudness: np.ndarray) -> np.ndarray:
    """A tone that is so loud, 0 to 1, during each picture: [F * 640] at 16 kHz."""
    moments = np.arange(len(loudness) * score.SAMPLES) / sound.SAMPLE_RATE
    return (np.repeat(loudness, score.SAMPLES) * 0.9 * np.sin(2 * np.pi * 400 * moments)).astype(np.float32)


LOUDEST = float(np.exp(sound.mfcc(hum(np.ones(20)))[0, 40] / 2))


def talking(late: int = 0, frames: int = FRAMES, fps: int = 25) -> Recording:
    """Brightness and loudness go together, but that the pictures come so many frames after the sound."""
    loudness = np.random.default_rng(0).uniform(0.1, 1, frames + 40)
    seen, heard = loudness[20 - late :][:frames], loudness[20:][:frames]
    grey = np.round(200 * np.repeat(seen, fps // 25)).astype(np.uint8)
    return Recording(np.tile(grey[:, None, None, None], (1, *SIZE, 3)), Fraction(fps), hum(heard), sound.SAMPLE_RATE)


def framed(picture: np.ndarray) -> np.ndarray:
    return BOX


def blind(picture: np.ndarray) -> np.ndarray:
    return np.zeros((0, 4))


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole pictures instead of crops, which are grey in part."""
    monkeypatch.setattr(score, "crop", lambda pictures, track: np.stack([faces.resized(each) for each in pictures]))


@pytest.mark.parametrize("late", [0, 1, 4, 15, -1, -7, -15])
def test_a_known_shift_is_the_offset(whole: None, late: int) -> None:
    found = score.lip_sync(talking(late), Loudness(), framed)
    assert found.offset == late
    assert found.windows == FRAMES - 5
    assert found.distances[15 - late] == found.distance == min(found.distances)
    assert found.confidence == pytest.approx(float(np.median(found.distances)) - found.distance)
    if late == 0:
        assert found.distance < 0.02
        assert found.confidence > 0.4


def test_other_rates_are_brought_to_25(whole: None) -> None:
    expected = score.lip_sync(talking(3), Loudness(), framed)
    assert score.lip_sync(talking(3, fps=50), Loudness(), framed) == expected
    whole_rate = talking(3)
    slow = Recording(whole_rate.frames[::2], Fraction(25, 2), whole_rate.sound, 16_000)  # each is shown twice as long
    assert score.lip_sync(slow, Loudness(), framed).windows == expected.windows


def test_the_sound_is_that_of_the_time_in_which_the_face_is_seen(whole: None) -> None:
    recording = talking(2, frames=80)
    hidden = [picture.copy() for picture in recording.frames[:20]]
    found = score.lip_sync(
        recording,
        Loudness(),
        lambda picture: blind(picture) if any(np.array_equal(picture, other) for other in hidden) else BOX,
    )
    part = Recording(recording.frames[20:], recording.fps, recording.sound[20 * 640 :], recording.sample_rate)
    assert found.windows == 55
    assert found.distances == pytest.approx(score.lip_sync(part, Loudness(), framed).distances, abs=1e-3)
    assert found.offset == 2


@pytest.mark.parametrize("late", [0, 5, -9])
def test_distances_of_points_that_are_known(late: int) -> None:
    """Orthogonal points of length 1: 0 apart where they match, root 2 where not, 1 from beyond the clip."""
    count = 40
    points = torch.eye(count + 30)
    found = score.score(points[15 - late :][:count], points[15:][:count])
    expected = []
    for shift in range(-15, 16):  # of the sound
        within = (0 if shift == -late else sqrt(2)) * (count - abs(shift))
        expected.append((within + abs(shift)) / count)
    assert found.distances == pytest.approx(expected, abs=1e-4)
    assert (found.offset, found.windows) == (late, count)
    assert found.distance == pytest.approx(abs(late) / count, abs=1e-4)
    assert found.confidence == pytest.approx(sorted(expected)[15] - abs(late) / count, abs=1e-4)


def test_pictures_are_blue_green_red_of_0_to_255_and_windows_follow_each_other() -> None:
    class Keeps(Loudness):
        def __init__(self) -> None:
            self.seen: list[Tensor] = []
            self.heard: list[Tensor] = []

        def lips(self, pictures: Tensor) -> Tensor:
            self.seen.append(pictures)
            return super().lips(pictures)

        def voice(self, mfcc: Tensor) -> Tensor:
            self.heard.append(mfcc)
            return super().voice(mfcc)

    shown = np.zeros((30, 224, 224, 3), np.uint8)
    shown[..., 0], shown[..., 2] = 250, np.arange(30)[:, None, None]
    keeps, voice = Keeps(), np.random.default_rng(1).uniform(-0.5, 0.5, 30 * 640).astype(np.float32)
    score.face_sync(shown, voice, keeps)
    seen, heard = torch.cat(keeps.seen), torch.cat(keeps.heard)
    assert len(seen) == len(heard) == 25
    assert (seen[:, 2] == 250).all() and (seen[:, 1] == 0).all()
    assert seen[7, 0, :, 0, 0].tolist() == [7, 8, 9, 10, 11]
    assert torch.equal(heard[7, 0], torch.from_numpy(sound.mfcc(voice))[:, 28:48])


def test_mfcc_is_the_librarys_of_16_bit_sound() -> None:
    import python_speech_features

    samples = np.random.default_rng(2).integers(-20_000, 20_000, 16_000).astype(np.int16)
    found = sound.mfcc(samples / np.float32(32_768))
    assert found == pytest.approx(python_speech_features.mfcc(samples, 16_000).T, abs=1e-4)
    assert found.shape == (13, 99)


def test_layers_have_the_published_names_and_shapes() -> None:
    shapes = {name: tuple(value.shape) for name, value in network.SyncNet().state_dict().items()}
    assert shapes == published()
    assert len(shapes) == 102


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / network.NAME
    torch.save(network.SyncNet().state_dict(), path)
    return path


@pytest.mark.parametrize("old", [False, True])
def test_the_published_format_is_read(weights: Path, tmp_path: Path, old: bool) -> None:
    """Also that of PyTorch before 0.4.1: no zip, no counts of batches."""
    values = torch.load(weights, weights_only=True)
    kept = {name: value for name, value in values.items() if not (old and name.endswith("num_batches_tracked"))}
    path = tmp_path / "some.model"
    torch.save(kept, path, _use_new_zipfile_serialization=not old)
    syncnet = network.load(path)
    assert all(torch.equal(value, values[name]) for name, value in syncnet.state_dict().items())
    assert not syncnet.training
    with torch.inference_mode():
        assert syncnet.lips(torch.zeros(1, 3, 5, 224, 224)).shape == (1, 1024)
        assert syncnet.voice(torch.zeros(2, 1, 13, 20)).shape == (2, 1024)


class Payload:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@pytest.mark.case("Files", "pickle payload (never executed)")
def test_a_program_in_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "evil.model"
    torch.save({"netfcaud.0.weight": Payload(mark)}, path)
    with pytest.raises(ValueError, match=r"evil\.model .*holds more than weights: give syncnet_v2\.model"):
        network.load(path)
    path.write_bytes(pickle.dumps(Payload(mark), protocol=2))
    with pytest.raises(ValueError, match=r"evil\.model"):
        network.load(path)
    assert not mark.exists()


@pytest.mark.case("Files", "another model's file (named)")
def test_other_files_are_named(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.model"
    values = torch.load(weights, weights_only=True)
    torch.save({**values, "netfclip.3.bias": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match=r"other\.model holds the weights of another network"):
        network.load(other)
    torch.save([1, 2], other)
    with pytest.raises(ValueError, match=r"other\.model holds other things"):
        network.load(other)
    with pytest.raises(FileNotFoundError, match=r"no file .*gone\.model: give syncnet_v2\.model"):
        network.load(tmp_path / "gone.model")


@pytest.mark.case("Disk and network", "wrong checksum")
def test_fetching_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"published")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(network, "URL", source.as_uri())
    with pytest.raises(OSError, match="could not be fetched"):  # another file than the published one
        network.fetch()
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    monkeypatch.setattr(network, "SHA256", hashlib.sha256(b"published").hexdigest())
    path = network.fetch()
    assert path.read_bytes() == b"published"
    source.unlink()
    assert network.fetch() == path


@pytest.mark.case("Disk and network", "the download of SyncNet is cancelled")
def test_fetching_tells_how_far_it_is_and_can_be_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target, told = tmp_path / "source", tmp_path / "models" / network.NAME, []
    source.write_bytes(b"published" * 100_000)
    monkeypatch.setattr(network, "URL", source.as_uri())
    monkeypatch.setattr(network, "SHA256", hashlib.sha256(source.read_bytes()).hexdigest())

    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network.fetch(target, cancel)
    assert not list(target.parent.iterdir())
    assert network.fetch(target, lambda *step: told.append(step)) == target
    assert [path.name for path in target.parent.iterdir()] == [network.NAME]
    assert told[-1] == (900_000, 900_000) and [done for done, _ in told] == sorted({done for done, _ in told})


@pytest.mark.case("Media", "no face")
def test_clips_without_a_number() -> None:
    recording = talking()
    silent = Recording(recording.frames, recording.fps, np.zeros(0, np.float32), 16_000)
    brief = Recording(recording.frames[:4], recording.fps, recording.sound, 16_000)
    cut = Recording(recording.frames, recording.fps, recording.sound[: 5 * 640], 16_000)
    for clip, find, reason in (
        (recording, blind, r"no face was found: .* 100 pixels"),
        (silent, framed, "it has no sound"),
        (brief, framed, "it has 4 pictures at 25 a second, and 13 are needed"),
        (cut, framed, "together last for 5 of the 6 pictures"),
    ):
        with pytest.raises(Unmeasurable, match=reason):
            score.lip_sync(clip, Loudness(), find)


@pytest.mark.case("Media", "no face")
def test_the_command(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A portrait with a hum, a clip without a face and one without sound; the weights are random."""
    portrait = np.array(Image.open(PORTRAIT).convert("RGB").resize((256, 256)))
    voice = hum(np.random.default_rng(4).uniform(0, 1, 25))[None]
    write_video(tmp_path / "face.mp4", [portrait] * 25, fps=25, sound=voice, sample_rate=16_000)
    write_video(tmp_path / "grey.mp4", [portrait * 0 + 90] * 25, fps=25, sound=voice, sample_rate=16_000)
    write_video(tmp_path / "mute.mp4", [portrait] * 25, fps=25)
    assert main(["lipsync", str(tmp_path), "--weights", str(weights)]) == 1
    told = capsys.readouterr().out
    assert "LSE-C ↑ | LSE-D ↓" in told and "1 of 3" in told
    assert "- grey: no face was found" in told and "- mute: it has no sound" in told
    plain = json.loads((tmp_path / "measured" / "lipsync.json").read_text())
    values = plain["rows"][0]["values"]
    assert values["windows"] == 20 and values["distance"] > 0 and abs(values["offset"]) <= 15
    assert plain["settings"]["SyncNet"].startswith(f"{network.NAME} (sha256 ")
    with (tmp_path / "measured" / "lipsync.csv").open() as file:
        assert [row["reason"] != "" for row in csv.DictReader(file)] == [False, True, True]


@pytest.mark.case("Media", "many faces")
def test_a_clip_of_several_faces_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the log and in the table of all clips: which of them speaks, no measure knows."""
    both = np.concatenate((BOX, BOX + [160, 0, 160, 0]))
    heard = hum(np.random.default_rng(4).uniform(0, 1, 25))[None]
    write_video(
        tmp_path / "two.mp4", [np.full((120, 320, 3), 90, np.uint8)] * 25, fps=25, sound=heard, sample_rate=16_000
    )
    for found, count in ((both, 2), (BOX, 1)):
        values = lipsync.LipSync(Loudness(), lambda picture, found=found: found, "none").of(
            Clip("two", tmp_path / "two.mp4")
        )
        assert values["faces"] == count and values["windows"] == 20
    assert caplog.messages == ["two shows 2 faces: the one that is seen longest counts"]


def test_wrong_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "clip.mp4", [np.zeros((32, 48, 3), np.uint8)] * 3)
    assert main(["lipsync", str(tmp_path), "--weights", "gone.model"]) == 2
    assert "error: there is no file gone.model: give syncnet_v2.model" in capsys.readouterr().err
    assert not (tmp_path / "measured").exists()


@pytest.mark.case("Disk and network", "a connection without the user's word")
def test_without_the_word_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "fetch", lambda: pytest.fail("it was fetched"))
    write_video(tmp_path / "clip.mp4", [np.zeros((32, 48, 3), np.uint8)] * 3)
    with pytest.raises(SystemExit):
        main(["lipsync", str(tmp_path)])
    with pytest.raises(SystemExit):
        main(["lipsync", str(tmp_path), "--fetch", "--weights", "both.model"])
    assert main(["lipsync", str(tmp_path / "gone"), "--fetch"]) == 2  # no clips: before anything is fetched


@pytest.mark.parametrize(
    ("package", "needed"), [("dlib", "pip install dlib-bin"), ("python_speech_features", "pip install python_speech")]
)
def test_a_missing_package_is_named_first(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys, package: str, needed: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    write_video(tmp_path / "clip.mp4", [np.zeros((32, 48, 3), np.uint8)] * 3)
    assert main(["lipsync", str(tmp_path), "--weights", str(weights)]) == 2
    assert needed in capsys.readouterr().err


def test_the_tables_tell_what_found_the_face() -> None:
    measure = lipsync.LipSync(Loudness(), framed, "weights")
    assert measure.settings["faces"].startswith("dlib 2")
    assert measure.settings["MFCC"] == "python_speech_features 0.6"
