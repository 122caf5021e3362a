"""Vocoders from files: BigVGAN and Vocos, small and random, against the classes called directly."""

from __future__ import annotations

import builtins
import json
import math
import shutil
import socket
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from safetensors.torch import save_file
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniBigVGANConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavBigVGANModel
from vocos import Vocos
from vocos.feature_extractors import MelSpectrogramFeatures
from vocos.pretrained import instantiate_class

from uniavgen_core.audio.mel import filterbank, log_mel
from uniavgen_core.checkpoint import CheckpointError
from uniavgen_core.vocoder import NeuralVocoder, bigvgan, load_vocoder, neural, vocos
from uniavgen_core.vocoder.bridge import PUBLIC_HOP, between_frames, public_filters, spectrum_behind, to_public_mel
from uniavgen_core.vocoder.chunks import decode_in_chunks
from uniavgen_core.vocoder.load import kind_of

RELEASE = {  # of the published config.json
    "mel_dim": 80,
    "upsample_initial_channel": 1536,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "upsample_rates": [5, 3, 2, 2, 2, 2],
    "upsample_kernel_sizes": [11, 7, 4, 4, 4, 4],
}
SMALL = {**RELEASE, "upsample_initial_channel": 64}
EXACT = 2e-5  # sums in another order
DECIBEL = 20 / math.log(10)


def mel(frames: int, items: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(items, 80, frames, generator=torch.Generator().manual_seed(seed)) * 2 - 5


def vocos_config(declared: dict, bins: int = 80, hop: int = 240, padding: str = "same", **backbone) -> dict:
    backbone = {"input_channels": bins, "dim": 16, "intermediate_dim": 24, "num_layers": 3} | backbone
    head = {"dim": 16, "n_fft": 1024, "hop_length": hop, "padding": padding}
    return {
        "feature_extractor": {"class_path": "vocos.feature_extractors.MelSpectrogramFeatures", "init_args": declared},
        "backbone": {"class_path": "vocos.models.VocosBackbone", "init_args": backbone},
        "head": {"class_path": "vocos.heads.ISTFTHead", "init_args": head},
    }


PUBLIC_CONFIG = vocos_config({"n_mels": 100, "padding": "center"}, bins=100, hop=256, padding="center")


def save_vocos(folder: Path, config: dict, pickle: bool = False) -> Vocos:
    """A random Vocos in a folder, and itself. The file has the published layout, mel filters included."""
    torch.manual_seed(1)
    parts = [instantiate_class((), config[name]) for name in ("backbone", "head")]
    model = Vocos(MelSpectrogramFeatures(), *parts).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
        model.head.out.bias.sub_(2)
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if pickle:
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors")
    return model


@pytest.fixture(scope="module")
def bigvgan_model() -> Qwen2_5OmniToken2WavBigVGANModel:
    torch.manual_seed(0)
    model = Qwen2_5OmniToken2WavBigVGANModel(Qwen2_5OmniBigVGANConfig(**SMALL)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.1 if "act" in name else parameter[0].numel() ** -0.5))
        model.conv_post.weight.mul_(0.2 / model(mel(60)).std() * 0.01)  # it clips nearly all of that
        model.conv_post.weight.mul_(0.2 / model(mel(60)).std())
    return model


@pytest.fixture(scope="module")
def bigvgan_folder(bigvgan_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "code2wav_bigvgan_model"
    bigvgan_model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def own_config() -> dict:
    return vocos_config(vocos.OWN)


@pytest.fixture(scope="module")
def both(bigvgan_folder, own_config, tmp_path_factory) -> dict[str, NeuralVocoder]:
    folder = tmp_path_factory.mktemp("models")
    save_vocos(folder / "own", own_config)
    save_vocos(folder / "public", PUBLIC_CONFIG)
    folders = {"BigVGAN": bigvgan_folder, "Vocos": folder / "own", "public Vocos": folder / "public"}
    return {name: load_vocoder(path) for name, path in folders.items()}


KINDS = ("BigVGAN", "Vocos", "public Vocos")


# what they compute


def test_bigvgan_is_transformers_own(bigvgan_model, bigvgan_folder):
    """The log-mel of the released code goes into the class as it is; what comes out is the sound."""
    vocoder = load_vocoder(bigvgan_folder)
    with torch.no_grad():
        expected = bigvgan_model(mel(31))
    sound = vocoder.decode(mel(31))
    assert sound.shape == (1, 1, 31 * 240) and sound.dtype == torch.float32
    assert 0.1 < expected.std() < 0.3
    assert torch.equal(sound[0, 0], expected)


def test_bigvgan_scales_the_natural_log_mel_itself(bigvgan_model):
    """20 log10(exp(x)) - 20 dB, from -115 ... 0 to -1 ... 1: what the module's docstring says."""
    x = torch.linspace(-14, 4, 80)[None, :, None]
    decibel = (x * DECIBEL).clamp(min=-115) - 20
    expected = (2 * (decibel + 115) / 115 - 1).clamp(-1, 1)
    assert torch.allclose(bigvgan_model.process_mel_spectrogram(x), expected, atol=1e-5)


@pytest.mark.parametrize("pickle", [False, True])
def test_vocos_on_our_mel_is_the_packages_own(tmp_path, own_config, pickle):
    model = save_vocos(tmp_path, own_config, pickle)
    sound = load_vocoder(tmp_path).decode(mel(31))
    expected = model.decode(mel(31))
    assert sound.shape == (1, 1, 31 * 240) and expected.std() > 1e-3
    assert torch.allclose(sound[0], expected.clamp(-1, 1), atol=EXACT)


def test_vocos_with_residual_blocks(tmp_path, own_config):
    config = {**own_config, "backbone": {"class_path": "vocos.models.VocosResNetBackbone"}}
    config["backbone"]["init_args"] = {"input_channels": 80, "dim": 16, "num_blocks": 2}
    model = save_vocos(tmp_path, config)
    assert torch.allclose(load_vocoder(tmp_path).decode(mel(9))[0], model.decode(mel(9)).clamp(-1, 1), atol=EXACT)


def test_public_vocos_decodes_the_bridged_mel(tmp_path):
    model = save_vocos(tmp_path, PUBLIC_CONFIG)
    sound = load_vocoder(tmp_path).decode(mel(31))
    expected = model.decode(to_public_mel(mel(31)))
    assert sound.shape == (1, 1, 31 * 240)
    assert torch.allclose(sound[0], expected[:, : 31 * 240].clamp(-1, 1), atol=EXACT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 17, 64])
def test_length_and_range(both, kind, frames):
    sound = both[kind].decode(mel(frames, items=2).to(torch.bfloat16) * 3)
    assert sound.shape == (2, 1, frames * 240) and sound.dtype == torch.float32
    assert sound.isfinite().all() and sound.abs().max() <= 1


# chunks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 50, 149, 150])
def test_chunks_join_without_a_seam(both, kind, chunk, monkeypatch):
    whole_mel = mel(70 if chunk == 1 else 150)
    monkeypatch.setattr(neural, "CHUNK", 1000)
    whole = both[kind].decode(whole_mel)
    monkeypatch.setattr(neural, "CHUNK", chunk)
    steps = []
    parts = both[kind].decode(whole_mel, lambda done, total: steps.append((done, total)))
    assert whole.shape == parts.shape
    assert float((whole - parts).abs().max()) < EXACT
    frames = both[kind].convert(whole_mel).shape[2] if both[kind].convert else whole_mel.shape[2]
    total = math.ceil(frames / chunk)
    assert steps == [(done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_context_is_what_the_network_reaches(both, kind):
    """A frame that is no number spoils every sample that depends on it: none beyond the context, some close to it."""
    vocoder, middle = both[kind], 60
    bins = 100 if kind == "public Vocos" else 80
    features = mel(2 * middle + 1)[:, :1].repeat(1, bins, 1)
    features[..., middle] = torch.nan
    with torch.inference_mode():
        samples = vocoder.network(features).reshape(-1)
    spoilt = samples.isnan().nonzero().flatten()
    frames = spoilt.div(vocoder.hop, rounding_mode="floor") - middle
    farthest = int(frames.abs().max())
    assert vocoder.context - 4 <= farthest <= vocoder.context


def test_memory_does_not_grow_with_length():
    """However long the mel, no call sees more than a chunk with its context."""
    seen = []

    def decode(features: torch.Tensor) -> torch.Tensor:
        seen.append(features.shape[-1])
        return features[0].repeat_interleave(4)

    ramp = torch.arange(1000.0)[None]
    assert torch.equal(decode_in_chunks(decode, ramp, 5, 20, 4), ramp[0].repeat_interleave(4))
    assert max(seen) == 30 and len(seen) == 50


def test_what_progress_raises_ends_the_decoding(both, monkeypatch):
    monkeypatch.setattr(neural, "CHUNK", 10)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        both["Vocos"].decode(mel(100), stop)


# the release's size


def test_release_size():
    """Names, number of weights and context of the released BigVGAN, without memory for it."""
    config = Qwen2_5OmniBigVGANConfig(**RELEASE)
    with torch.device("meta"):
        model = Qwen2_5OmniToken2WavBigVGANModel(config)
    state = model.state_dict()
    assert len(state) == 449 and sum(tensor.numel() for tensor in state.values()) == 115_443_504
    assert state["ups.0.0.weight"].shape == (1536, 768, 11) and state["conv_post.weight"].shape == (1, 24, 7)
    assert not [name for name in state if "filter" in name]
    assert bigvgan.reach(config) == bigvgan.reach(Qwen2_5OmniBigVGANConfig(**SMALL)) == 37
    assert math.prod(config.upsample_rates) == 240


# the bridge


def test_public_filters_are_those_of_the_package():
    expected = MelSpectrogramFeatures().mel_spec.mel_scale.fb.T
    assert torch.allclose(public_filters(), expected, atol=2e-5)


def test_spectrum_behind_has_the_mel():
    spectrum = torch.rand(1, 513, 20, generator=torch.Generator().manual_seed(0)) * 5
    filters = torch.from_numpy(filterbank())
    estimate = spectrum_behind(filters @ spectrum)
    assert (estimate >= 0).all()
    assert torch.allclose(filters @ estimate, filters @ spectrum, rtol=2e-2, atol=1e-4)


def test_the_bridge_loses_little_below_8_khz_and_all_above():
    """A gliding voice: harmonics under a spectral slope, with breath. On recordings: see the module's docstring."""
    samples = 3840 * 10
    time = torch.arange(samples) / 24_000
    phase = 2 * torch.pi * (120 * time + 30 * time**2)
    harmonics = torch.stack([torch.sin(k * phase) / k for k in range(1, 60)]).sum(0)
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(0))
    waveform = (0.3 * harmonics + 0.02 * noise)[None]
    true = MelSpectrogramFeatures()(waveform)
    bridged = to_public_mel(log_mel(waveform))[..., : true.shape[2]]
    difference = (bridged - true)[..., 3:-3] * DECIBEL
    assert float(difference[:, :87].abs().mean()) < 1.3  # measured: see the module's docstring for recordings
    assert float(difference[:, 88:].mean()) < -20


def test_bridged_frames_lie_where_they_should():
    """A linear change in time is met exactly, at 256 k samples instead of 120 + 240 i."""
    ours = (120 + 240 * torch.arange(64.0)).expand(1, 1, 64)
    theirs = between_frames(ours)[0, 0]
    assert len(theirs) == 64 * 240 // PUBLIC_HOP + 1
    assert torch.allclose(theirs[1:-1], PUBLIC_HOP * torch.arange(1, len(theirs) - 1.0), atol=1e-2)


# files


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


def test_bigvgan_as_pickle_is_refused_unread(bigvgan_folder, bigvgan_model, tmp_path):
    folder = copied(bigvgan_folder, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80cos\nsystem\n.")
    with pytest.raises(CheckpointError, match="a PyTorch pickle, which can run code"):
        load_vocoder(folder)


def test_damaged_bigvgan(bigvgan_folder, tmp_path):
    folder = copied(bigvgan_folder, tmp_path / "model")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-10])
    with pytest.raises(CheckpointError, match="truncated"):
        load_vocoder(folder)


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


def test_vocos_weights_are_tensors_only(tmp_path, own_config):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(own_config))
    with pytest.raises(CheckpointError, match=r"neither a \.safetensors file nor pytorch_model.bin"):
        load_vocoder(tmp_path)
    torch.save({"backbone.embed.weight": Malice()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="something else than tensors"):
        load_vocoder(tmp_path)
    torch.save([torch.zeros(2)], tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="no list of named tensors"):
        load_vocoder(tmp_path)
    torch.save({"other": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"missing .*backbone.embed.weight.*surplus \(1\): other"):
        load_vocoder(tmp_path)


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


def test_a_hub_id_is_read_from_the_cache_and_fetched_only_if_allowed(hub, own_config, bigvgan_folder):
    with pytest.raises(CheckpointError, match="nor a repository of that name in the Hugging Face cache"):
        load_vocoder("someone/vocos")
    with pytest.raises(CheckpointError, match=r"someone/vocos could not be downloaded \(the network is down\): check"):
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
