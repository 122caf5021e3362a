"""Files of networks that are damaged or something else: each says what it is, none waits or runs a program."""

from __future__ import annotations

import errno
import math
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from damaged import PAGE, POINTER, answer, make_special, opening_waits
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import tiny_dino

from evaluation import features
from evaluation.sync import network

WEIGHTS = {
    "dino": lambda path: features.load_dino(path, "cpu"),
    "raft": lambda path: features.load_raft(path, "cpu"),
    "inception": lambda path: features.load_inception(path, "cpu"),
    "syncnet": network.load,
}
ALL = {**WEIGHTS, "i3d": lambda path: features.load_i3d(path, "cpu", resize=True)}
every_weights = pytest.mark.parametrize("load", WEIGHTS.values(), ids=WEIGHTS)
every_file = pytest.mark.parametrize("load", ALL.values(), ids=ALL)


def refusal(load: Callable[[Path], object], path: Path) -> str:
    error = answer(lambda: load(path))
    assert isinstance(error, ValueError | FileNotFoundError), error
    assert str(path) in str(error)
    return str(error)


@every_file
@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(POINTER, "is a Git-LFS", marks=pytest.mark.case("Files", "Git-LFS pointer in place of weights")),
        pytest.param(PAGE, "is a web page", marks=pytest.mark.case("Files", "HTML page in place of weights")),
        pytest.param(b"", "is empty", marks=pytest.mark.case("Files", "empty file")),
    ],
)
def test_what_lies_in_the_place_of_a_network_is_named(tmp_path: Path, load, content: bytes, told: str) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    assert told in refusal(load, tmp_path / "net.pth")


@every_file
@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are files of other systems")
@pytest.mark.case("Files", "special or dangling-link paths")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "dangling link"])
def test_paths_that_are_no_files(tmp_path: Path, load, kind: str) -> None:
    path = make_special(kind, tmp_path / "net.pth")
    if kind == "pipe":
        assert opening_waits(path)  # the harm
    assert "there is no file" in refusal(load, path)


@every_file
@pytest.mark.case("Files", "unreadable file")
def test_a_file_that_may_not_be_read(tmp_path: Path, load, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, *rest: object, **named: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    tiny_dino(tmp_path / "net.pth")
    monkeypatch.setattr(Path, "open", denied)  # whoever runs the tests may read everything
    assert "cannot be read (Permission denied): check its rights" in refusal(load, tmp_path / "net.pth")


@every_file
@pytest.mark.case("Files", "truncated weights (file and size named)")
def test_cut_off_files(tmp_path: Path, load) -> None:
    tiny_dino(tmp_path / "net.pth")
    data = (tmp_path / "net.pth").read_bytes()
    for length in (1, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "net.pth").write_bytes(data[:length])
        assert "damaged" in refusal(load, tmp_path / "net.pth")


class Payload:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@every_weights
@pytest.mark.case("Files", "pickle payload (never executed)")
@pytest.mark.parametrize("old", [False, True])
def test_no_program_in_a_file_of_weights_is_run(tmp_path: Path, load, old: bool) -> None:
    mark, path = tmp_path / "ran", tmp_path / "net.pth"
    torch.save({"fc.weight": Payload(mark)}, path, _use_new_zipfile_serialization=not old)
    torch.load(path, weights_only=False)
    assert mark.exists()  # the harm
    mark.unlink()
    assert "or holds more than weights" in refusal(load, path)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Payload(mark), protocol))
        refusal(load, path)
    assert not mark.exists()


@every_weights
@pytest.mark.case("Files", "NaN or infinite weights")
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none(tmp_path: Path, load, value: float) -> None:
    torch.save({"some.weight": torch.tensor([1.0, value])}, tmp_path / "net.pth")
    assert "holds numbers that are NaN or infinite (some.weight)" in refusal(load, tmp_path / "net.pth")


@every_weights
@pytest.mark.case("Files", "another model's file (named)")
@pytest.mark.parametrize("held", [{"some.weight": torch.ones(2)}, {3: torch.ones(2)}, {"a": "b"}, [torch.ones(2)]])
def test_another_networks_file(tmp_path: Path, load, held: object) -> None:
    torch.save(held, tmp_path / "net.pth")
    message = refusal(load, tmp_path / "net.pth")
    assert "holds the weights of another network: give " in message or "holds other things than weights" in message


@pytest.mark.case("Files", "missing, surplus, misshapen tensors (listed)")
def test_tensors_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    weights, path = tiny_dino(tmp_path / "dino.pth"), tmp_path / "dino.pth"
    for change, told in (
        ({"surplus.bias": torch.ones(1)}, 'Unexpected key(s) in state_dict: "surplus.bias"'),
        ({"norm.bias": torch.ones(3)}, "size mismatch for encoder.ln.bias"),
    ):
        torch.save(weights | change, path)
        assert told in refusal(WEIGHTS["dino"], path)
    torch.save({name: value for name, value in weights.items() if name != "norm.bias"}, path)
    assert 'Missing key(s) in state_dict: "encoder.ln.bias"' in refusal(WEIGHTS["dino"], path)


@pytest.mark.case("Files", "weights whose sizes suggest a huge network")
@pytest.mark.parametrize(
    "changes",
    [
        {"patch_embed.proj.weight": torch.zeros(1 << 20, 3, 1, 1)},  # of which one layer would have 12 TB
        {"patch_embed.proj.weight": torch.zeros(3, 3)},
        {"patch_embed.proj.weight": torch.zeros(8, 3, 16, 16)},
        {"pos_embed": torch.zeros(0)},
        {"blocks.0.mlp.fc1.weight": torch.tensor(1.0)},
    ],
)
def test_a_dino_is_as_large_as_its_weights(tmp_path: Path, changes: dict[str, torch.Tensor]) -> None:
    torch.save(tiny_dino(tmp_path / "dino.pth") | changes, tmp_path / "dino.pth")
    assert "holds the weights of another network" in refusal(WEIGHTS["dino"], tmp_path / "dino.pth")


def saved(old: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.pth")
        torch.save({"fc.weight": torch.arange(6.0)}, path, _use_new_zipfile_serialization=not old)
        return path.read_bytes()


def mutations(valid: bytes) -> st.SearchStrategy[bytes]:
    """A file with some bytes overwritten, and what comes behind them cut off or not."""
    places = st.tuples(st.integers(0, len(valid)), st.binary(max_size=8), st.booleans())
    return places.map(lambda x: valid[: x[0]] + x[1] + (b"" if x[2] else valid[x[0] + len(x[1]) :]))


@pytest.mark.case("Files", "any bytes in place of a network of the evaluation")
@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=100) | mutations(saved(False)) | mutations(saved(True)))
def test_any_bytes(content: bytes) -> None:
    """No network is this small, so all end in a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.pth")
        path.write_bytes(content)
        for load in (WEIGHTS["inception"], ALL["i3d"]):
            with pytest.raises(ValueError, match=r"net\.pth"):
                load(path)
