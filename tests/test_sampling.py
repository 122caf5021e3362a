"""Schedule, guidance and the Euler loop against analytic answers."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from uniavgen_core.config import RELEASE
from uniavgen_core.sampling import Guidance, Mode, Outside, Unit, draw_noise, sample, timesteps
from uniavgen_core.types import UNIMODAL, AVLatent, Conditions, Velocity


class StraightFlow:
    """A fake model that knows the data: the velocity of x_t = (1 - t) data + t noise is (x_t - data) / t."""

    config = RELEASE
    patch_embedding = SimpleNamespace(weight=torch.zeros(()))

    def __init__(self, conditional: float, unconditional: float):
        self.data = {False: conditional, True: unconditional}
        self.calls: list[tuple] = []

    def prepare(self, latent, conditions, **_) -> None:
        """Nothing it knows takes preparation."""

    def __call__(self, latent, timestep, conditions, *, skip_layers=(), **_) -> Velocity:
        unconditional = bool(conditions.caption.sum() == 0)
        self.calls.append((float(timestep[0]), unconditional, conditions.interaction, skip_layers))
        data, t = self.data[unconditional], timestep.view(-1, 1, 1) / 1000
        mask = torch.full((1, 2, 1, 1), float(timestep[0]))
        return Velocity((latent.video - data) / t[..., None, None], (latent.audio - data) / t, (mask,))


@pytest.fixture
def latent() -> AVLatent:
    return AVLatent(torch.full((1, 48, 2, 2, 2), 9.0), torch.full((1, 80, 31), 7.0), clean_video=1, clean_audio=4)


def conditions(caption: float) -> Conditions:
    speech = torch.full((1, 10), -1)
    return Conditions(torch.full((1, 3, 4), caption), speech, torch.zeros(1, 48, 1, 2, 2))


def run(model, latent, guidance, steps=4, **kwargs):
    positive, negative = conditions(1.0), conditions(0.0)
    return sample(model, latent, positive, negative, guidance, timesteps(steps), draw_noise(latent, 0), **kwargs)


def test_a_straight_flow_ends_at_the_data(latent: AVLatent) -> None:
    result, masks = run(StraightFlow(0.5, 0.5), latent, Guidance())
    noisy_video, noisy_audio = result.video[:, :, 1:], result.audio[..., 4:]
    torch.testing.assert_close(noisy_video, torch.full_like(noisy_video, 0.5))
    torch.testing.assert_close(noisy_audio, torch.full_like(noisy_audio, 0.5))
    assert masks[0].flatten()[0] == timesteps(4)[-2]  # of the last pass

    pasted = result.with_clean_from(latent)
    assert (pasted.video[:, :, :1] == 9).all() and (pasted.audio[..., :4] == 7).all()
    assert torch.equal(pasted.video[:, :, 1:], noisy_video) and torch.equal(pasted.audio[..., 4:], noisy_audio)


def test_each_modality_has_its_own_scale(latent: AVLatent) -> None:
    """One step from t = 1: data = unconditional + scale * (conditional - unconditional)."""
    result, _ = run(StraightFlow(1.0, 0.0), latent, Guidance(scale_video=3.0, scale_audio=2.0), steps=1)
    torch.testing.assert_close(result.video[:, :, 1:], torch.full_like(result.video[:, :, 1:], 3.0))
    torch.testing.assert_close(result.audio[..., 4:], torch.full_like(result.audio[..., 4:], 2.0))


def test_the_passes_of_the_release(latent: AVLatent) -> None:
    model = StraightFlow(1.0, 0.0)
    run(model, latent, Guidance(), steps=5)
    assert len(model.calls) == 10  # one unconditional pass for both modalities
    unconditional = [call for call in model.calls if call[1]]
    assert [call[2] == UNIMODAL for call in unconditional] == [True, True, False, False, False]
    assert {call[3] for call in unconditional} == {(11,)}
    assert {call[3] for call in model.calls if not call[1]} == {()}


def test_the_passes_of_the_paper(latent: AVLatent) -> None:
    model = StraightFlow(1.0, 0.0)
    run(model, latent, Guidance.paper(), steps=6)  # times 1000, 952, 883, 770, 557, 5
    assert [round(call[0]) for call in model.calls if call[1]] == [1000, 952, 883, 770, 557]
    assert {call[2:] for call in model.calls if call[1]} == {(UNIMODAL, ())}
    assert sum(not call[1] for call in model.calls) == 6


def test_the_callback_sees_the_present_guess(latent: AVLatent) -> None:
    seen = []
    run(StraightFlow(0.25, 0.25), latent, Guidance(), callback=lambda *arguments: seen.append(arguments))
    assert [(step, total) for step, total, _ in seen] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    for _, _, guess in seen:
        torch.testing.assert_close(guess.video[:, :, 1:], torch.full_like(guess.video[:, :, 1:], 0.25))


def test_modes_by_steps() -> None:
    times = timesteps(10)

    def modes(**kwargs) -> str:
        guidance = Guidance(**kwargs)
        return "".join(guidance.mode(float(t), times).name[0] for t in times[:-1])

    assert modes() == "MMMMMPPPPP"
    assert modes(start=0.2, end=0.75, outside=Outside.NONE) == "NNMMMMMNNN"
    assert modes(end=0.0) == "PPPPPPPPPP"
    assert modes(end=1.0) == "MMMMMMMMMM"
    assert modes(scale_video=1.0) == "MMMMMPPPPP"
    assert modes(scale_video=1.0, scale_audio=1.0) == "NNNNNNNNNN"  # nothing to guide
    between = (float(times[4]) + float(times[5])) / 2  # a solver's stage belongs to the step it is in
    assert Guidance().mode(between, times) is Mode.MODALITY_AWARE


def test_modes_by_time() -> None:
    guidance = Guidance(start=0.9, end=0.5, unit=Unit.TIME, outside=Outside.NONE)
    inside = [guidance.mode(t, timesteps(3)) is Mode.MODALITY_AWARE for t in (1000.0, 900.0, 700.0, 500.0, 499.0)]
    assert inside == [False, True, True, True, False]


@pytest.mark.case("Parameters", "skipped layer out of range")
def test_the_skipped_layer_follows_the_depth() -> None:
    assert Guidance.for_layers(30) == Guidance()
    assert Guidance.for_layers(4).skip_layers == (1,)
    with pytest.raises(ValueError, match="layer 30 cannot be skipped: the model has layers 0 to 29"):
        Guidance(skip_layers=(30,)).check_layers(30)


@pytest.mark.case("Parameters", "NaN or infinity in a float")
@pytest.mark.case("Parameters", "guided interval out of range")
@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"scale_video": math.nan}, "scale of the video must be a finite number, not nan"),
        ({"scale_audio": math.inf}, "scale of the sound must be a finite number, not inf"),
        ({"end": math.nan}, "end of the guided interval must be a finite number"),
        ({"scale_audio": 1e6}, "scale of the sound must be from -1000 to 1000"),
        ({"start": 0.6, "end": 0.5}, "start not above end"),
        ({"end": 1.5}, "end at most 1"),
        ({"start": 0.5, "end": 1.0, "unit": Unit.TIME}, "end not above start"),
    ],
)
def test_guidance_refuses(values: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Guidance(**values)


def test_another_word_for_a_choice_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match=r"^unit must be steps or t, not 'foo'$"):
        Unit("foo")
    with pytest.raises(ValueError, match=r"^outside must be plain or none, not None$"):
        Outside(None)


@pytest.mark.case("Parameters", "0 steps")
@pytest.mark.case("Parameters", "NaN or infinity in a float")
@pytest.mark.parametrize(
    "steps, shift, sentence",
    [
        (0, 5.0, "at least 1 step"),
        (-3, 5.0, "at least 1 step"),
        (5, math.nan, "shift must be"),
        (5, math.inf, "shift must be"),
        (5, 0.0, "shift must be"),
    ],
)
def test_schedule_refuses(steps: int, shift: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        timesteps(steps, shift)


def test_noise_is_the_seed_s_and_of_unit_variance() -> None:
    latent = AVLatent(torch.zeros(1, 48, 5, 8, 8), torch.zeros(1, 80, 106))
    one, again, other = draw_noise(latent, 7), draw_noise(latent, 7), draw_noise(latent, 8)
    assert torch.equal(one.video, again.video) and torch.equal(one.audio, again.audio)
    assert not torch.equal(one.video, other.video)
    assert abs(float(one.video.std()) - 1) < 0.03 and abs(float(one.audio.std()) - 1) < 0.03
