"""The whole way with what each task is given, and what cannot be given together."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import small_config
from knowing import LOG_MEL, KnowingModel, known_bundle, make, tone

from uniavgen_core.audio.mel import PEAK
from uniavgen_core.audio.sound import Sound, driving_tokens, part_tokens, voice_tokens
from uniavgen_core.bundle import Bundle
from uniavgen_core.pipeline import Earlier, join
from uniavgen_core.types import JOINT, TO_AUDIO_ONLY, TO_VIDEO_ONLY, UNIMODAL, Clip


@pytest.fixture
def bundle() -> Bundle:
    return known_bundle()


@pytest.fixture
def hearing(bundle: Bundle) -> Bundle:
    """The same, with the mel's 80 bins."""
    return replace(bundle, model=KnowingModel(replace(small_config(), mel_bins=80)))


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
