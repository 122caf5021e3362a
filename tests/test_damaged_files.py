"""Weights that are damaged, and paths that are no files: the harm they do where nobody looks, and the refusal."""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch
from damaged import PAGE, POINTER, SPECIAL, answer, floats, make_special, opening_waits, safetensors_bytes
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_by_library
from safetensors.torch import save, save_file
from test_checkpoint import SMALL, shard, small_weights

from uniavgen_core.checkpoint import CONFIG_KEY, CheckpointError, load_model, load_state_dict
from uniavgen_core.checkpoint.names import is_finite
from uniavgen_core.checkpoint.parts import open_source
from uniavgen_core.config import BranchConfig, ModelConfig
from uniavgen_core.convert import convert
from uniavgen_core.hub import is_here
from uniavgen_core.parts import INDEX, PARTS
from uniavgen_core.text.vocabulary import Vocabulary

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are files of other systems")


def refusal(path: Path) -> str:
    """Of both readers: that which loads a model, and that which converts without the safetensors library."""
    told = [answer(lambda: load_state_dict(path)), answer(lambda: open_source(path))]
    assert all(isinstance(error, CheckpointError) for error in told), told
    assert str(told[0]) == str(told[1])
    return str(told[0])


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# headers

ENTRY = json.dumps(floats(0, 8))
TWICE = safetensors_bytes(f'{{"a": {ENTRY}, "a": {ENTRY}}}', bytes(8))


@pytest.mark.case("Files", "duplicate header keys")
def test_a_name_that_stands_twice_is_not_chosen_from(tmp_path):
    assert list(load_by_library(TWICE)) == ["a"]  # the harm: one of the two, without a word
    message = refusal(written(tmp_path / "w.safetensors", TWICE))
    assert message == "w.safetensors has a damaged header (a stands there twice): download it again"
    index = written(
        tmp_path / "w.safetensors.index.json", b'{"weight_map": {"a": "w.safetensors", "a": "v.safetensors"}}'
    )
    assert "a stands there twice" in refusal(index)


OFFSETS = [
    ("over", {"a": floats(0, 8), "b": floats(4, 12)}, 12, "the tensor b lies over the one before it"),
    ("the same place", {"a": floats(0, 8), "b": floats(0, 8)}, 8, "the tensor b lies over the one before it"),
    ("hole", {"a": floats(0, 8), "b": floats(12, 20)}, 20, "the tensor b leaves a hole before it"),
    ("hole at the start", {"a": floats(4, 8)}, 8, "the tensor a leaves a hole before it"),
    ("backwards", {"a": floats(0, 8), "b": floats(8, 4, shape=[1])}, 8, "the tensor b ends before it begins"),
    ("before the start", {"a": floats(-4, 0)}, 0, "a is described by something else than a number format and sizes"),
    ("fractions", {"a": floats(0, 4) | {"data_offsets": [0.0, 4.0]}}, 4, "something else than"),
    ("a dimension below 0", {"a": floats(0, 4, shape=[-1])}, 4, "something else than"),
    ("three offsets", {"a": floats(0, 4) | {"data_offsets": [0, 4, 8]}}, 4, "damaged header"),
    ("endless", '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, Infinity]}}', 4, "Infinity is no number"),
    ("nested", '{"a": ' + "[" * 100_000, 4, "it is nested too deeply"),
    ("a list", {"a": [1]}, 4, "a is described by something else than a number format and sizes"),
    ("half of it", {"a": {"dtype": "F32"}}, 4, "a is described by something else than"),
    ("metadata", {"__metadata__": {"a": 1}, "b": floats(0, 4)}, 4, "its metadata is more than texts by name"),
]


@pytest.mark.case("Files", "overlapping or holed offsets")
@pytest.mark.parametrize(("header", "size", "sentence"), [case[1:] for case in OFFSETS], ids=[x[0] for x in OFFSETS])
def test_tensors_lie_one_after_the_other(tmp_path, header, size, sentence):
    """The safetensors library does not say which; what is converted is read without it."""
    content = safetensors_bytes(header, bytes(size))
    with pytest.raises(SafetensorError):
        load_by_library(content)
    message = refusal(written(tmp_path / "w.safetensors", content))
    assert sentence in message and message.startswith("w.safetensors has a damaged header")


@pytest.mark.case("Files", "overlapping or holed offsets")
def test_more_or_less_bytes_than_the_shape_needs(tmp_path):
    path = written(tmp_path / "w.safetensors", safetensors_bytes({"a": floats(0, 8, shape=[3])}, bytes(8)))
    for read in (load_state_dict, open_source):
        with pytest.raises(CheckpointError, match=r"w\.safetensors .*download it again"):
            read(path)


@pytest.mark.case("Files", "header that claims to be huge")
def test_no_memory_is_taken_for_what_a_file_claims(tmp_path):
    """Neither by a length that the file does not have, nor by one that a file full of nothing has."""
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write((1 << 40).to_bytes(8, "little") + b"{")
        file.truncate(1 << 41)  # holes, which take no room on the disk
    tracemalloc.start()
    assert "has a damaged header (1099511627776 bytes, more than the 100000000" in refusal(path)
    assert "its header alone should have" in refusal(written(path, b"\xff" * 7 + b"\x00{}"))
    many = [2**62] * 50_000  # whose product alone would take minutes
    assert "something else than" in refusal(written(path, safetensors_bytes({"a": floats(0, 4, shape=many)}, bytes(4))))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 50_000_000


# numbers


@pytest.mark.case("Files", "NaN or infinite weights")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_numbers_that_are_none_are_refused(tmp_path, value, dtype):
    weights = {name: tensor.to(dtype) for name, tensor in small_weights().items()}
    spoilt = weights["head.head.weight"].float()
    spoilt.view(-1)[-1] = value
    weights["head.head.weight"] = spoilt.to(dtype)
    path = tmp_path / "m.safetensors"
    save_file(weights, path, {CONFIG_KEY: SMALL.to_json()})
    with safe_open(path, framework="pt") as file:  # the harm: it is read, and every clip is noise or black
        assert not file.get_tensor("head.head.weight").float().isfinite().all()
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    sentence = "m.safetensors holds numbers that are NaN or infinite in head.head.weight: download it again"
    assert str(error.value).startswith(sentence)
    for format_ in ("same", "bf16"):
        with pytest.raises(CheckpointError, match=r"head\.head\.weight holds numbers that are NaN or infinite"):
            convert(path, tmp_path / "out.safetensors", format_)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]
    + [torch.float8_e4m3fnuz, torch.float8_e8m0fnu],
)
def test_every_number_of_a_format_is_told_from_what_is_none(dtype):
    """Of those of 8 bits all there are, of the others all beginnings."""
    filled = torch.arange(256, dtype=torch.uint8)[:, None].expand(-1, dtype.itemsize).contiguous()
    for tensor in filled.view(dtype).flatten():
        assert is_finite(tensor) == bool(tensor.double().isfinite())
    assert is_finite(torch.empty(0, dtype=dtype)) and is_finite(torch.ones(2, 3).to(dtype))


# sizes of a model that a file may claim


@pytest.mark.case("Files", "model configuration that claims to be huge")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_layers": 10**9}, "num_layers must be a whole number from 1 to 256, not 1000000000"),
        ({"speech_layers": -1}, "speech_layers must be a whole number"),
        ({"num_layers": 2.0}, "num_layers must be a whole number"),
        ({"patch_size": 0}, "patch_size must be a whole number"),
        ({"text_dim": 10**12}, "text_dim must be a whole number"),
        ({"video": {"dim": 16, "ffn_dim": 24, "num_heads": 0}}, "num_heads must be a whole number"),
        ({"video": {"dim": "16", "ffn_dim": 24, "num_heads": 2}}, "dim must be a whole number"),
        ({"eps": "small"}, "eps must be a number above 0"),
        ({"speech_stretch": math.nan}, "speech_stretch must be a number above 0"),
        ({"interaction": {"layers": [0.5], "site": "before_ffn", "alignment": "asymmetric"}}, "interaction layers"),
        ({"interaction": {"layers": [9], "site": "before_ffn", "alignment": "asymmetric"}}, "interaction layers"),
        ({"video": [[]]}, "(video: no object)"),
        ({"interaction": "none"}, "(interaction: no object)"),
        ({"audio": {"size": 3}}, "(audio: unknown or missing names ['dim', 'ffn_dim', 'num_heads', 'size'])"),
        ({"interaction": {"layers": 3, "site": "before_ffn", "alignment": "asymmetric"}}, "must be a name or a list"),
    ],
)
def test_a_configuration_has_sizes_of_a_model(tmp_path, change, sentence):
    told = json.dumps(json.loads(SMALL.to_json()) | change)
    save_file(small_weights(), tmp_path / "m.safetensors", {CONFIG_KEY: told})
    for error in (
        answer(lambda: load_model(tmp_path / "m.safetensors")),
        answer(lambda: convert(tmp_path / "m.safetensors", tmp_path / "out.safetensors")),
    ):
        assert isinstance(error, CheckpointError) and sentence in str(error)


def test_a_configuration_nested_without_end(tmp_path):
    for text, fault in (("[" * 100_000, ""), ("[]", r"\(model configuration: no object\)")):
        save_file(small_weights(), tmp_path / "m.safetensors", {CONFIG_KEY: text})
        with pytest.raises(CheckpointError, match=f"does not describe a model this version knows {fault}"):
            load_model(tmp_path / "m.safetensors")


def test_the_largest_configuration_is_checked_without_its_memory(tmp_path):
    """It is no file's own, so what is missing is told: nothing of that size is made before."""
    large = BranchConfig(1 << 20, 1 << 20, 2)
    save_file({"a": torch.ones(1)}, tmp_path / "m.safetensors", {CONFIG_KEY: ModelConfig(large, large).to_json()})
    error = answer(lambda: load_model(tmp_path / "m.safetensors"))
    assert isinstance(error, CheckpointError) and "missing (20" in str(error)


def test_a_configuration_in_a_tensor_of_any_format(tmp_path):
    """As fuzzing found: bfloat16 has no bytes of its own in NumPy."""
    for tensor in (torch.ones(3, dtype=torch.bfloat16), torch.tensor(2.0)):
        save_file(small_weights() | {CONFIG_KEY: tensor}, tmp_path / "m.safetensors")
        for read in (load_model, lambda path: convert(path, tmp_path / "out.safetensors")):
            with pytest.raises(CheckpointError, match="does not describe a model"):
                read(tmp_path / "m.safetensors")


# paths


@pytest.mark.case("Files", "special or dangling-link paths")
@pytest.mark.parametrize("kind", SPECIAL)
def test_paths_that_are_no_files(tmp_path, kind):
    """Whatever reads a file, by itself or as a shard: it neither waits nor reads without end."""
    path = make_special(kind, tmp_path / "w.safetensors")
    if kind == "pipe":
        assert opening_waits(path)  # the harm
    if kind != "folder":  # which may hold the weights
        assert SPECIAL[kind] in refusal(path) and str(path) in refusal(path)
    listed = shard(tmp_path, index={"a": "w.safetensors"})
    expected = "which is not in" if "link" in kind else SPECIAL[kind]
    assert expected in refusal(listed)
    error = answer(lambda: Vocabulary.from_file(path))
    assert isinstance(error, ValueError) and SPECIAL[kind] in str(error)
    error = answer(lambda: open_source(make_special(kind, tmp_path / "old.pth")))
    assert isinstance(error, CheckpointError) and "old.pth" in str(error)
    index = next(part for part in PARTS if part.sign == INDEX)
    make_special(kind, tmp_path / INDEX)
    assert not answer(lambda: is_here(index, tmp_path))


@pytest.mark.case("Files", "unreadable file")
def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    save_file(small_weights(), tmp_path / "w.safetensors")
    original = Path.open

    def denied(path: Path, *rest, **named):
        if path.name == "w.safetensors":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, *rest, **named)

    monkeypatch.setattr(Path, "open", denied)  # whoever runs the tests may read everything
    assert "w.safetensors cannot be opened (Permission denied): check its name and rights" in refusal(
        tmp_path / "w.safetensors"
    )
    with pytest.raises(ValueError, match="Permission denied"):
        Vocabulary.from_file(tmp_path / "w.safetensors")


@pytest.mark.case("Files", "special or dangling-link paths")
@pytest.mark.parametrize("name", ["a" * 400, "a\0b"])
def test_names_that_no_file_can_have(tmp_path, name):
    assert "cannot be opened (" in refusal(tmp_path / f"{name}.safetensors")
    assert "which is not in" in refusal(shard(tmp_path, index={"a": f"{name}.safetensors"}))


# what is written


@pytest.fixture
def source(tmp_path) -> Path:
    save_file(small_weights(), tmp_path / "m.safetensors", {CONFIG_KEY: SMALL.to_json()})
    return tmp_path / "m.safetensors"


@pytest.mark.case("Files", "read-only output")
@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.EACCES, "Permission denied: check the rights of its folder, or choose another"),
        (errno.EROFS, "Read-only file system: check the rights of its folder, or choose another"),
        (errno.ENOSPC, "is full: make room, or choose another folder"),
    ],
)
def test_a_target_that_cannot_be_written(source, tmp_path, monkeypatch, code, sentence):
    """A read-only system refuses even to remove what is not there, which must not hide the reason."""
    original = Path.open

    def refuse(path: Path, mode: str = "r", *rest, **named):
        if "x" in mode:
            raise OSError(code, os.strerror(code), str(path))
        return original(path, mode, *rest, **named)

    def removing(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", removing)
    with pytest.raises(OSError, match=sentence) as error:
        convert(source, tmp_path / "out.safetensors")
    assert str(tmp_path / "out.safetensors") in str(error.value)
    assert os.listdir(tmp_path) == ["m.safetensors"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder in which nobody may write")
@pytest.mark.case("Files", "read-only output")
def test_a_folder_that_nobody_can_write(source):
    with pytest.raises((CheckpointError, OSError), match=r"out\.safetensors"):
        convert(source, Path("/proc/self/out.safetensors"))


@pytest.mark.case("Files", "special or dangling-link paths")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_target_that_is_no_file(source, tmp_path, kind):
    target = make_special(kind, tmp_path / "out.safetensors")
    error = answer(lambda: convert(source, target))
    assert isinstance(error, CheckpointError) and SPECIAL[kind] in str(error)
    report = make_special(kind, tmp_path / "report.csv")
    error = answer(lambda: convert(source, tmp_path / "new.safetensors", report=report))
    assert isinstance(error, CheckpointError) and "must be a .csv in a folder that is there" in str(error)
    assert not (tmp_path / "new.safetensors").exists()


# pickles


class Payload:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@pytest.mark.case("Files", "pickle payload (never executed)")
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "w.bin", "w.safetensors.index.json"])
@pytest.mark.parametrize("old", [False, True])
def test_no_program_in_a_file_is_run(tmp_path, name, old):
    mark, path = tmp_path / "ran", tmp_path / name
    torch.save({"a": torch.ones(2), "b": Payload(mark)}, path, _use_new_zipfile_serialization=not old)
    torch.load(path, weights_only=False)
    assert mark.exists()  # the harm
    mark.unlink()
    assert isinstance(answer(lambda: load_state_dict(path)), CheckpointError)
    assert isinstance(answer(lambda: convert(path, tmp_path / "out.safetensors")), CheckpointError)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Payload(mark), protocol))
        assert isinstance(answer(lambda: load_state_dict(path)), CheckpointError)
        assert isinstance(answer(lambda: open_source(path)), CheckpointError)
    assert not mark.exists()


@pytest.mark.case("Files", "compressed pickle that would fill the memory")
def test_a_pickle_does_not_grow_when_it_is_read(tmp_path):
    import zipfile

    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as plain,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    assert (tmp_path / "small.pth").stat().st_size < 10_000
    with pytest.raises(CheckpointError, match=r"small\.pth says that it holds more than its \d+ bytes"):
        open_source(tmp_path / "small.pth")


# what lies in the place of a file


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(
            POINTER, "Git-LFS pointer", marks=pytest.mark.case("Files", "Git-LFS pointer in place of weights")
        ),
        pytest.param(PAGE, "web page", marks=pytest.mark.case("Files", "HTML page in place of weights")),
        pytest.param(b"", "is empty", marks=pytest.mark.case("Files", "empty file")),
    ],
)
def test_what_lies_in_the_place_of_weights_is_named(tmp_path, content, sentence):
    for name in ("w.safetensors", "w.safetensors.index.json"):
        assert sentence in refusal(written(tmp_path / name, content))
    for name in ("w.pth", "w.pt"):
        with pytest.raises(CheckpointError, match=sentence):
            open_source(written(tmp_path / name, content))
    with pytest.raises(ValueError, match=sentence):
        Vocabulary.from_file(written(tmp_path / "vocab.txt", content))


@pytest.mark.case("Files", "truncated weights (file and size named)")
def test_truncated_anywhere(tmp_path):
    """At every length it is refused; where tensors or header are cut, both sizes are told."""
    data = save({"a": torch.arange(3.0), "b": torch.ones(2, dtype=torch.bfloat16)}, {"key": "value"})
    path = tmp_path / "w.safetensors"
    for length in range(len(data)):
        message = refusal(written(path, data[:length]))
        if length > 8:
            assert "w.safetensors is truncated: " in message and f"has {length}: download it again" in message
