"""What a run computes once: the same numbers, and nothing of it again in the steps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from uniavgen_core.config import Alignment, Site
from uniavgen_core.model import JointModel
from uniavgen_core.sampling import Guidance, draw_noise, sample, timesteps
from uniavgen_core.types import JOINT, TO_AUDIO_ONLY, TO_VIDEO_ONLY, UNIMODAL, Interaction, Velocity

STEPS = 4
# the given parts of a clip of 3 latents and 40 tokens, and the interaction
TASKS = {
    "joint": (1, 0, JOINT),
    "continuation": (2, 31, JOINT),
    "dubbing": (3, 0, TO_AUDIO_ONLY),
    "audio-driven": (1, 40, TO_VIDEO_ONLY),
}


def assert_equal(a: Velocity, b: Velocity) -> None:
    assert torch.equal(a.video, b.video)
    assert torch.equal(a.audio, b.audio)
    assert len(a.face_masks) == len(b.face_masks)
    assert all(torch.equal(x, y) for x, y in zip(a.face_masks, b.face_masks, strict=True))


def calls_of(model: JointModel) -> Counter[str]:
    """Counts how often each part runs from now on."""
    calls: Counter[str] = Counter()
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: calls.update([name]))
    return calls


@pytest.mark.parametrize("keep_on", [None, "cpu"])
@pytest.mark.parametrize("voice", [0, 5])
@pytest.mark.parametrize("alignment", Alignment)
@pytest.mark.parametrize("site", Site)
@pytest.mark.parametrize("task", TASKS)
@torch.no_grad()
def test_a_prepared_pass_is_the_same_to_the_last_bit(make_model, make_case, task, site, alignment, voice, keep_on):
    """At another time, with other noise, with and without the interaction it was prepared for."""
    model = make_model(site=site, alignment=alignment)
    clean_video, clean_audio, interaction = TASKS[task]
    given = {"clean_video": clean_video, "clean_audio": clean_audio, "voice": voice}
    latent, conditions = make_case(latents=3, tokens=40, interaction=interaction, batch=2, **given)
    prepared = model.prepare(latent, conditions, skip_layers=(1,), keep_on=keep_on)
    noisy = latent.map(lambda x: x + torch.randn(x.shape)).with_clean_from(latent)
    for told in (conditions, replace(conditions, interaction=UNIMODAL)):
        for times in (torch.tensor([900.0, 20.0]), torch.tensor([1.0, 500.0])):
            expected = model(noisy, times, told, skip_layers=(1,))
            assert_equal(model(noisy, times, told, skip_layers=(1,), prepared=prepared), expected)


def run(model: JointModel, make_case, task: str) -> Counter[str]:
    clean_video, clean_audio, interaction = TASKS[task]
    latent, positive = make_case(
        latents=3, tokens=40, clean_video=clean_video, clean_audio=clean_audio, interaction=interaction
    )
    negative = replace(positive, caption=torch.zeros_like(positive.caption))
    calls = calls_of(model)
    sample(model, latent, positive, negative, Guidance(skip_layers=(1,)), timesteps(STEPS, 5.0), draw_noise(latent, 1))
    return calls


@pytest.mark.parametrize("task", TASKS)
def test_texts_are_read_once_for_each_of_two_texts(make_model, make_case, task) -> None:
    calls = run(make_model(), make_case, task)
    for part in (
        "text_embedding_video",
        "text_embedding",
        "text_proj",
        "blocks.0.cross_attn.k",
        "audio_blocks.3.cross_attn.v",
    ):
        assert calls[part] == 2, part
    assert calls["blocks.1.cross_attn.k"] == 1  # the unconditional pass leaves this layer out


@pytest.mark.parametrize(
    ("task", "still", "moving", "view"),
    [
        ("dubbing", "blocks", "audio_blocks", "v2a_blocks.1.k"),
        ("audio-driven", "audio_blocks", "blocks", "a2v_blocks.1.k"),
    ],
)
def test_a_branch_that_is_given_runs_once_for_each_text(make_model, make_case, task, still, moving, view) -> None:
    calls = run(make_model(), make_case, task)
    assert calls[f"{still}.0.ffn"] == 2
    assert calls[f"{still}.1.ffn"] == 1
    assert calls[f"{moving}.0.ffn"] == 2 * STEPS
    assert calls[view] == 2
    assert calls["a2v_blocks.0.o"] == (0 if task == "dubbing" else STEPS + STEPS // 2)  # none in unimodal passes


@torch.no_grad()
def test_one_filler_says_what_ten_say(make_model, make_case) -> None:
    """And is attended to without a query."""
    model = make_model()
    latent, conditions = make_case(latents=3, tokens=40, batch=2)
    one, ten = (replace(conditions, speech=torch.full((2, count), -1)) for count in (1, 10))
    time = torch.tensor([900.0, 20.0])
    torch.testing.assert_close(model(latent, time, one).audio, model(latent, time, ten).audio)
    prepared = model.prepare(latent, one)
    calls = calls_of(model)
    model(latent, time, one, prepared=prepared)
    assert calls["audio_blocks.0.cross_attn.o"] == 1 and not calls["audio_blocks.0.cross_attn.q"]


@torch.no_grad()
def test_tables_are_built_once(make_model, make_case, monkeypatch) -> None:
    built = Counter()
    for name in ("rotary_3d", "rotary_1d"):
        original = getattr(__import__("uniavgen_core.model.joint", fromlist=[name]), name)

        def counting(*args, name=name, original=original):
            built[name] += 1
            return original(*args)

        monkeypatch.setattr(f"uniavgen_core.model.joint.{name}", counting)
    run(make_model(), make_case, "joint")
    assert built == {"rotary_3d": 2, "rotary_1d": 4}  # two texts; the sound's positions and the text's


@torch.no_grad()
def test_two_passes_in_one_batch_are_the_two_alone(make_model, make_case) -> None:
    model = make_model()
    latent, positive = make_case(latents=3, tokens=40)
    negative = replace(
        positive, caption=torch.zeros_like(positive.caption), speech=torch.full_like(positive.speech, -1)
    )
    t = torch.tensor([600.0])

    def both(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat((a, b))

    conditions = replace(
        positive,
        caption=both(positive.caption, negative.caption),
        speech=both(positive.speech, negative.speech),
        reference_image=both(positive.reference_image, negative.reference_image),
    )
    together = model(latent.map(lambda x: both(x, x)), both(t, t), conditions)
    for i, alone in enumerate((model(latent, t, positive), model(latent, t, negative))):
        torch.testing.assert_close(together.video[i : i + 1], alone.video, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.audio[i : i + 1], alone.audio, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("interaction", [JOINT, UNIMODAL])
@torch.no_grad()
def test_blocks_and_aligners_compile_without_a_break(make_model, make_case, interaction: Interaction) -> None:
    """As hosts compile: each block in place, the graph in one piece."""
    model = make_model()
    latent, conditions = make_case(latents=3, tokens=40, interaction=interaction)
    times = [torch.tensor([700.0]), torch.tensor([300.0])]
    expected = [model(latent, time, conditions) for time in times]
    torch._dynamo.reset()
    for blocks in (model.blocks, model.audio_blocks, model.a2v_blocks, model.v2a_blocks):
        for block in blocks:
            block.compile(fullgraph=True, backend="aot_eager")
    for time, eager in zip(times, expected, strict=True):
        velocity = model(latent, time, conditions)
        torch.testing.assert_close(velocity.video, eager.video, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(velocity.audio, eager.audio, rtol=1e-4, atol=1e-5)
