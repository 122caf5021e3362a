"""Disks that are full and programs that are killed, while weights are converted and clips are written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import pytest
from safetensors.torch import load_file
from test_dub import make_footage
from test_video import make_clip

from uniavgen_core import whole
from uniavgen_core.__main__ import main
from uniavgen_core.convert import convert
from uniavgen_core.video.mux import write_mp4

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "uniavgen_core" / "tiny" / "weights" / "model.safetensors"
OLDER = b"what was there before"
SMALL = {"caption": "A face.", "speech": "Hi.", "width": 64, "height": 64, "steps": 1}


def tensors(path: Path) -> int:
    return len(load_file(path))


def pictures(path: Path) -> int:
    with av.open(str(path)) as container:
        assert container.streams.audio
        return sum(1 for _ in container.decode(video=0))


def task(name: str, target: Path, **options: object) -> list[str]:
    given = {**SMALL, "output": target, **options}
    return [name, *(word for option, value in given.items() for word in (f"--{option}", str(value)))]


# a command: its target's name, its words, what is counted in the target, and where it is killed, in the middle
COMMANDS = {
    "convert": (
        "out.safetensors",
        lambda target: ["convert", str(WEIGHTS), str(target), "--report", str(target.with_suffix(".csv"))],
        tensors,
        """
from uniavgen_core import convert
original, told = convert.convert, []
def killed(*words):
    def written(done, of):
        told.append(done)
        if sum(told) > of / 2:
            os.kill(os.getpid(), signal.SIGKILL)
    return original(*words[:-1], written)
convert.convert = killed
""",
    ),
    "joint": (
        "out.mp4",
        lambda target: task("joint", target, image=ROOT / "assets" / "portrait.png", frames=5),
        pictures,
        """
from uniavgen_core.video import mux
original = mux._picture_packets
def killed(*given):
    for number, packet in enumerate(original(*given)):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield packet
mux._picture_packets = killed
""",
    ),
    "dub": (
        "out.mp4",
        lambda target: task(
            "dub", target, video=make_footage(target.with_name("film.mp4"), Fraction(16), 9, size=(64, 64))
        ),
        pictures,
        """
from uniavgen_core.video import mux
original = mux._copied_packets
def killed(*given):
    for number, packet in enumerate(original(*given)):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield packet
mux._copied_packets = killed
""",
    ),
}
COUNTS = {"convert": tensors(WEIGHTS), "joint": 5, "dub": 9}


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of other systems")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("convert", marks=pytest.mark.case("Disk and network", "kill -9 while weights are converted")),
        pytest.param("joint", marks=pytest.mark.case("Disk and network", "kill -9 while a clip is written")),
        pytest.param("dub", marks=pytest.mark.case("Disk and network", "kill -9 while a dubbed clip is written")),
    ],
)
def test_kill_9_leaves_the_older_file_and_the_same_command_clears_up(tmp_path: Path, name: str) -> None:
    """The killed one leaves half a file, under a hidden name: that is the harm. The next one removes it."""
    file, words, count, killing = COMMANDS[name]
    target = tmp_path / file
    target.write_bytes(OLDER)
    command = words(target)
    program = "import os, signal, sys\nfrom uniavgen_core.__main__ import main\n" + killing + "\nmain(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", program, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert target.read_bytes() == OLDER
    assert len(unfinished(tmp_path)) == 1

    assert main(command) == 0
    assert count(target) == COUNTS[name]
    assert not unfinished(tmp_path)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on new files lie on a disk that is full, until what is returned is called."""
    if not Path("/dev/full").exists():
        pytest.skip("a disk that is always full is a Linux device")

    def begin(path: Path):
        link = path.with_name(f".{'0' * 32}.unfinished")
        link.symlink_to("/dev/full")
        return link, link.open("wb")

    original = whole.begin
    monkeypatch.setattr(whole, "begin", begin)
    return lambda: monkeypatch.setattr(whole, "begin", original)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("convert", marks=pytest.mark.case("Disk and network", "full disk while weights are converted")),
        pytest.param("joint", marks=pytest.mark.case("Disk and network", "full disk while a clip is written")),
        pytest.param("dub", marks=pytest.mark.case("Disk and network", "full disk while a dubbed clip is written")),
    ],
)
def test_a_full_disk_is_told_and_the_older_file_stays(full_disk, tmp_path: Path, capfd, name: str) -> None:
    file, words, count, _ = COMMANDS[name]
    target = tmp_path / file
    target.write_bytes(OLDER)
    command = words(target)
    assert main(command) == 2
    told = capfd.readouterr().err
    full = f"error: the disk of {target} is full: make room, or choose another folder; nothing was written"
    assert told.splitlines()[-1] == full
    assert target.read_bytes() == OLDER
    assert not unfinished(tmp_path)
    full_disk()
    assert main(command) == 0
    assert count(target) == COUNTS[name]


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The system writes files up to that size and refuses the rest, as a disk does that becomes full."""
    resource = pytest.importorskip("resource", reason="limits of files are of other systems")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1, 5_000, 30_000])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        pytest.param(
            "out.safetensors",
            lambda target: convert(WEIGHTS, target),
            marks=pytest.mark.case("Disk and network", "full disk while weights are converted"),
        ),
        pytest.param(
            "out.mp4",
            lambda target: write_mp4(target, make_clip(81), crf=0),
            marks=pytest.mark.case("Disk and network", "full disk while a clip is written"),
        ),
    ],
)
def test_a_disk_that_becomes_full_in_the_middle(tmp_path: Path, name: str, write, size: int) -> None:
    target = tmp_path / name
    target.write_bytes(OLDER)
    with no_file_above(size), pytest.raises(OSError, match="File too large") as refused:
        write(target)
    assert refused.value.filename == str(target)
    assert target.read_bytes() == OLDER
    assert not unfinished(tmp_path)
    write(target)
    assert target.stat().st_size > 30_000


@pytest.mark.case("Disk and network", "full disk while the report of a conversion is written")
def test_half_a_report_is_none(full_disk, tmp_path: Path, monkeypatch) -> None:
    target, report = tmp_path / "out.safetensors", tmp_path / "report.csv"
    report.write_bytes(OLDER)
    broken = whole.begin
    full_disk()
    working = whole.begin
    monkeypatch.setattr(whole, "begin", lambda path: (broken if path == report else working)(path))
    with pytest.raises(OSError, match=r"the disk of .*report\.csv is full: make room"):
        convert(WEIGHTS, target, report=report)
    assert report.read_bytes() == OLDER
    assert tensors(target) == COUNTS["convert"]
    assert not unfinished(tmp_path)


@pytest.mark.case("Disk and network", "a link where a file is to be written")
def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "other.mp4"
    other.parent.mkdir()
    other.write_bytes(OLDER)
    (tmp_path / "out.mp4").symlink_to(other)
    write_mp4(tmp_path / "out.mp4", make_clip(1))
    assert not (tmp_path / "out.mp4").is_symlink()
    assert other.read_bytes() == OLDER


@pytest.mark.case("Disk and network", "an unfinished file that is still written to")
def test_what_another_still_writes_is_left_alone(tmp_path: Path) -> None:
    """Another's file of another kind is never touched."""
    (tmp_path / ".hidden.unfinished").write_bytes(OLDER)
    one, two = tmp_path / "one", tmp_path / "two"
    with whole.whole_or_nothing(one) as first:
        first.write_text("1")
        with whole.whole_or_nothing(two) as second:
            assert first.exists() and first != second
            second.write_text("2")
    assert (one.read_text(), two.read_text()) == ("1", "2")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden.unfinished", "one", "two"]


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be removed there")
@pytest.mark.case("Disk and network", "an unfinished file that is still written to")
def test_a_file_that_is_removed_before_it_is_locked_is_begun_anew(tmp_path: Path, monkeypatch) -> None:
    locked = whole.fcntl.flock

    def slow(file, how: int) -> None:
        monkeypatch.setattr(whole.fcntl, "flock", locked)
        whole.remove_abandoned(Path(file.name))  # by another program that is faster
        locked(file, how)

    monkeypatch.setattr(whole.fcntl, "flock", slow)
    with whole.whole_or_nothing(tmp_path / "one") as unfinished:
        unfinished.write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_folder_that_is_gone_is_named_by_the_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused, whole.whole_or_nothing(tmp_path / "gone" / "a.mp4"):
        raise AssertionError("never reached")
    assert refused.value.filename == os.fspath(tmp_path / "gone" / "a.mp4")
