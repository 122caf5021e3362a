"""The built-in tiny model: its files, and what its small parts compute."""

from __future__ import annotations

import logging

import pytest
import torch

from uniavgen_core.audio.mel import log_mel
from uniavgen_core.checkpoint import config_of, load_state_dict
from uniavgen_core.tiny import load_tiny
from uniavgen_core.tiny.caption_encoder import TinyCaptionEncoder
from uniavgen_core.tiny.config import SHORT_SIDE, TINY, VOCABULARY_SIZE
from uniavgen_core.tiny.load import WEIGHTS, load_part
from uniavgen_core.tiny.make import make, slaney_frequencies
from uniavgen_core.tiny.vae import TinyVAE, from_patches, to_patches
from uniavgen_core.tiny.vocoder import TinyVocoder
from uniavgen_core.types import AVLatent, Conditions

PARTS = ("model", "caption_encoder", "vae", "vocoder")
SILENCE = -11.512925  # log 1e-5


@pytest.fixture(scope="module")
def vae() -> TinyVAE:
    return load_part("vae", TinyVAE)[0]


@pytest.fixture(scope="module")
def captions() -> TinyCaptionEncoder:
    return load_part("caption_encoder", TinyCaptionEncoder)[0]


@pytest.fixture(scope="module")
def vocoder() -> TinyVocoder:
    return load_part("vocoder", TinyVocoder)[0]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# files


def test_files_are_small_and_say_they_are_untrained():
    assert sorted(path.name for path in WEIGHTS.iterdir()) == sorted(f"{part}.safetensors" for part in PARTS)
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 4_000_000
    for part in PARTS:
        assert load_state_dict(WEIGHTS / f"{part}.safetensors")[1]["trained"] == "no"
    tensors, metadata = load_state_dict(WEIGHTS / "model.safetensors")
    assert config_of(metadata) == TINY
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_the_files_are_what_make_makes(tmp_path):
    for folder in ("once", "twice"):
        make(tmp_path / folder)
    for part in PARTS:
        name = f"{part}.safetensors"
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()
        ours, metadata = load_state_dict(WEIGHTS / name)
        made, made_metadata = load_state_dict(tmp_path / "once" / name)
        assert metadata == made_metadata and list(ours) == list(made)
        for key in ours:  # another processor may round the last bit otherwise
            torch.testing.assert_close(made[key], ours[key], rtol=2e-2, atol=1e-5)


def test_bundle(caplog):
    with caplog.at_level(logging.WARNING):
        bundle = load_tiny(dtype=torch.bfloat16)
    assert [r.getMessage()[:40] for r in caplog.records] == ["The built-in tiny model is untrained: it"]
    assert not bundle.trained and bundle.short_side == SHORT_SIDE and bundle.name == "tiny"
    assert bundle.model.config == TINY and bundle.model.head.head.weight.dtype == torch.bfloat16
    assert bundle.vae.first_basis.dtype == bundle.vocoder.projection.weight.dtype == torch.float32
    for module in (bundle.model, bundle.caption_encoder, bundle.vae, bundle.vocoder):
        assert not module.training and not any(p.requires_grad for p in module.parameters())


def test_vocabulary_has_the_size_the_model_has():
    vocabulary = load_tiny().vocabulary
    assert len(vocabulary) == VOCABULARY_SIZE == TINY.speech_vocab
    assert vocabulary.entries[0] == " " and all(len(entry) == 1 for entry in vocabulary.entries)
    assert vocabulary.unknown("It’s “fine” – really… (100 %)!") == []


def test_every_input_reaches_both_outputs():
    """Random weights, but no part is switched off: what is seen, said and shown all matter."""
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
    assert all(0.3 < part.std() < 3 for part in plain)
    for name, value in others.items():
        for before, after in zip(plain, outputs(Conditions(**{**vars(base), name: value})), strict=True):
            assert (after - before).norm() > 1e-3 * before.norm(), name


# VAE


def test_basis_is_orthonormal(vae):
    for basis in (vae.first_basis, vae.rest_basis):
        torch.testing.assert_close(basis @ basis.T, torch.eye(48), atol=1e-5, rtol=0)


def test_patches_keep_the_order():
    pixels = torch.arange(2 * 3 * 8 * 32 * 48.0).reshape(2, 3, 8, 32, 48)
    patches = to_patches(pixels, 4)
    assert patches.shape == (2, 2, 2, 3, 3 * 4 * 256)
    assert torch.equal(patches[1, 1, 0, 2].reshape(3, 4, 16, 16), pixels[1, :, 4:, :16, 32:])
    assert torch.equal(from_patches(patches, 4), pixels)


@pytest.mark.parametrize("latents", [1, 2, 3, 4, 5])
def test_vae_shapes(vae, latents):
    pixels = random(2, 3, 4 * latents - 3, 32, 64).clamp(-1, 1)
    code = vae.encode(pixels)
    assert code.shape == (2, 48, latents, 2, 4) and vae.decode(code).shape == pixels.shape
    assert torch.allclose(vae.encode(pixels[1:]), code[1:], atol=1e-5)


def test_vae_is_a_projection(vae):
    pixels = 0.1 * random(2, 3, 9, 32, 32)
    once = vae.decode(vae.encode(pixels))
    torch.testing.assert_close(vae.decode(vae.encode(once)), once, atol=1e-5, rtol=0)
    assert 0.05 < once.norm() / pixels.norm() < 0.5  # and not the identity: noise is mostly lost
    code = random(1, 48, 3, 2, 2) * 0.02
    torch.testing.assert_close(vae.encode(vae.decode(code)), code, atol=1e-4, rtol=0)


def test_constant_colours_are_exact_and_clamped(vae):
    colours = torch.tensor([[-1.0, 0.25, 0.9], [1.0, 1.0, 1.0]])[:, :, None, None, None]
    pixels = colours.expand(2, 3, 9, 32, 32)
    torch.testing.assert_close(vae.decode(vae.encode(pixels)), pixels, atol=1e-5, rtol=0)
    assert vae.decode(50 * random(1, 48, 2, 2, 2)).abs().max() == 1


def test_a_still_picture_has_the_same_latents_in_time(vae):
    waves = torch.linspace(0, 3, 64).sin()
    still = (waves[:, None] * waves).expand(1, 3, 9, 64, 64)
    code = vae.encode(still)
    torch.testing.assert_close(code[:, :33, 1:], code[:, :33, :1].expand(-1, -1, 2, -1, -1), atol=1e-4, rtol=0)
    assert code[:, 33:, 1:].abs().max() < 1e-4  # nothing moves


def test_latents_of_smooth_pictures_have_about_unit_variance(vae):
    """Pictures as the scales assume them: neighbours correlate by 0.9 along both axes."""
    distance = (torch.arange(96) - torch.arange(96)[:, None]).abs()
    root = torch.linalg.cholesky(0.9**distance)
    colours = torch.tensor([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / torch.tensor([3, 2, 6]).sqrt()[:, None]
    powers = torch.tensor([0.6, 0.05, 0.01]).sqrt()
    pictures = torch.einsum("kc,k,nkyx->ncyx", colours, powers, root @ random(40, 3, 96, 96) @ root.T)
    code = vae.encode(pictures[:, :, None])
    assert (code.std(dim=(0, 2, 3, 4)) - 1).abs().max() < 0.1


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
    one, two, three = captions.encode(["ab ab", "ba ab", "ab ac"])
    assert not torch.allclose(one, two, atol=0.1) and not torch.allclose(one, three, atol=0.1)
    same = captions.encode(["a" * 20])[0]  # the place alone tells these apart
    assert not torch.allclose(same[8], same[9], atol=0.1)


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


def test_silence_stays_silent(vocoder):
    assert vocoder.decode(torch.full((1, 80, 50), SILENCE)).abs().max() < 1e-4


@pytest.mark.parametrize("band", [5, 30, 60, 75])
def test_a_band_sounds_at_its_place(vocoder, band):
    mel = torch.full((1, 80, 100), SILENCE)
    mel[:, band] = 0.5
    sound = vocoder.decode(mel)[0, 0]
    energy = torch.fft.rfft(sound).abs().square()
    frequencies = torch.fft.rfftfreq(len(sound), 1 / 24_000)
    low, high = slaney_frequencies(82, 8000.0)[[band, band + 2]]
    inside = energy[(frequencies >= low) & (frequencies <= high)].sum() / energy.sum()
    assert inside > 0.95
    assert log_mel(sound[None])[0, :, 20:80].mean(dim=1).argmax() == band


def test_a_mel_survives_the_way_through_sound(vocoder):
    """A gliding chord: mel -> sound -> mel keeps the picture and its loudness."""
    time = torch.arange(24_000) / 24_000
    chord = sum(torch.sin(2 * torch.pi * (f * time + 0.3 * f * time**2)) for f in (180, 420, 900, 2300)) / 5
    chord = chord * (0.2 + 0.8 * torch.sin(9 * time) ** 2) + 0.01 * random(24_000)
    mel = log_mel(chord[None])
    again = log_mel(vocoder.decode(mel)[:, 0])
    assert again.shape == mel.shape
    assert torch.corrcoef(torch.stack((mel.flatten(), again.flatten())))[0, 1] > 0.9
    assert (again - mel).mean().abs() < 0.3


def test_vocoder_refuses_other_mels(vocoder):
    for shape in ((1, 100, 5), (80, 5), (1, 80, 0)):
        with pytest.raises(ValueError, match="decodes log-mels"):
            vocoder.decode(torch.zeros(shape))


def test_the_vocoder_stays_finite_for_any_mel():
    vocoder = load_part("vocoder", TinyVocoder)[0]
    for level in (-1e4, 200.0, 1e30):
        sound = vocoder.decode(torch.full((1, 80, 9), level))
        assert sound.isfinite().all()
        assert sound.abs().max() <= 1
