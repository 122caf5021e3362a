"""Weights written anew: the same numbers in another format, a file that is there whole or not at all, little memory."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_checkpoint import SMALL, shard
from test_cli import files

from uniavgen_core.__main__ import ENDINGS, main
from uniavgen_core.checkpoint import CONFIG_KEY, CheckpointError, config_of, expected_shapes, load_state_dict
from uniavgen_core.checkpoint.conversion import Conversion
from uniavgen_core.checkpoint.parts import JOINT_MATRICES
from uniavgen_core.checkpoint.stream import SafetensorsSource, write
from uniavgen_core.config import RELEASE, BranchConfig
from uniavgen_core.convert import convert

ROOT = Path(__file__).resolve().parents[1]
CONFIG = replace(SMALL, video=BranchConfig(32, 48, 2), audio=BranchConfig(16, 32, 1))


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(shape, generator=generator) for name, shape in expected_shapes(CONFIG).items()}


@pytest.fixture
def source(weights, tmp_path) -> Path:
    """A folder as the release is published, in float32, with the configuration that the release does not need."""
    folder = tmp_path / "take"
    folder.mkdir()
    names = list(weights)
    index = shard(folder, one={n: weights[n] for n in names[::2]}, two={n: weights[n] for n in names[1::2]})
    listed = json.loads(index.read_text())
    listed["metadata"][CONFIG_KEY] = CONFIG.to_json()
    index.write_text(json.dumps(listed))
    return folder


def refusal(*arguments, **named) -> str:
    with pytest.raises(CheckpointError) as error:
        convert(*arguments, **named)
    return str(error.value)


def test_bf16_is_every_tensor_rounded(source, weights, tmp_path):
    target = tmp_path / "out.safetensors"
    what, losses = convert(source, target)
    tensors, metadata = load_state_dict(target)
    assert what == "the joint model" and config_of(metadata) == CONFIG
    assert metadata["format"] == "pt" and metadata["dtype"] == "bf16" and metadata["source"] == "take"
    assert set(tensors) == set(weights)
    assert all(torch.equal(tensors[name], weights[name].bfloat16()) for name in weights)
    for loss in losses:
        old, new = weights[loss.name], weights[loss.name].bfloat16().float()
        assert loss.relative == pytest.approx(float((new - old).norm() / old.norm()), rel=1e-4)
        assert loss.relative_largest == pytest.approx(float((new - old).abs().max() / old.abs().max()), rel=1e-4)
        assert 0 < loss.relative < 2**-8


def test_progress_adds_up_to_the_whole(source, tmp_path):
    told = []
    convert(source, tmp_path / "out.safetensors", "fp8", written=lambda done, of: told.append((done, of)))
    assert sum(done for done, _ in told) == told[0][1] == told[-1][1]
    assert 0 < (tmp_path / "out.safetensors").stat().st_size - told[0][1] < 100_000  # the header


def test_same_keeps_every_bit(source, weights, tmp_path):
    target = tmp_path / "out.safetensors"
    weights["audio_padding"] = weights["audio_padding"].half()
    _, losses = convert(source, target, "same")
    tensors = load_file(target)
    assert all(torch.equal(tensors[name], load_state_dict(source)[0][name]) for name in weights)
    assert not any(loss.squared_error for loss in losses)


def test_fp8_has_a_scale_for_each_matrix_of_the_blocks(source, weights, tmp_path):
    target = tmp_path / "out.safetensors"
    _, losses = convert(source, target, "fp8")
    tensors, relative = load_file(target), {loss.name: loss.relative for loss in losses}
    matrices = [name for name, tensor in tensors.items() if tensor.dtype == torch.float8_e4m3fn]
    # 10 matrices in each of 2 x 2 blocks, 4 in each of 2 x 1 meetings, without the head of the face mask
    assert len(matrices) == 48 and not [name for name in matrices if "head" in name or "embedding" in name]
    for name in matrices:
        layer = name.removesuffix(".weight")
        scale, old = tensors[f"{layer}.weight_scale"], weights[name]
        assert (
            scale.dtype == torch.float32 and scale.shape == () and scale * 448 == pytest.approx(float(old.abs().max()))
        )
        assert json.loads(bytes(tensors[f"{layer}.comfy_quant"].tolist())) == {"format": "float8_e4m3fn"}
        error = (tensors[name].float() * scale - old).norm() / old.norm()
        assert relative[name] == pytest.approx(float(error), rel=1e-4) and error < 4e-2
    others = set(weights) - set(matrices)
    assert all(torch.equal(tensors[name], weights[name].bfloat16()) for name in others)


def test_what_becomes_fp8_in_the_release():
    """All that is large: 97 % of the numbers; embeddings, heads, norms, biases and modulation stay bf16."""
    shapes = expected_shapes(RELEASE)
    conversion = Conversion(SimpleNamespace(), {}, torch.bfloat16, JOINT_MATRICES)
    chosen = [name for name, shape in shapes.items() if conversion.is_quantised(name, SimpleNamespace(shape=shape))]
    assert len(chosen) == 2 * 30 * 10 + 2 * 15 * 4
    assert sum(torch.Size(shapes[name]).numel() for name in chosen) > 0.97 * sum(
        torch.Size(shape).numel() for shape in shapes.values()
    )


def test_zeros_have_no_scale(tmp_path):
    save_file({"blocks.0.ffn.0.weight": torch.zeros(16, 16)}, tmp_path / "w.safetensors")
    opened = SafetensorsSource(tmp_path / "w.safetensors")
    name = "blocks.0.ffn.0.weight"
    conversion = Conversion(opened, {name: name}, torch.bfloat16, JOINT_MATRICES)
    write(tmp_path / "out.safetensors", conversion.groups(), {})
    tensors = load_file(tmp_path / "out.safetensors")
    assert not tensors[name].float().any() and tensors["blocks.0.ffn.0.weight_scale"] == 1
    assert conversion.losses[0].relative == conversion.losses[0].relative_largest == 0


def test_no_more_than_a_few_pieces_are_in_memory(tmp_path, monkeypatch):
    """Whatever is alive at once, of what was read and of what is written, is less than two of the largest tensors."""
    monkeypatch.setattr("uniavgen_core.checkpoint.stream.PIECE", 1 << 10)
    sizes = (3000, 5000, 4000)
    save_file({f"{i}": torch.randn(n) for i, n in enumerate(sizes)}, tmp_path / "w.safetensors")
    save_file({"blocks.0.ffn.0.weight": torch.randn(64, 128)}, tmp_path / "m.safetensors")
    alive, most = [0], [0]
    empty = torch.empty

    def counted(*shape, **named):
        tensor = empty(*shape, **named)
        alive[0] += tensor.nbytes
        most[0] = max(most[0], alive[0])
        weakref.finalize(tensor.untyped_storage(), lambda size=tensor.nbytes: alive.__setitem__(0, alive[0] - size))
        return tensor

    monkeypatch.setattr(torch, "empty", counted)
    for name, dtype in (("w", torch.bfloat16), ("m", torch.bfloat16)):
        opened = SafetensorsSource(tmp_path / f"{name}.safetensors")
        conversion = Conversion(opened, {n: n for n in opened.layouts}, dtype, JOINT_MATRICES)
        write(tmp_path / "out.safetensors", conversion.groups(), {})
    assert 0 < most[0] <= 2 * 4 * 1024  # the piece before may live until the next has arrived


@pytest.mark.case("Files", "NaN or infinite weights")
def test_nothing_is_left_of_what_failed(source, tmp_path, monkeypatch):
    weights = load_file(source / "one.safetensors")
    name = next(iter(weights))
    save_file(weights | {name: torch.full_like(weights[name], torch.nan)}, source / "one.safetensors")
    before = files(tmp_path)
    sentence = f"one.safetensors: {name} holds numbers that are NaN or infinite"
    for dtype in ("bf16", "fp8", "same"):
        assert refusal(source, tmp_path / "out.safetensors", dtype).startswith(sentence)
        assert files(tmp_path) == before

    save_file(weights, source / "one.safetensors")

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out.safetensors", "same", written=stop)
    assert files(tmp_path) == before


def test_an_older_target_stays_until_the_new_one_is_whole(source, tmp_path):
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"older")
    with pytest.raises(ZeroDivisionError):
        convert(source, target, written=lambda done, of: done / 0)
    assert target.read_bytes() == b"older"
    convert(source, target)
    assert len(load_file(target)) == len(expected_shapes(CONFIG))


def test_a_full_disk_is_seen_before(source, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    message = refusal(source, tmp_path / "out.safetensors")
    assert re.search(r"out\.safetensors needs \d+ kB and .* has 1\.00 kB left: make room", message)
    assert files(tmp_path) == ["take"]


@pytest.mark.case("Files", "another model's file (named)")
def test_what_is_not_converted(source, tmp_path):
    out = tmp_path / "out.safetensors"
    assert "must end in .safetensors" in refusal(source, tmp_path / "out.bin")
    assert "there is no folder" in refusal(source, tmp_path / "absent" / "out.safetensors")
    assert "there is no file" in refusal(tmp_path / "absent", out)
    assert "is what is to be converted" in refusal(source, source / "one.safetensors")
    (tmp_path / "link.safetensors").symlink_to(source / "two.safetensors")
    assert "is what is to be converted" in refusal(source, tmp_path / "link.safetensors")
    convert(source, out, "fp8")
    assert "out.safetensors is already quantised: convert the file it was made from" in refusal(
        out, tmp_path / "two.safetensors"
    )
    save_file({"adaln_single.emb.timestep_embedder.linear_1.bias": torch.ones(2)}, tmp_path / "ltx.safetensors")
    assert "ltx.safetensors is LTX-Video" in refusal(tmp_path / "ltx.safetensors", tmp_path / "two.safetensors")
    assert files(tmp_path) == ["link.safetensors", "ltx.safetensors", "out.safetensors", "take"]


def test_what_cannot_work_is_known_beforehand(source, weights, tmp_path):
    out, table = tmp_path / "out.safetensors", tmp_path / "table.csv"
    shard_file = source / "one.safetensors"
    before = shard_file.read_bytes()
    for report in (shard_file, tmp_path / "other.safetensors", tmp_path, tmp_path / "nowhere" / "table.csv"):
        with pytest.raises(CheckpointError, match=r"is what is to be converted|must be a \.csv in a folder"):
            convert(source, out, report=report)
    (tmp_path / "folder.safetensors").mkdir()
    assert "is a folder, not a file" in refusal(source, tmp_path / "folder.safetensors")
    whole = {name: (tensor.to(torch.int8) if "ffn" in name else tensor) for name, tensor in weights.items()}
    save_file(whole, tmp_path / "int8.safetensors", {CONFIG_KEY: CONFIG.to_json()})
    assert "holds whole numbers instead of weights in " in refusal(tmp_path / "int8.safetensors", out)
    assert shard_file.read_bytes() == before
    assert not out.exists() and not table.exists()


def test_a_file_saved_by_the_host_is_converted(weights, tmp_path):
    tensors = weights | {CONFIG_KEY: torch.tensor(list(CONFIG.to_json().encode()), dtype=torch.uint8)}
    save_file({f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "s.safetensors")
    convert(tmp_path / "s.safetensors", tmp_path / "out.safetensors")
    tensors, metadata = load_state_dict(tmp_path / "out.safetensors")
    assert set(tensors) == set(weights) and config_of(metadata) == CONFIG


def test_from_the_command_line(source, tmp_path, capsys):
    target, report = tmp_path / "out.safetensors", tmp_path / "report.csv"
    assert main(["convert", str(source), str(target), "--dtype", "fp8", "--report", str(report)]) == 0
    written = capsys.readouterr().out
    assert written.startswith(f"{target}: the joint model in fp8, ")
    rows = list(csv.DictReader(report.open()))
    assert {row["tensor"] for row in rows} == set(expected_shapes(CONFIG))
    worst = max(rows, key=lambda row: float(row["relative_l2_error"]))
    assert worst["tensor"] in written.splitlines()[2] and (worst["from"], worst["to"]) == ("float32", "float8_e4m3fn")
    assert main(["convert", str(source), str(source / "one.safetensors")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("sent", ENDINGS)
def test_ending_it_leaves_nothing(source, tmp_path, sent):
    """Sent from inside, when a part is written: the same place on every machine."""
    program = f"""
import os, signal, sys
from uniavgen_core import __main__, convert
for ending in __main__.ENDINGS:
    signal.signal(ending, __main__.leave)
whole = convert.convert
def ending(source, target, dtype, tokenizer, report, written):
    return whole(source, target, dtype, tokenizer, report, lambda *_: os.kill(os.getpid(), {int(sent)}))
convert.convert = ending
sys.exit(__main__.main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", program, "convert", str(source), str(tmp_path / "out.safetensors")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130 and "interrupted: no file was written" in done.stderr
    assert files(tmp_path) == ["take"]
