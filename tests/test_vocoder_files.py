"""Which files are vocoders, and what is said of others."""

from __future__ import annotations

import builtins
import json
import shutil
import socket
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from vocoders import EXACT, mel, save_vocos, vocos_config

from uniavgen_core.checkpoint import CheckpointError
from uniavgen_core.vocoder import load_vocoder, vocos
from uniavgen_core.vocoder.load import check_hub_id, from_hub, kind_of

pytest_plugins = ("vocoders",)


def copied(folder: Path, target: Path, **changes) -> Path:
    shutil.copytree(folder, target)
    path = target / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return target


def test_a_file_stands_for_its_folder_and_nothing_is_asked_of_the_network(bigvgan_folder, monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("the network was used"))
    state = torch.random.get_rng_state()
    for path in (bigvgan_folder / "model.safetensors", bigvgan_folder / "config.json", str(bigvgan_folder)):
        assert load_vocoder(path).context == 37
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.case("Files", "another model's file (named)")
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mel_dim": 100}, "mels of 100 bins into 240 samples a frame, UniAVGen's mel has 80 bins and 240 samples"),
        ({"upsample_rates": [4, 4, 2, 2, 2, 2]}, "into 256 samples a frame"),
        ({"upsample_kernel_sizes": [10, 7, 4, 4, 4, 4]}, "use the one of the release"),
        ({"upsample_kernel_sizes": [11, 7]}, "does not describe a BigVGAN"),
        ({"upsample_initial_channel": "many"}, "does not describe a BigVGAN"),
        ({"upsample_initial_channel": 128}, "of another shape"),
        ({"model_type": "umt5", "architectures": ["UMT5EncoderModel"]}, "holds no vocoder"),
    ],
)
def test_bigvgan_that_does_not_fit(bigvgan_folder, tmp_path, changes, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        load_vocoder(copied(bigvgan_folder, tmp_path / "model", **changes))


@pytest.mark.case("Files", "pickle payload (never executed)")
def test_bigvgan_as_pickle_is_refused_unread(bigvgan_folder, bigvgan_model, tmp_path):
    folder = copied(bigvgan_folder, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80cos\nsystem\n.")
    with pytest.raises(CheckpointError, match="a PyTorch pickle, which can run code"):
        load_vocoder(folder)


@pytest.mark.case("Files", "truncated weights (file and size named)")
def test_damaged_bigvgan(bigvgan_folder, tmp_path):
    folder = copied(bigvgan_folder, tmp_path / "model")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-10])
    with pytest.raises(CheckpointError, match="truncated"):
        load_vocoder(folder)


@pytest.mark.case("Files", "another model's file (named)")
@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (vocos_config({}), "another mel than UniAVGen's"),
        (vocos_config({"n_mels": 80, "hop_length": 240, "padding": "same"}), "f_max 12000.0 instead of 8000.0"),
        (vocos_config({**vocos.OWN, "mel_scale": "htk"}), "mel_scale htk instead of slaney"),
        (vocos_config(vocos.OWN, hop=256), "its parts differ from what it says"),
        (vocos_config(vocos.OWN, bins=100), "its parts differ from what it says"),
        (vocos_config({"n_mels": 100, "sample_rate": 44100}, bins=100, hop=256), "sample_rate 44100 instead of 24000"),
        (vocos_config(vocos.OWN, depth=3), "does not describe a Vocos"),
        (vocos_config(vocos.OWN) | {"head": {"class_path": "os.system", "init_args": {}}}, "does not describe a Vocos"),
        ({"feature_extractor": {}}, "does not describe a Vocos"),
    ],
)
def test_vocos_that_does_not_fit(tmp_path, config, sentence):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match=sentence):
        load_vocoder(tmp_path)


def test_vocos_conditioned_on_a_bandwidth_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(vocos_config(vocos.OWN, adanorm_num_embeddings=4)))
    with pytest.raises(CheckpointError, match="bandwidth"):
        load_vocoder(tmp_path)


class Malice:
    def __reduce__(self):
        return (pytest.fail, ("the pickle ran",))


@pytest.mark.case("Files", "missing, surplus, misshapen tensors (listed)")
@pytest.mark.case("Files", "pickle payload (never executed)")
def test_vocos_weights_are_tensors_only(tmp_path, own_config):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(own_config))
    with pytest.raises(CheckpointError, match=r"neither a \.safetensors file nor pytorch_model.bin"):
        load_vocoder(tmp_path)
    torch.save({"backbone.embed.weight": Malice()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        load_vocoder(tmp_path)
    torch.save([torch.zeros(2)], tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="something other than tensors by name"):
        load_vocoder(tmp_path)
    torch.save({"other": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"missing .*backbone.embed.weight.*surplus \(1\): other"):
        load_vocoder(tmp_path)


@pytest.mark.case("Life", "a missing optional package disables only what needs it")
@pytest.mark.parametrize(
    ("package", "sentence"),
    [("vocos", "pip install vocos"), ("transformers", "pip install -U transformers")],
)
def test_a_missing_package_is_named_with_its_command(
    tmp_path, own_config, bigvgan_folder, monkeypatch, package, sentence
):
    folder = bigvgan_folder
    if package == "vocos":
        folder = tmp_path
        save_vocos(folder, own_config)
    original = builtins.__import__

    def without(name, *rest, **named):
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {name!r}")
        return original(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=sentence):
        load_vocoder(folder)


def test_what_is_no_vocoder(tmp_path):
    assert kind_of(tmp_path) is None
    with pytest.raises(CheckpointError, match=r"holds no vocoder: it needs the config\.json of a Qwen2_5OmniToken2Wav"):
        load_vocoder(tmp_path)
    (tmp_path / "config.json").write_text("[1")
    assert kind_of(tmp_path) is None
    with pytest.raises(CheckpointError, match="there is no vocoder at /nowhere at all"):
        load_vocoder("/nowhere at all")


@pytest.mark.parametrize("shape", [(80, 5), (1, 100, 5), (1, 80, 0), (0, 80, 5)])
def test_other_shapes_are_refused(both, shape):
    with pytest.raises(ValueError, match="decodes log-mels"):
        both["Vocos"].decode(torch.zeros(shape))


# the hub


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty Hugging Face cache, and no way to the network."""
    original = huggingface_hub.snapshot_download
    calls = []

    def snapshot_download(repo: str, **options):
        calls.append((repo, options))
        if not options["local_files_only"]:
            raise OSError("the network is down\nwith details")
        return original(repo, **options, cache_dir=tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "calls", calls, raising=False)
    return tmp_path


NO_HUB_IDS = ("/x/y", "../x", "a/../b", "a/b/..", "C:/x/y", "C:x/y", "a\\b", "a/b\0", "a//b", "a/b/", "/a/b", "a")
NO_HUB_IDS += (".a/b", "a/.b", "~/a", "", "a/b\n", "a b/c")


@pytest.mark.case("Files", "a path in place of a hub id")
@pytest.mark.parametrize("text", NO_HUB_IDS)
def test_what_is_no_name_of_the_hub(text):
    with pytest.raises(ValueError, match="is not a hub_id: give owner/name or owner/name/folder of the Hub"):
        check_hub_id(text)


def test_a_name_of_the_hub_is_not_a_folder_of_that_name(hub, bigvgan_folder, tmp_path, monkeypatch):
    shutil.copytree(bigvgan_folder, tmp_path / "someone" / "vocos.1_a-b")
    monkeypatch.chdir(tmp_path)
    check_hub_id("someone/vocos.1_a-b")
    with pytest.raises(CheckpointError, match="nor a repository of that name in the Hugging Face cache"):
        from_hub("someone/vocos.1_a-b", allow_download=False)
    assert load_vocoder("someone/vocos.1_a-b").context == 37  # which takes folders


@pytest.mark.case("Disk and network", "a connection without the user's word")
@pytest.mark.case("Disk and network", "no connection")
def test_a_hub_id_is_read_from_the_cache_and_fetched_only_if_allowed(hub, own_config, bigvgan_folder):
    with pytest.raises(CheckpointError, match="nor a repository of that name in the Hugging Face cache"):
        load_vocoder("someone/vocos")
    with pytest.raises(CheckpointError, match=r"someone/vocos could not be downloaded \(the network is down\)"):
        load_vocoder("someone/vocos", allow_download=True)
    for name in ("vocos", "bundle"):
        repository = hub / f"models--someone--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    model = save_vocos(hub / "models--someone--vocos" / "snapshots" / ("0" * 40), own_config)
    shutil.copytree(bigvgan_folder, hub / "models--someone--bundle" / "snapshots" / ("0" * 40) / "voice")
    expected = model.decode(mel(5)).clamp(-1, 1)
    assert torch.allclose(load_vocoder("someone/vocos").decode(mel(5))[0], expected, atol=EXACT)
    assert load_vocoder("someone/bundle/voice").context == 37
    repo, options = huggingface_hub.calls[-1]
    assert repo == "someone/bundle"
    assert options["allow_patterns"] == [
        "voice/config.json",
        "voice/config.yaml",
        "voice/model.safetensors",
        "voice/pytorch_model.bin",
    ]
