"""The whole way with parts whose answer is known, and everything that must be refused before it starts."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import pytest
import torch
from conftest import small_config
from knowing import CHANNELS, LOG_MEL, MEL, FakeParts, KnowingModel, known_bundle, make
from torch import Tensor

from uniavgen_core.bundle import Bundle
from uniavgen_core.pipeline import clip_size
from uniavgen_core.sampling import Guidance
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.types import (
    JOINT,
    UNIMODAL,
)
from uniavgen_core.video.picture import to_bytes


@pytest.fixture
def bundle() -> Bundle:
    return known_bundle()


def test_the_clip_is_what_the_parts_know(bundle: Bundle) -> None:
    clip = make(bundle)
    assert clip.frames.shape == (5, 96, 64, 3)  # 64 x 48 with a shorter side of 64, rounded up to 32
    assert clip.waveform.shape == (1, 5 * 1500)
    assert (clip.fps, clip.sample_rate) == (16, 24_000)
    torch.testing.assert_close(clip.frames[0], torch.full((96, 64, 3), 64 / 255))  # the picture, in bytes
    torch.testing.assert_close(clip.frames[1:], torch.full((4, 96, 64, 3), 0.6))
    torch.testing.assert_close(clip.waveform[:, : 31 * 240], torch.full((1, 31 * 240), LOG_MEL))
    assert not clip.waveform[:, 31 * 240 :].any()  # what is less than a mel frame stays silent


def test_the_model_is_told_the_joint_task(bundle: Bundle) -> None:
    make(bundle, guidance=Guidance(skip_layers=(2,)))
    assert bundle.caption_encoder.captions == ["a cab", ""]
    latent, positive, skipped = bundle.model.told[0]
    assert (latent.clean_video, latent.clean_audio) == (1, 0)
    assert latent.video.shape == (1, CHANNELS, 2, 6, 4)
    assert latent.audio.shape == (1, MEL, 31)
    assert torch.equal(latent.video[:, :, :1], positive.reference_image)
    assert positive.interaction == JOINT
    assert positive.speech.tolist() == [[1, 0, 2, 1, 4, 0, 3, 1, 2, -1]]
    assert positive.caption.unique().tolist() == [5]
    assert skipped == ()
    _, negative, skipped = bundle.model.told[1]
    assert negative.interaction == UNIMODAL
    assert negative.speech.tolist() == [[-1]]
    assert negative.caption.unique().tolist() == [0]
    assert torch.equal(negative.reference_image, positive.reference_image)
    assert skipped == (2,)
    assert [told[1].interaction for told in bundle.model.told[1::2]] == [UNIMODAL] * 2 + [JOINT] * 2


def test_guidance_fits_the_depth_of_the_model(bundle: Bundle) -> None:
    make(bundle)
    assert bundle.model.told[1][2] == (1,)  # 11 of 30 layers is 1 of 4


def test_sizes(bundle: Bundle) -> None:
    assert make(bundle, width=96, height=32).frames.shape == (5, 32, 96, 3)
    assert clip_size((720, 1280), None, None, 720) == (736, 1312)


def test_a_real_model_is_repeatable_and_follows_its_seed(bundle: Bundle, make_model) -> None:
    bundle = replace(bundle, model=make_model())
    guesses = []
    clips = [make(bundle, seed=s, steps=2, callback=lambda *step: guesses.append(step[2])) for s in (7, 7, 8)]
    assert torch.equal(clips[0].frames, clips[1].frames)
    assert torch.equal(clips[0].waveform, clips[1].waveform)
    assert not clips[0].frames.is_inference()
    first, second, other = guesses[1::2]
    assert torch.equal(first.video, second.video)
    assert torch.equal(first.audio, second.audio)
    assert not torch.allclose(first.video[:, :, 1:], other.video[:, :, 1:])
    assert not torch.allclose(first.audio, other.audio)


def test_one_frame_is_a_clip(bundle: Bundle) -> None:
    clip = make(bundle, frames=1, speech="a")
    assert clip.frames.shape[0] == 1
    assert clip.waveform.shape == (1, 1500)


def test_the_callback_sees_every_step(bundle: Bundle) -> None:
    seen = []
    make(bundle, callback=lambda step, steps, guess: seen.append((step, steps, guess)))
    assert [(step, steps) for step, steps, _ in seen] == [(step, 4) for step in range(4)]
    torch.testing.assert_close(seen[0][2].video[:, :, 1:], torch.full((1, CHANNELS, 1, 6, 4), 0.2))


@pytest.mark.case("Text", "unknown characters, named in a warning")
def test_unknown_characters_are_named(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make(bundle, speech="bad € zoo")
    assert "not in the model's vocabulary, so not spoken: '€', 'z', 'o'" in caplog.text


@pytest.mark.case("Parameters", "0 steps")
@pytest.mark.case("Parameters", "a seed of -1 or 2^64")
@pytest.mark.case("Parameters", "skipped layer out of range")
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"frames": 80}, r"4n \+ 1. The next ones are 77 and 81"),
        ({"frames": 0}, r"4n \+ 1"),
        ({"width": 100, "height": 64}, "width 100 must be a multiple of 32. The next ones are 96 and 128"),
        ({"width": 64, "height": 0}, "height 0 must be a multiple of 32"),
        ({"width": 64}, "give both width and height"),
        ({"picture": torch.zeros(1, 500, 50, 3)}, "50 x 500, more than 4 times as long"),
        pytest.param(
            {"picture": torch.zeros(2, 64, 64, 3)},
            "one RGB picture",
            marks=pytest.mark.case("Media", "batch above one"),
        ),
        pytest.param(
            {"picture": torch.full((1, 64, 64, 3), math.nan)},
            "NaN",
            marks=pytest.mark.case("Media", "numbers that are NaN"),
        ),
        pytest.param({"speech": " \n"}, "the speech is empty", marks=pytest.mark.case("Text", "empty")),
        ({"speech": "?!"}, "the speech is empty"),
        pytest.param(
            {"speech": "zoo?"},
            "vocabulary has none of 'z', 'o', and the speech has nothing else",
            marks=pytest.mark.case("Text", "nothing but unknown characters"),
        ),
        ({"speech": "a\n---\nb\n---\na", "frames": 9, "window": 5, "overlap": 1}, "3 parts .*, the clip has 2 windows"),
        ({"language": "fr"}, "unknown language"),
        ({"steps": 0}, "at least 1 step"),
        ({"shift": math.nan}, "shift must be"),
        ({"shift": math.inf}, "shift must be"),
        ({"seed": -1}, "the seed must be"),
        ({"seed": 2**64}, "the seed must be"),
        ({"guidance": Guidance(skip_layers=(4,))}, "layer 4 cannot be skipped: the model has layers 0 to 3"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_encoded(bundle: Bundle, changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make(bundle, **changes)
    assert not bundle.caption_encoder.captions
    assert not bundle.vae.pixels
    assert not bundle.model.told


def test_a_vocabulary_of_another_model_is_refused(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="has 3 entries, the model needs 11"):
        make(replace(bundle, vocabulary=Vocabulary((" ", "a", "b"))))


@pytest.mark.case("Parameters", "overflow in half precision")
def test_numbers_that_are_none_end_in_a_sentence(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="sampling gave numbers that are NaN or infinite"):
        make(replace(bundle, model=KnowingModel(small_config(), video=math.nan)))

    class Deaf(FakeParts):
        def decode(self, given: Tensor) -> Tensor:
            return super().decode(given) * math.inf

    with pytest.raises(ValueError, match="decoding gave numbers"):
        make(replace(bundle, vocoder=Deaf()))


@pytest.mark.case("Parameters", "overflow in half precision")
def test_half_precision_that_overflows_is_no_black_clip(bundle: Bundle, make_model, monkeypatch) -> None:
    """A model whose sums are beyond what float16 holds: without the check, every new frame would be black."""

    def strained(dtype: torch.dtype) -> Bundle:
        model = make_model()
        model.patch_embedding.weight.mul_(5e4)
        return replace(bundle, model=model.to(dtype))

    assert to_bytes(make(strained(torch.float32)).frames[1:]).any()
    with pytest.raises(ValueError, match=r"sampling gave numbers that are NaN or infinite.* compute in float32"):
        make(strained(torch.float16))
    monkeypatch.setattr("uniavgen_core.pipeline.check_finite", lambda *_: None)
    assert not to_bytes(make(strained(torch.float16)).frames[1:]).any()
