"""A run on the command line that is cancelled, runs out of memory or lacks something, and the run after it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from host import faults
from host.faults import STAGES, arm, held, no_gpu_memory, no_memory
from test_structure import ROOT
from torch.nn.attention import SDPBackend, sdpa_kernel

from uniavgen_core.__main__ import main
from uniavgen_core.audio.mel import filterbank
from uniavgen_core.pipeline import Material, generate
from uniavgen_core.tiny import load_tiny
from uniavgen_core.video.picture import read_picture

PORTRAIT, SOUND = ROOT / "assets" / "portrait.png", ROOT / "assets" / "speech.wav"
SMALL = {"frames": 5, "steps": 2, "width": 64, "height": 64, "device": "cpu"}
JOINT = {"image": PORTRAIT, "speech": "Hi.", "caption": "A woman talks.", **SMALL}
NEVER = 600  # seconds


def words(task: str, output: Path, **changes: object) -> list[str]:
    options = {**JOINT, **changes, "output": output}
    return [task, *(word for name, value in options.items() if value for word in (f"--{name}", str(value)))]


def start(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment or None, capture_output=True, text=True, timeout=NEVER)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a run before which nothing happened."""
    path = tmp_path_factory.mktemp("undisturbed") / "out.mp4"
    assert main(words("joint", path)) == 0
    return path.read_bytes()


@pytest.fixture(autouse=True)
def nothing_armed() -> Iterator[None]:
    yield
    faults.disarm()


@pytest.fixture
def disturbed(undisturbed: bytes, tmp_path: Path) -> Callable[..., tuple[int, float]]:
    """Runs with something that happens in a stage: the exit code, and the seconds from there to the end. The older
    file stays, nothing more is held, and the same command then makes what it would have made."""

    def run(stage: str, act: Callable[[], object]) -> tuple[int, float]:
        path, moments = tmp_path / "out.mp4", []

        def happen() -> None:
            moments.append(time.monotonic())
            act()

        path.write_bytes(b"an older clip")
        before = held()
        arm(stage, happen)
        code = main(words("joint", path))
        (moment,) = moments
        seconds = time.monotonic() - moment
        assert list(tmp_path.iterdir()) == [path]
        assert path.read_bytes() == b"an older clip"
        assert held() == before
        assert main(words("joint", path)) == 0
        assert path.read_bytes() == undisturbed
        return code, seconds

    return run


@pytest.mark.case("Life", "cancel during load")
@pytest.mark.case("Life", "cancel during sample")
@pytest.mark.case("Life", "cancel during decode")
@pytest.mark.case("Life", "cancel during mux")
@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_in_every_stage(disturbed, capsys, stage):
    code, seconds = disturbed(stage, lambda: signal.raise_signal(signal.SIGINT))
    assert code == 130
    assert seconds < 1
    assert capsys.readouterr().err.count("interrupted: no file was written\n") == 1


@pytest.mark.case("Life", "out of memory in load")
@pytest.mark.case("Life", "out of memory in sample")
@pytest.mark.case("Life", "out of memory in decode")
@pytest.mark.case("Life", "out of memory in mux")
@pytest.mark.parametrize(("stage", "act"), [*((stage, no_memory) for stage in STAGES), ("sample", no_gpu_memory)])
def test_out_of_memory_in_every_stage(disturbed, capsys, stage, act):
    assert disturbed(stage, act)[0] == 2
    said = capsys.readouterr().err
    assert said.count("error: there is not enough memory: ask for a smaller or shorter clip\n") == 1
    assert "Traceback" not in said


@pytest.mark.case("Life", "an error in mid-run leaves the model unpatched")
def test_other_errors_are_not_hidden(undisturbed, tmp_path):
    """A fault of the program itself keeps its traceback; a file is not left."""
    arm("mux", faults.broken)
    with pytest.raises(RuntimeError, match="it broke"):
        main(words("joint", tmp_path / "out.mp4"))
    assert not list(tmp_path.iterdir())


@pytest.mark.case("Life", "ten runs with flat RAM and VRAM")
@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a process is read as POSIX tells it")
def test_ten_runs_in_one_process_hold_no_more_than_the_second(tmp_path):
    """Where there is a GPU they run there."""
    program = """
import json, resource, sys
sys.path.insert(0, "tests/host")
from faults import held
from uniavgen_core.__main__ import main
for _ in range(10):
    assert main(sys.argv[1:]) == 0
    print(json.dumps({**held(), "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""
    done = start(program, *words("joint", tmp_path / "out.mp4", device=None))
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    peaks = [run.pop("peak") for run in runs]  # kilobytes, on macOS bytes
    assert len(runs) == 10
    assert all(run == runs[1] for run in runs[1:])
    assert peaks[-1] < 1.02 * peaks[1]


@pytest.mark.case("Life", "no CUDA")
def test_a_machine_without_cuda(undisturbed, tmp_path, monkeypatch):
    """The CPU is taken where none is named; --device cuda gets a sentence."""
    program = "import sys; from uniavgen_core.__main__ import main; sys.exit(main(sys.argv[1:]))"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = start(program, *words("joint", tmp_path / "out.mp4", device=None))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.mp4").read_bytes() == undisturbed
    done = start(program, *words("joint", tmp_path / "cuda.mp4", device="cuda"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: the device 'cuda' cannot be used here (")
    assert done.stderr.endswith("): try cpu\n")


@pytest.mark.case("Life", "no flash attention")
def test_without_flash_attention(undisturbed, tmp_path, monkeypatch):
    """Neither a package of that name nor PyTorch's own kernel is needed: the plain one makes the same clip."""
    for package in ("flash_attn", "xformers", "sageattention"):
        monkeypatch.setitem(sys.modules, package, None)
    assert main(words("joint", tmp_path / "same.mp4")) == 0
    assert (tmp_path / "same.mp4").read_bytes() == undisturbed
    bundle, material = load_tiny(), Material(picture=read_picture(PORTRAIT))
    told = {"speech": "Hi.", "caption": "A woman talks.", "frames": 5, "steps": 2, "width": 64, "height": 64}
    clip = generate(bundle, material, **told)
    with sdpa_kernel(SDPBackend.MATH):
        plain = generate(bundle, material, **told)
    torch.testing.assert_close(plain.frames, clip.frames, atol=1e-4, rtol=0)
    torch.testing.assert_close(plain.waveform, clip.waveform, atol=1e-4, rtol=0)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Takes a package away."""
    filterbank.cache_clear()

    def remove(package: str) -> None:
        for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
            monkeypatch.setitem(sys.modules, name, None)

    yield remove
    filterbank.cache_clear()


@pytest.mark.case("Life", "a missing optional package disables only what needs it")
def test_without_transformers_only_sound_cannot_be_heard(without, undisturbed, tmp_path, capsys):
    without("transformers")
    assert main(words("drive", tmp_path / "out.mp4", audio=SOUND, speech=None, frames=None)) == 2
    said = capsys.readouterr().err
    assert "error: the mel of a sound needs the package transformers (" in said
    assert said.endswith("): pip install transformers, with the Python that runs this\n")
    assert not list(tmp_path.iterdir())
    assert main(words("joint", tmp_path / "out.mp4")) == 0
    assert (tmp_path / "out.mp4").read_bytes() == undisturbed


@pytest.mark.case("Life", "a missing optional package disables only what needs it")
@pytest.mark.parametrize("package", ["jieba", "pypinyin"])
def test_without_the_chinese_packages_english_is_spoken(without, undisturbed, tmp_path, capsys, package):
    from uniavgen_core.text import speech

    speech._chinese_tools.cache_clear()
    without(package)
    assert main(words("joint", tmp_path / "out.mp4", speech="好")) == 2
    assert capsys.readouterr().err.endswith(
        f"error: Chinese speech needs the package {package}, which is not installed: run `pip install jieba pypinyin`\n"
    )
    assert not list(tmp_path.iterdir())
    assert main(words("joint", tmp_path / "out.mp4")) == 0
    assert (tmp_path / "out.mp4").read_bytes() == undisturbed
