"""The command line, with the tiny model: the file it writes, the words it refuses with, and Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from test_dub import make_footage

import uniavgen_core.tiny
from uniavgen_core.__main__ import TASKS, build_parser, guidance_of, main
from uniavgen_core.sampling import Guidance, Outside, Unit

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def request_of(tmp_path: Path):
    """Builds the arguments of a small clip; keywords change options, None removes one."""
    portrait = tmp_path / "portrait.png"
    rows, columns = np.mgrid[0:160, 0:120].astype(np.uint8)
    Image.fromarray(np.stack([rows, columns, rows // 2 + 60], axis=-1)).save(portrait)

    def build(**changes) -> list[str]:
        options = {
            "image": portrait,
            "speech": "Hi you.",
            "caption": "A person talks.",
            "output": tmp_path / "out.mp4",
            "frames": 5,
            "steps": 2,
            **changes,
        }
        given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
        return ["joint", *(word for name, value in given.items() for word in (f"--{name}", *str(value).split("|")))]

    return build


def start(arguments: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "uniavgen_core", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_clip_from_the_command_line(request_of, tmp_path: Path) -> None:
    process = start(request_of(frames=9, steps=3))
    written, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert written == f"{tmp_path / 'out.mp4'}: 9 frames of 128 x 192 at 16 fps, 0.5625 s with sound\n"
    assert "3/3" in told  # the progress bar
    assert files(tmp_path) == ["out.mp4", "portrait.png"]
    with av.open(str(tmp_path / "out.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        container.seek(0)
        assert sum(frame.samples for frame in container.decode(audio=0)) == 13_500
    assert [picture.shape for picture in pictures] == [(192, 128, 3)] * 9
    portrait = np.asarray(Image.open(tmp_path / "portrait.png").resize((128, 192), Image.Resampling.BILINEAR))
    assert np.abs(pictures[0].astype(float) - portrait).mean() < 10  # the clip begins with the portrait
    assert pictures[8].std() > 1


@pytest.fixture
def media(tmp_path: Path) -> dict[str, Path]:
    """A second of a tone, and a clip of 40 pictures at 25 a second with sound."""
    tone = tmp_path / "tone.wav"
    with av.open(str(tone), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=24_000, layout="mono")
        samples = (np.sin(np.arange(24_000) * 0.1) * 9000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 24_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return {"tone": tone, "clip": make_footage(tmp_path / "clip.mp4", Fraction(25), size=(96, 64))}


@pytest.mark.parametrize(
    ("task", "changes", "frames", "samples"),
    [
        ("joint", {"voice": "tone", "transcript": "Hm."}, 5, 7_500),
        ("joint", {"frames": 33, "window": 17, "overlap": 2}, 33, 49_500),
        ("drive", {"audio": "tone", "speech": None, "frames": None}, 17, 25_500),
        ("dub", {"video": "clip", "image": None, "frames": None, "original_level": 0.3}, 40, 38_400),
        ("continue", {"video": "clip", "image": None, "frames": 33}, 26 + 12, 114_000),
    ],
)
def test_every_task_from_the_command_line(request_of, tmp_path, media, task, changes, frames, samples) -> None:
    changes = {name: media.get(value, value) if isinstance(value, str) else value for name, value in changes.items()}
    assert main([task, *request_of(**changes)[1:]]) == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == frames
        container.seek(0)
        assert sum(frame.samples for frame in container.decode(audio=0)) == samples


@pytest.mark.case("Parameters", "1 step")
@pytest.mark.parametrize(("task", "frames"), [("joint", 81), ("drive", 81), ("dub", 81), ("continue", 81 + 60)])
def test_a_task_that_is_told_nothing_shows_an_example(tmp_path, monkeypatch, task, frames) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([task, "--steps", "1"]) == 0
    with av.open(str(tmp_path / f"{task}.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == frames


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_from_the_command_line(request_of, tmp_path: Path, dtype: str) -> None:
    assert main(request_of(dtype=dtype, device="cpu")) == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5


@pytest.mark.case("Life", "cancel during sample")
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_file(request_of, tmp_path: Path, sent: signal.Signals) -> None:
    process = start(request_of(steps=10_000))
    told = ""
    while "step/s" not in told and process.poll() is None:  # until the progress bar runs
        told += process.stderr.read(1)
    process.send_signal(sent)
    told += process.communicate(timeout=60)[1]
    assert process.returncode == 130, told
    assert told.endswith("interrupted: no file was written\n")
    assert "Traceback" not in told
    assert files(tmp_path) == ["portrait.png"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image": "nowhere.png"}, "there is no picture nowhere.png"),
        ({"image": __file__}, "cannot be read as a picture"),
        ({"output": "out.avi"}, "must be an .mp4 file"),
        ({"output": "nowhere/out.mp4"}, "folder nowhere does not exist"),
        ({"speech": None}, "joint needs --speech as well; without --image, --speech, --caption it shows an example"),
        ({"speech": None, "caption": None, "output": None}, "joint needs --speech, --caption, --output as well"),
        ({"speech": " "}, "the speech is empty"),
        ({"frames": 6}, "The next ones are 5 and 9"),
        ({"width": 100, "height": 64}, "width 100 must be a multiple of 32"),
        ({"steps": 0}, "at least 1 step"),
        ({"shift": "nan"}, "shift must be a number from"),
        ({"scale_video": "nan"}, "scale of the video must be a finite number"),
        ({"scale_audio": "inf"}, "scale of the sound must be a finite number"),
        ({"width": 1_000_000_000, "height": 1_000_000_000}, "width 1000000000 is too large"),
        ({"steps": 10**12}, "at most 10000 steps"),
        ({"frames": 40_000_000_001}, "cannot have 40000000001 frames"),
        ({"shift": "1e300"}, "shift must be a number from 0.01 to 1000"),
        ({"scale_video": "1e38"}, "scale of the video must be from -1000 to 1000"),
        ({"interval": "0.5|1"}, "the guided interval"),
        ({"device": "meta"}, "the device 'meta' cannot be used here"),
        ({"device": "quantum"}, "the device 'quantum' cannot be used here"),
        ({"skip_layer": 11}, "layer 11 cannot be skipped: the model has layers 0 to 5"),
    ],
)
def test_bad_requests_get_one_sentence(request_of, tmp_path: Path, capsys, changes: dict, sentence: str) -> None:
    assert main(request_of(**changes)) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("error: ")
    assert sentence in told[-1]
    assert files(tmp_path) == ["portrait.png"]


def floats() -> list[tuple[str, str, int]]:
    """Task, option and how many values it takes, of every option that is a float."""
    (tasks,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return [
        (task, option.dest, option.nargs or 1)
        for task in TASKS
        for option in tasks.choices[task]._actions
        if option.type is float
    ]


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(uniavgen_core.tiny, "load_tiny", load)


@pytest.mark.case("Parameters", "NaN or infinity in a float")
@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "-" + 400 * "9"], ids=["nan", "inf", "large", "below"])
@pytest.mark.parametrize(("task", "option", "count"), floats())
def test_no_option_is_nan_or_infinite(
    request_of, media, tmp_path: Path, capsys, nothing_loads, task: str, option: str, count: int, value: str
) -> None:
    """Refused before weights are loaded, and nothing is written."""
    given = {"audio": media["tone"]} if task == "drive" else {"video": media["clip"]} if task != "joint" else {}
    changes = {"image": None if task in ("dub", "continue") else tmp_path / "portrait.png", **given}
    before = files(tmp_path)
    arguments = [task, *request_of(**changes)[1:]]
    assert main([*arguments, f"--{option.replace('_', '-')}", *[value] * count]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and str(float(value)) in told and told.count("\n") == 1
    assert files(tmp_path) == before


def test_all_float_options_are_there() -> None:
    assert {option for _, option, _ in floats()} == {
        "shift",
        "scale_video",
        "scale_audio",
        "guided_share",
        "interval",
        "original_level",
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({"steps": 0}, "at least 1 step, not 0", marks=pytest.mark.case("Parameters", "0 steps")),
        pytest.param({"steps": -1}, "at least 1 step, not -1", marks=pytest.mark.case("Parameters", "0 steps")),
        *(
            pytest.param(
                {"seed": seed},
                f"below 2**64, not {seed}",
                marks=pytest.mark.case("Parameters", "a seed of -1 or 2^64"),
            )
            for seed in (-1, 2**64)
        ),
        *(
            pytest.param(
                {"skip_layer": layer},
                "cannot be skipped: the model has layers 0 to 5",
                marks=pytest.mark.case("Parameters", "skipped layer out of range"),
            )
            for layer in (-1, 6)
        ),
        *(
            pytest.param(
                changes,
                "the guided interval from",
                marks=pytest.mark.case("Parameters", "guided interval out of range"),
            )
            for changes in ({"interval": "0.5|1"}, {"interval": "1.5|0"}, {"interval": "1|-0.1"}, {"guided_share": 2})
        ),
        ({"frames": 6}, "The next ones are 5 and 9"),
        ({"window": 0}, "The next ones are 1 and 5"),
    ],
)
def test_numbers_out_of_range(request_of, capsys, nothing_loads, changes: dict, sentence: str) -> None:
    assert main(request_of(**changes)) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": "many"}, "'many'"),
        ({"skip_layer": "x"}, "neither a layer's number nor none"),
        ({"guided_share": 0.5, "interval": "1|0.5"}, "not allowed with"),
        ({"language": "fr"}, "'fr'"),
    ],
)
def test_options_that_cannot_be_read(request_of, capsys, changes: dict, sentence: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(request_of(**changes))
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert sentence in told
    assert told.count("\n") == 1


def test_help_shows_the_defaults(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["joint", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert stopped.value.code == 0
    for default in ("(default: 81)", "(default: 50)", "(default: 5.0)", "(default: 0)"):
        assert default in told
    assert "None" not in told


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Guidance()),
        ({"guided_share": 1}, Guidance(end=1.0)),
        ({"interval": "1|0.5", "outside": "none", "skip_layer": "none"}, Guidance.paper()),
        ({"scale_video": 4, "scale_audio": 5, "skip_layer": 7}, Guidance(4.0, 5.0, skip_layers=(7,))),
        ({"interval": "0.9|0.1"}, Guidance(start=0.9, end=0.1, unit=Unit.TIME, outside=Outside.PLAIN)),
    ],
)
def test_guidance_options(request_of, changes: dict, expected: Guidance) -> None:
    assert guidance_of(build_parser().parse_args(request_of(**changes)), Guidance()) == expected
