"""Vocoders from files: BigVGAN and Vocos, small and random, against the classes called directly."""

from __future__ import annotations

import math

import pytest
import torch
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniBigVGANConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavBigVGANModel
from vocoders import DECIBEL, EXACT, KINDS, PUBLIC_CONFIG, RELEASE, SMALL, mel, save_vocos
from vocos.feature_extractors import MelSpectrogramFeatures

from uniavgen_core.audio.mel import filterbank, log_mel
from uniavgen_core.vocoder import bigvgan, load_vocoder, neural
from uniavgen_core.vocoder.bridge import PUBLIC_HOP, between_frames, public_filters, spectrum_behind, to_public_mel
from uniavgen_core.vocoder.chunks import decode_in_chunks

pytest_plugins = ("vocoders",)


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
