"""The whole way with parts whose answer is known, and everything that must be refused before it starts."""

from __future__ import annotations

import logging
import math
from dataclasses import fields, replace

import pytest
import torch
from conftest import small_config
from torch import Tensor, nn

from uniavgen_core.audio.mel import MEAN, PEAK, STD
from uniavgen_core.audio.sound import Sound, driving_tokens, part_tokens, voice_tokens
from uniavgen_core.bundle import Bundle
from uniavgen_core.config import ModelConfig
from uniavgen_core.pipeline import Earlier, Material, clip_size, generate, join
from uniavgen_core.sampling import Guidance
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.types import (
    JOINT,
    TO_AUDIO_ONLY,
    TO_VIDEO_ONLY,
    UNIMODAL,
    AVLatent,
    Clip,
    Conditions,
    Velocity,
)
from uniavgen_core.video.picture import to_bytes

CHANNELS, MEL = 6, 5  # of small_config
PICTURE = torch.full((1, 64, 48, 3), 0.25)
LOG_MEL = 0.5
MATERIAL = [field.name for field in fields(Material)]


class KnowingModel(nn.Module):
    """Always points straight at one clip: video 0.2, and the audio whose log-mel is 0.5. Keeps what it was told."""

    def __init__(self, config: ModelConfig, video: float = 0.2):
        super().__init__()
        self.config, self.video, self.told = config, video, []
        self.patch_embedding = nn.Linear(1, 1)

    def prepare(self, latent: AVLatent, conditions: Conditions, **_) -> None:
        """Nothing it knows takes preparation."""

    def forward(self, latent: AVLatent, timestep: Tensor, conditions: Conditions, *, skip_layers=(), **_):
        self.told.append((latent, conditions, skip_layers))
        time = timestep[0] / 1000
        return Velocity((latent.video - self.video) / time, (latent.audio - (LOG_MEL - MEAN) / STD) / time)


class FakeParts:
    """Caption encoder, VAE and vocoder in one: a caption is its length, a latent is the mean colour of its patch."""

    def __init__(self) -> None:
        self.captions: list[str] = []
        self.pixels: list[Tensor] = []

    def encode(self, given: list[str] | Tensor) -> Tensor:
        if isinstance(given, list):
            self.captions += given
            return torch.tensor([len(caption) for caption in given]).float()[:, None, None].expand(-1, 2, 7)
        self.pixels.append(given)
        patches = given[:, :, ::4].unfold(3, 16, 16).unfold(4, 16, 16).mean(dim=(1, -1, -2))  # [B, 1, h, w]
        return patches[:, None].expand(-1, CHANNELS, -1, -1, -1)

    def decode(self, given: Tensor) -> Tensor:
        if given.ndim == 3:  # log-mel: every sample is the mean of its frame
            return given.mean(dim=1, keepdim=True).repeat_interleave(240, dim=2)
        grey = given.mean(dim=1, keepdim=True).repeat_interleave(16, dim=3).repeat_interleave(16, dim=4)
        return torch.cat((grey[:, :, :1], grey[:, :, 1:].repeat_interleave(4, dim=2)), dim=2).expand(-1, 3, -1, -1, -1)


@pytest.fixture
def bundle() -> Bundle:
    parts, vocabulary = FakeParts(), Vocabulary(tuple(" abcdefghij"))
    return Bundle(KnowingModel(small_config()), parts, parts, parts, vocabulary, 64, "fake", Guidance.for_layers(4))


def make(bundle: Bundle, **changes):
    arguments = {"picture": PICTURE, "speech": "a bad cab", "caption": "a cab", "frames": 5, "steps": 4, **changes}
    material = {name: arguments.pop(name) for name in MATERIAL if name in arguments}
    return generate(bundle, Material(**material), **arguments)


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


@pytest.fixture
def hearing(bundle: Bundle) -> Bundle:
    """The same, with the mel's 80 bins."""
    return replace(bundle, model=KnowingModel(replace(small_config(), mel_bins=80)))


def tone(seconds: float, rate: int = 24_000) -> Sound:
    return Sound(torch.sin(torch.arange(round(seconds * rate)) * 0.1)[None] * 0.3, rate)


def test_a_cloned_voice(hearing: Bundle) -> None:
    voice = tone(0.5)
    make(hearing, voice=voice, transcript="a cab")
    _, positive, _ = hearing.model.told[0]
    assert torch.equal(positive.reference_voice, voice_tokens(voice))
    assert positive.speech.tolist() == [[1, 0, 3, 1, 2, 0, 1, 0, 2, 1, 4, 0, 3, 1, 2]]  # transcript, space, speech
    assert positive.interaction == TO_VIDEO_ONLY
    negatives = [told[1] for told in hearing.model.told[1::2]]
    assert all(negative.speech.tolist() == [[1, 0, 3, 1, 2, 0, -1, -1, -1, -1]] for negative in negatives)
    assert all(torch.equal(negative.reference_voice, voice_tokens(voice)) for negative in negatives)
    assert [negative.interaction for negative in negatives] == [UNIMODAL] * 2 + [JOINT] * 2  # released behaviour


@pytest.mark.case("Media", "conditioning that is too short")
def test_audio_drives_the_pictures(hearing: Bundle) -> None:
    sound = tone(1.0)
    clip = make(hearing, sound=sound, speech="", frames=None)
    assert len(clip.frames) == 17  # the shortest clip of 4n + 1 frames that holds a second
    latent, positive, _ = hearing.model.told[0]
    assert latent.clean_audio == latent.audio.shape[2] == 106
    assert torch.equal(latent.audio[..., :100], driving_tokens(sound))
    assert (latent.audio[..., 100:] == latent.audio[..., 100:101]).all()  # silence up to the end
    assert positive.interaction == TO_VIDEO_ONLY
    assert positive.speech.tolist() == [[-1]]


@pytest.mark.case("Media", "conditioning that is too short")
def test_footage_is_dubbed(hearing: Bundle) -> None:
    footage = torch.linspace(0, 1, 11)[:, None, None, None].expand(-1, 64, 64, 3)
    clip = make(hearing, picture=None, footage=footage, frames=None)
    latent, positive, _ = hearing.model.told[0]
    assert len(clip.frames) == 13
    assert latent.clean_video == latent.video.shape[2] == 4
    assert positive.interaction == TO_AUDIO_ONLY
    assert torch.equal(positive.reference_image, latent.video[:, :, :1])  # the first picture shows the person
    assert [told[1].interaction for told in hearing.model.told[1::2]] == [UNIMODAL] * 2 + [TO_AUDIO_ONLY] * 2


@pytest.mark.case("Media", "conditioning that is too short")
def test_a_clip_goes_on(hearing: Bundle) -> None:
    frames = torch.linspace(0, 1, 30)[:, None, None, None].expand(-1, 64, 64, 3)
    sound = tone(30 / 16)
    earlier, before = Earlier.of(frames, sound, 30), Clip(frames, sound.waveform, 16, 24_000)
    clip = make(hearing, picture=None, earlier=earlier, frames=21, overlap=3)
    latent, positive, _ = hearing.model.told[0]
    assert (latent.clean_video, latent.clean_audio) == (3, 56)  # 9 frames, 0.5625 s
    assert positive.interaction == JOINT
    torch.testing.assert_close(clip.frames[0], frames[21], atol=0.003, rtol=0)  # in bytes
    whole = join(before, clip, 3)
    assert len(whole.frames) == 30 + 12
    assert whole.waveform.shape[1] == 42 * 1500
    assert torch.equal(whole.frames[:30], frames)
    seam = 45_000 - 60  # where the tokens that were given end
    assert torch.equal(whole.waveform[:, :seam], before.waveform[:, :seam])
    assert torch.equal(whole.waveform[:, seam:], clip.waveform[:, 56 * 240 :])
    with pytest.raises(ValueError, match="has 30 frames at 16 fps: to go on from 9 latents it needs at least 33"):
        make(hearing, picture=None, earlier=earlier, frames=81, overlap=9)


def test_a_quiet_stereo_clip_goes_on_as_it_is(hearing: Bundle) -> None:
    """The model hears it at its own loudness; what it adds is as loud as the clip, in its rate and channels."""
    frames = torch.zeros(20, 64, 64, 3)
    samples = torch.stack((0.02 * tone(1.25, 44_100).waveform[0], torch.zeros(55_125)))
    earlier = Earlier.of(frames[-9:], Sound(samples, 44_100), 20)
    assert earlier.sound.waveform.abs().max() <= PEAK
    assert earlier.gain == pytest.approx(PEAK / float(samples.mean(dim=0).abs().max()))
    clip = make(hearing, picture=None, earlier=earlier, frames=21, overlap=3)
    latent, _, _ = hearing.model.told[0]
    loud = earlier.gain * samples.mean(dim=0, keepdim=True)[:, round(11 / 16 * 44_100) :]
    torch.testing.assert_close(earlier.sound.waveform, loud)
    assert torch.equal(latent.audio[..., :56], part_tokens(earlier.sound)[..., :56])
    new = clip.waveform[:, 56 * 240 : 131 * 240]
    torch.testing.assert_close(new, torch.full_like(new, LOG_MEL / earlier.gain))
    whole = join(Clip(frames, samples, 16, 44_100), clip, 3)
    assert (whole.sample_rate, whole.waveform.shape) == (44_100, (2, round(32 / 16 * 44_100)))
    seam = 55_125 - 110
    assert torch.equal(whole.waveform[:, :seam], samples[:, :seam])
    assert torch.equal(whole.waveform[0, seam:], whole.waveform[1, seam:])


def test_what_is_new_decides_how_much_can_be_said(hearing: Bundle) -> None:
    """0.75 s of a continuation are new, not all of its 1.3 s."""
    earlier = Earlier.of(torch.zeros(20, 64, 64, 3), tone(1.25), 20)
    make(hearing, picture=None, earlier=earlier, frames=21, overlap=3, speech="ab " * 7)
    with pytest.raises(ValueError, match=r"the clip lasts 1.3 s, 0.8 s of them new: shorten it, or ask for 41 frames"):
        make(hearing, picture=None, earlier=earlier, frames=21, overlap=3, speech="ab " * 10)
    with pytest.raises(ValueError, match="3 latents, 9 frames, of an earlier clip leave nothing to make in 9 frames"):
        make(hearing, picture=None, earlier=earlier, frames=9, overlap=3)


@pytest.mark.case("Media", "conditioning that is too short")
def test_the_shortest_sound_drives_a_clip(hearing: Bundle) -> None:
    clip = make(hearing, sound=Sound(torch.ones(1, 1), 24_000), speech="", frames=None)
    assert len(clip.frames) == 5
    with pytest.raises(ValueError, match="1 frames are given, so nothing is left to generate: ask for more frames"):
        make(hearing, sound=Sound(torch.ones(1, 1), 24_000), speech="", frames=1)


def test_long_clips_are_made_window_by_window(bundle: Bundle) -> None:
    seen = []
    clip = make(bundle, frames=33, window=17, overlap=2, speech="a cab. a bad cab.", callback=lambda *s: seen.append(s))
    torch.testing.assert_close(clip.frames[1:], torch.full((32, 96, 64, 3), 0.6))
    torch.testing.assert_close(clip.waveform[:, : 206 * 240], torch.full((1, 206 * 240), LOG_MEL))
    assert [step[:2] for step in seen] == [(i, 12) for i in range(12)]
    given = [(told[0].clean_video, told[0].clean_audio) for told in bundle.model.told[::8]]
    assert given == [(1, 0), (2, 31), (4, 81)]  # the last window reaches back as far as it must
    noise = [told[0].video[:, :, -1] for told in bundle.model.told[::8]]
    assert not torch.equal(noise[0], noise[1])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"picture": None}, "there is no one to see"),
        pytest.param({"voice": tone(1)}, "needs its transcript", marks=pytest.mark.case("Text", "missing transcript")),
        pytest.param(
            {"transcript": "a"}, "no reference voice", marks=pytest.mark.case("Text", "transcript without a voice")
        ),
        ({"voice": tone(1), "transcript": "a", "sound": tone(1)}, "of no use where all sound is given"),
        ({"sound": tone(1), "footage": torch.zeros(5, 64, 64, 3)}, "sound and footage cannot be given together"),
        pytest.param(
            {"sound": tone(1), "frames": 5},
            "the sound lasts 1.00 s, the clip of 5 frames 0.31 s: ask for 17 frames",
            marks=pytest.mark.case("Media", "conditioning that is too long"),
        ),
        pytest.param(
            {"footage": torch.zeros(9, 64, 64, 3), "frames": 5},
            "the footage lasts 0.56 s",
            marks=pytest.mark.case("Media", "conditioning that is too long"),
        ),
        ({"speech": "ab " * 40}, "takes about 8 s to say and the clip lasts 0.3 s"),
        pytest.param(
            {"voice": tone(0.1), "transcript": "a bad cab, a bad cab"},
            "takes about 1.3 s to say and the reference voice lasts 0.1 s: give what is said in this voice",
            marks=pytest.mark.case("Text", "wrong transcript"),
        ),
        pytest.param(
            {"sound": Sound(torch.full((1, 9), math.nan), 24_000), "frames": 5},
            "the sound holds samples that are NaN",
            marks=pytest.mark.case("Media", "numbers that are NaN"),
        ),
        pytest.param(
            {"caption": "a \udce9 cab"}, "the caption holds", marks=pytest.mark.case("Text", "lone surrogates")
        ),
        ({"frames": 33, "window": 17, "overlap": 2, "speech": "a\n---\n" + "ab " * 14 + "\n---\nb"}, "lasts 1.1 s"),
        ({"frames": 33, "window": 17, "overlap": 5}, "can overlap by 1 to 4 latents"),
        ({"frames": 33, "window": 18}, r"4n \+ 1"),
    ],
)
def test_material_that_makes_no_sense_is_refused(bundle: Bundle, changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make(bundle, **changes)
    assert not bundle.vae.pixels
    assert not bundle.model.told
