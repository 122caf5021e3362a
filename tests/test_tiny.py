"""The built-in tiny model: its files, and what its small parts compute."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from vocos.heads import ISTFTHead
from vocos.models import VocosBackbone

from uniavgen_core.audio.mel import log_mel, peak_normalize
from uniavgen_core.checkpoint import config_of, load_state_dict
from uniavgen_core.tiny import load_tiny
from uniavgen_core.tiny.caption_encoder import TinyCaptionEncoder
from uniavgen_core.tiny.config import (
    GUIDANCE,
    SHORT_SIDE,
    TINY,
    VOCABULARY_SIZE,
    VOCODER_DIM,
    VOCODER_HIDDEN,
    VOCODER_LAYERS,
)
from uniavgen_core.tiny.load import WEIGHTS, load_part
from uniavgen_core.tiny.vae import TinyVAE, from_patches, to_patches
from uniavgen_core.tiny.vocoder import TinyVocoder
from uniavgen_core.types import AVLatent, Conditions
from uniavgen_core.video.picture import fit_picture, read_picture

ASSETS = Path(__file__).parents[1] / "assets"
PARTS = ("model", "caption_encoder", "vae", "vocoder")
SILENCE = -11.512925  # log 1e-5


@pytest.fixture(scope="module")
def vae() -> TinyVAE:
    return load_part("vae", TinyVAE)


@pytest.fixture(scope="module")
def captions() -> TinyCaptionEncoder:
    return load_part("caption_encoder", TinyCaptionEncoder)


@pytest.fixture(scope="module")
def vocoder() -> TinyVocoder:
    return load_part("vocoder", TinyVocoder)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# files


def test_files_are_small_and_whole():
    assert sorted(path.name for path in WEIGHTS.iterdir()) == sorted(f"{part}.safetensors" for part in PARTS)
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 15_000_000
    tensors, metadata = load_state_dict(WEIGHTS / "model.safetensors")
    assert config_of(metadata) == TINY
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_bundle():
    bundle = load_tiny(dtype=torch.bfloat16)
    assert bundle.short_side == SHORT_SIDE and bundle.name == "tiny" and bundle.guidance == GUIDANCE
    assert bundle.model.config == TINY and bundle.model.head.head.weight.dtype == torch.bfloat16
    assert bundle.vae.head.weight.dtype == bundle.vocoder.head.out.weight.dtype == torch.float32
    for module in (bundle.model, bundle.caption_encoder, bundle.vae, bundle.vocoder):
        assert not module.training and not any(p.requires_grad for p in module.parameters())


def test_vocabulary_has_the_size_the_model_has():
    vocabulary = load_tiny().vocabulary
    assert len(vocabulary) == VOCABULARY_SIZE == TINY.speech_vocab
    assert vocabulary.entries[0] == " " and all(len(entry) == 1 for entry in vocabulary.entries)
    assert vocabulary.unknown("It’s “fine” – really… (100 %)!") == []


def test_every_input_reaches_both_outputs():
    """No part is switched off: what is seen, said and shown all matter, if little where the portrait shows the same."""
    bundle = load_tiny()
    picture, video, audio = random(1, 48, 1, 4, 4), random(1, 48, 2, 4, 4, seed=1), random(1, 80, 31, seed=2)
    base = Conditions(bundle.caption_encoder.encode(["a man"]), torch.arange(10)[None], picture)
    others = {
        "caption": bundle.caption_encoder.encode(["a dog"]),
        "speech": torch.arange(10)[None] + 20,
        "reference_image": picture + 1,
        "reference_voice": random(1, 80, 7, seed=3),
    }

    def outputs(conditions: Conditions) -> tuple[torch.Tensor, torch.Tensor]:
        velocity = bundle.model(AVLatent(video, audio), torch.tensor([500.0]), conditions)
        return velocity.video, velocity.audio

    plain = outputs(base)
    assert all(part.isfinite().all() and part.std() > 0.3 for part in plain)
    for name, value in others.items():
        for before, after in zip(plain, outputs(Conditions(**{**vars(base), name: value})), strict=True):
            assert (after - before).norm() > 1e-5 * before.norm(), name


# VAE


def test_patches_keep_the_order():
    pixels = torch.arange(2 * 3 * 8 * 32 * 48.0).reshape(2, 3, 8, 32, 48)
    patches = to_patches(pixels, 4)
    assert patches.shape == (2, 2, 2, 3, 3 * 4 * 256)
    assert torch.equal(patches[1, 1, 0, 2].reshape(3, 4, 16, 16), pixels[1, :, 4:, :16, 32:])
    assert torch.equal(from_patches(patches, 3, 4), pixels)


@pytest.mark.parametrize("latents", [1, 2, 3, 4, 5])
def test_vae_shapes(vae, latents):
    pixels = random(2, 3, 4 * latents - 3, 32, 64).clamp(-1, 1)
    code = vae.encode(pixels)
    assert code.shape == (2, 48, latents, 2, 4) and vae.decode(code).shape == pixels.shape
    assert torch.allclose(vae.encode(pixels[1:]), code[1:], atol=1e-5)


def test_vae_keeps_a_portrait(vae):
    """The drawn portrait of the project, still and in 9 frames: PSNR in dB."""
    pixels = fit_picture(read_picture(ASSETS / "portrait.png"), 128, 128)
    for frames in (1, 9):
        still = pixels.expand(-1, -1, frames, -1, -1)
        code = vae.encode(still)
        error = (vae.decode(code) - still) / 2
        assert -10 * error.square().mean().log10() > 25
        assert 0.3 < code.std() < 3


def test_a_decoded_frame_is_limited_and_does_not_depend_on_the_others(vae):
    code = 2 * random(1, 48, 20, 2, 2)  # 77 frames, more than are drawn at once
    whole = vae.decode(code)
    assert whole.abs().max() == 1
    torch.testing.assert_close(vae.decode(code[:, :, :2]), whole[:, :, :5], atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(1, 3, 2, 32, 32), (1, 3, 1, 30, 32), (1, 4, 1, 32, 32), (3, 1, 32, 32)])
def test_vae_refuses_other_pixels(vae, shape):
    with pytest.raises(ValueError, match=r"4n \+ 1|encodes pixels"):
        vae.encode(torch.zeros(shape))
    with pytest.raises(ValueError, match="decodes latents"):
        vae.decode(torch.zeros(shape))


# caption encoder


def test_a_batch_of_captions_equals_its_members(captions):
    texts = ["", "ein Mann", "une femme à la fenêtre", "一个女人"]
    batch = captions.encode(texts)
    assert batch.shape == (4, len(texts[2].encode()) + 1, 64)
    for text, row in zip(texts, batch, strict=True):
        alone = captions.encode([text])[0]
        assert len(alone) == len(text.encode()) + 1
        torch.testing.assert_close(row[: len(alone)], alone, atol=1e-5, rtol=1e-5)
        assert not row[len(alone) :].any()


def test_an_empty_caption_is_one_symbol(captions):
    code = captions.encode([""])
    assert code.shape == (1, 1, 64) and code.isfinite().all() and code.std() > 0.5


def test_order_and_content_of_a_caption_matter(captions):
    """Far more than rounding changes them, which is below 1e-5; how much is the training's choice."""
    one, two, three = captions.encode(["ab ab", "ba ab", "ab ac"])
    assert not torch.allclose(one, two, atol=1e-2) and not torch.allclose(one, three, atol=1e-2)
    same = captions.encode(["a" * 20])[0]  # the place alone tells these apart
    assert not torch.allclose(same[4], same[12], atol=1e-2)


def test_a_long_caption_is_cut_and_says_so(captions, caplog):
    with caplog.at_level(logging.WARNING):
        captions.encode(["x" * 255])
        assert not caplog.records
        cut = captions.encode(["x" * 300])
    assert "the last 45 are cut off" in caplog.text
    assert torch.equal(cut, captions.encode(["x" * 255])) and cut.shape == (1, TINY.text_len, 64)
    with pytest.raises(ValueError, match="no caption"):
        captions.encode([])


# vocoder


@pytest.mark.parametrize("frames", [1, 2, 5, 300])
def test_vocoder_length(vocoder, frames):
    mel = random(2, 80, frames) - 3
    sound = vocoder.decode(mel)
    assert sound.shape == (2, 1, frames * 240) and sound.isfinite().all() and sound.abs().max() <= 1
    assert torch.allclose(vocoder.decode(mel[1:]), sound[1:], atol=1e-5)
    assert torch.equal(vocoder.decode(mel), sound)


def test_the_vocoder_is_a_vocos(vocoder):
    """The same numbers as the modules of the vocos package, on the weights that the package's user gets."""
    backbone = VocosBackbone(80, VOCODER_DIM, VOCODER_HIDDEN, VOCODER_LAYERS)
    head = ISTFTHead(VOCODER_DIM, n_fft=1024, hop_length=240, padding="same")
    backbone.load_state_dict(vocoder.backbone.state_dict())
    head.load_state_dict(vocoder.head.state_dict() | {"istft.window": torch.hann_window(1024)})
    mel = (2 * random(2, 80, 70) - 5).clamp(min=SILENCE)
    with torch.no_grad():
        theirs = head.eval()(backbone.eval()(mel))[:, None]
    assert 0.01 < theirs.abs().max() < 1
    torch.testing.assert_close(vocoder.decode(mel), theirs, atol=1e-5, rtol=0)


def test_silence_stays_silent(vocoder):
    assert vocoder.decode(torch.full((1, 80, 50), SILENCE)).abs().max() < 1e-2


@pytest.mark.parametrize("pitch", [110, 140, 185, 260])
def test_a_voiced_mel_survives_the_way_through_sound(vocoder, pitch):
    """Puffs of a glottis through four formants, which no training held. Real speech: tests/training/test_words.py."""
    time = torch.arange(24_000) / 24_000
    frequencies = torch.arange(1, 8000 // pitch) * pitch
    formants = sum(1 / (1 + ((frequencies - centre) / 150) ** 2) for centre in (600, 1400, 2500, 3500))
    waves = torch.cos(2 * torch.pi * frequencies[:, None] * time) / frequencies[:, None].sqrt()
    puffs = (formants[:, None] * waves).sum(dim=0) * (0.2 + 0.8 * torch.sin(9 * time) ** 2)
    mel = log_mel((0.7 * peak_normalize(puffs) + 1e-4 * random(24_000))[None])
    again = log_mel(vocoder.decode(mel)[:, 0])
    assert again.shape == mel.shape
    assert torch.corrcoef(torch.stack((mel.flatten(), again.flatten())))[0, 1] > 0.9


def test_vocoder_refuses_other_mels(vocoder):
    for shape in ((1, 100, 5), (80, 5), (1, 80, 0)):
        with pytest.raises(ValueError, match="decodes log-mels"):
            vocoder.decode(torch.zeros(shape))


def test_the_vocoder_stays_finite_for_any_mel(vocoder):
    for level in (-1e4, 200.0, 1e30):
        sound = vocoder.decode(torch.full((1, 80, 9), level))
        assert sound.isfinite().all()
        assert sound.abs().max() <= 1
