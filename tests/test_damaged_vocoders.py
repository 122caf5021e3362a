"""Vocoders in bad files: what is said, and that neither memory nor time is spent on what a description claims."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from damaged import PAGE, POINTER, SPECIAL, answer, make_special
from safetensors.torch import load_file, save_file
from vocoders import PUBLIC_CONFIG, RELEASE, save_vocos, vocos_config

from uniavgen_core.checkpoint import CheckpointError
from uniavgen_core.vocoder import load_vocoder, vocos
from uniavgen_core.vocoder.bigvgan import MODEL_TYPE
from uniavgen_core.vocoder.load import kind_of

pytest_plugins = ("vocoders",)

SHORT = {**RELEASE, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3, 5]]}
CONFIGS = {
    "config.json": json.dumps({"model_type": MODEL_TYPE, **SHORT}),
    "config.yaml": yaml.safe_dump(PUBLIC_CONFIG),
}


def refusal(folder: Path) -> str:
    error = answer(lambda: load_vocoder(folder))
    assert isinstance(error, CheckpointError), error
    return str(error)


def described(folder: Path, **changes: object) -> Path:
    """A BigVGAN's description with changes, beside weights of something else."""
    (folder / "config.json").write_text(json.dumps({"model_type": MODEL_TYPE, **RELEASE, **changes}))
    save_file({"a": torch.ones(1)}, folder / "model.safetensors")
    return folder


def memory() -> int:
    """The most bytes that this process has had."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.skipif(sys.platform == "win32", reason="it does not tell what memory was had")
@pytest.mark.case("Files", "vocoder description that claims to be huge")
def test_a_bigvgan_is_not_built_before_its_weights_are_known(tmp_path):
    """As it says, its first upsampling alone would have 6 GB."""
    before = memory()
    assert "missing (" in refusal(described(tmp_path, upsample_initial_channel=1 << 14))
    assert memory() - before < 1_000_000_000


@pytest.mark.case("Files", "vocoder description that claims to be huge")
@pytest.mark.parametrize(
    "changes",
    [
        {"upsample_initial_channel": 10**9},
        {"upsample_rates": [1] * 100_000, "upsample_kernel_sizes": [1] * 100_000},
        {"resblock_kernel_sizes": [3] * 17, "resblock_dilation_sizes": [[1]] * 17},
        {"mel_dim": 10**30},
    ],
)
def test_sizes_of_a_bigvgan_have_bounds(tmp_path, changes):
    message = refusal(described(tmp_path, **changes))
    assert "sizes up to 16384 and lists up to 16" in message or "holds no vocoder" in message or "bytes" in message


@pytest.mark.case("Files", "vocoder description that claims to be huge")
@pytest.mark.parametrize(
    "change", [{"num_layers": 10**9}, {"dim": 10**9}, {"intermediate_dim": 2**62}, {"num_layers": -1}, {"dim": 0}]
)
def test_sizes_of_a_vocos_have_bounds(tmp_path, change):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(vocos_config(vocos.OWN, **change)))
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert refusal(tmp_path)


@pytest.mark.case("Files", "short description that unfolds into an endless one")
def test_a_description_does_not_unfold(tmp_path):
    """Nine lists of nine of the one before: 250 bytes, and 400 million words where they are written out."""
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
    config = yaml.safe_dump(vocos_config(vocos.OWN)).replace("f_min: 0", "f_min: *a9")
    (tmp_path / "config.yaml").write_text(bomb + config)
    assert "it refers to its own parts" in refusal(tmp_path)


@pytest.mark.case("Files", "description nested without end")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_description_nested_without_end(tmp_path, name):
    """Folders are looked through when the nodes are listed: one such file must not end that."""
    for length in (8_000, 60_000):
        (tmp_path / name).write_text("[" * length + "feature_extractor")
        assert answer(lambda: kind_of(tmp_path)) in (None, "Vocos")
        assert refusal(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are files of other systems")
@pytest.mark.case("Files", "special or dangling-link paths")
@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_description_that_is_no_file(tmp_path, kind, name):
    make_special(kind, tmp_path / name)
    assert answer(lambda: kind_of(tmp_path)) is None
    assert SPECIAL[kind] in refusal(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are files of other systems")
@pytest.mark.case("Files", "special or dangling-link paths")
@pytest.mark.parametrize("kind", SPECIAL)
def test_weights_that_are_no_file(tmp_path, kind, own_config):
    for name, text in CONFIGS.items():
        for weights in ("model.safetensors", "pytorch_model.bin") if name == "config.yaml" else ("model.safetensors",):
            folder = tmp_path / weights / name
            folder.mkdir(parents=True)
            (folder / name).write_text(text)
            make_special(kind, folder / weights)
            assert SPECIAL[kind] in refusal(folder)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(POINTER, "Git-LFS", marks=pytest.mark.case("Files", "Git-LFS pointer in place of weights")),
        pytest.param(PAGE, "web page", marks=pytest.mark.case("Files", "HTML page in place of weights")),
        pytest.param(b"", "is empty", marks=pytest.mark.case("Files", "empty file")),
    ],
)
def test_what_lies_in_the_place_of_a_vocoder_is_named(tmp_path, content, sentence):
    for name, text in CONFIGS.items():
        (tmp_path / name).write_bytes(content)
        assert name in refusal(tmp_path) and sentence in refusal(tmp_path)
        (tmp_path / name).write_text(text)
        (tmp_path / "model.safetensors").write_bytes(content)
        assert "model.safetensors " in refusal(tmp_path) and sentence in refusal(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        (tmp_path / name).unlink()
    (tmp_path / "config.yaml").write_text(CONFIGS["config.yaml"])
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    assert "pytorch_model.bin " in refusal(tmp_path) and sentence in refusal(tmp_path)


@pytest.mark.case("Files", "truncated weights (file and size named)")
def test_a_truncated_pickle_of_a_vocos(tmp_path, own_config):
    save_vocos(tmp_path, own_config, pickle=True)
    data = (tmp_path / "pytorch_model.bin").read_bytes()
    (tmp_path / "pytorch_model.bin").write_bytes(data[: len(data) // 2])
    assert "pytorch_model.bin is no whole PyTorch file" in refusal(tmp_path)


@pytest.mark.case("Files", "NaN or infinite weights")
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(tmp_path, value, own_config, bigvgan_folder):
    save_vocos(tmp_path / "vocos", own_config)
    shutil.copytree(bigvgan_folder, tmp_path / "bigvgan")
    for folder in (tmp_path / "vocos", tmp_path / "bigvgan"):
        assert load_vocoder(folder)
        weights = load_file(folder / "model.safetensors")
        name = next(name for name in weights if name.endswith(".weight") and not name.startswith("feature_extractor"))
        weights[name].view(-1)[0] = value
        save_file(weights, folder / "model.safetensors")
        assert f"{folder.name} holds numbers that are NaN or infinite in {name}" in refusal(folder)
