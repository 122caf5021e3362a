"""Properties of the joint model that need no reference numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from conftest import randomise, small_config

from uniavgen_core.config import Alignment, InteractionConfig, Layers, ModelConfig, Prediction, Site
from uniavgen_core.model import JointModel
from uniavgen_core.model.aligners import AlignmentTables
from uniavgen_core.model.alignment import audio_windows, frame_contexts, nearest_contexts, own_windows
from uniavgen_core.model.attention import scaled_dot_product
from uniavgen_core.model.blocks import GELU
from uniavgen_core.model.rope import rotary_1d, rotate
from uniavgen_core.types import JOINT, TO_AUDIO_ONLY, TO_VIDEO_ONLY, UNIMODAL, AVLatent, Velocity

T = torch.tensor([700.0])


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def assert_same(a: Velocity, b: Velocity, bound: float = 1e-5) -> None:
    assert error(a.video, b.video) < bound
    assert error(a.audio, b.audio) < bound
    assert len(a.face_masks) == len(b.face_masks)


@pytest.mark.parametrize("alignment", Alignment)
@pytest.mark.parametrize("size", [(1, 2, 2, 1), (1, 4, 2, 9), (2, 2, 6, 1), (3, 6, 2, 100), (7, 2, 2, 13)])
def test_any_length_and_size(make_model, make_case, alignment: Alignment, size: tuple) -> None:
    latents, height, width, tokens = size
    model = make_model(alignment=alignment)
    for clean_video, clean_audio, voice in product((0, 1, latents), (0, 1, tokens), (0, 3)):
        latent, conditions = make_case(
            latents=latents, height=height, width=width, tokens=tokens,
            clean_video=clean_video, clean_audio=clean_audio, voice=voice,
        )  # fmt: skip
        velocity = model(latent, T, conditions)
        assert velocity.video.shape == latent.video.shape
        assert velocity.audio.shape == latent.audio.shape
        assert velocity.video.isfinite().all() and velocity.audio.isfinite().all()
        assert [mask.shape for mask in velocity.face_masks] == [(1, latents, height // 2, width // 2)] * 2


@pytest.mark.parametrize("interaction", [JOINT, TO_AUDIO_ONLY, TO_VIDEO_ONLY, UNIMODAL])
@pytest.mark.parametrize("alignment", Alignment)
def test_a_batch_equals_its_members_alone(make_model, make_case, interaction, alignment) -> None:
    model = make_model(alignment=alignment)
    latent, conditions = make_case(batch=3, latents=4, tokens=83, clean_audio=5, voice=7, interaction=interaction)
    times = torch.tensor([900.0, 30.5, 411.0])
    together = model(latent, times, conditions)
    for i in range(3):
        alone = model(
            latent.map(lambda x, i=i: x[i : i + 1]),
            times[i : i + 1],
            replace(
                conditions,
                caption=conditions.caption[i : i + 1],
                speech=conditions.speech[i : i + 1],
                reference_image=conditions.reference_image[i : i + 1],
                reference_voice=conditions.reference_voice[i : i + 1],
            ),
        )
        member = Velocity(together.video[i : i + 1], together.audio[i : i + 1], together.face_masks)
        assert_same(member, alone)


def test_interaction_switches_cut_exactly_their_direction(make_model, make_case) -> None:
    model = make_model()
    latent, conditions = make_case()
    other_sound = replace(latent, audio=latent.audio.flip(-1))
    other_pictures = replace(latent, video=latent.video.flip(-1))

    def run(latent: AVLatent, interaction) -> Velocity:
        return model(latent, T, replace(conditions, interaction=interaction))

    for interaction in (JOINT, TO_VIDEO_ONLY, TO_AUDIO_ONLY, UNIMODAL):
        base = run(latent, interaction)
        heard = not torch.equal(run(other_sound, interaction).video, base.video)
        seen = not torch.equal(run(other_pictures, interaction).audio, base.audio)
        assert (heard, seen) == (interaction.audio_to_video, interaction.video_to_audio)
    assert run(latent, UNIMODAL).face_masks == ()


def test_a_unimodal_pass_computes_no_interaction(make_model, make_case) -> None:
    model = make_model()
    latent, conditions = make_case(interaction=UNIMODAL)

    def refuse(*_):
        raise AssertionError("an aligner ran")

    for aligner in (*model.a2v_blocks, *model.v2a_blocks):
        for module in aligner.modules():
            module.register_forward_pre_hook(refuse)
    model(latent, T, conditions)
    with pytest.raises(AssertionError, match="an aligner ran"):
        model(latent, T, replace(conditions, interaction=TO_AUDIO_ONLY))


def test_a_skipped_layer_and_its_interaction_do_not_run(make_model, make_case) -> None:
    model = make_model()
    latent, conditions = make_case()
    skipped = model(latent, T, conditions, skip_layers=(2,))
    assert len(skipped.face_masks) == 1
    with torch.no_grad():
        for part in (model.blocks[2], model.audio_blocks[2], model.a2v_blocks[1], model.v2a_blocks[1]):
            for parameter in part.parameters():
                parameter.fill_(torch.nan)
    assert_same(model(latent, T, conditions, skip_layers=(2,)), skipped, bound=1e-12)


def test_given_parts_have_time_zero(make_model, make_case) -> None:
    """With everything given, the timestep is never seen; with one noisy latent, it is."""
    model = make_model()
    latent, conditions = make_case(latents=3, clean_video=3, tokens=20, clean_audio=20)
    other = torch.tensor([123.0])
    assert_same(model(latent, T, conditions), model(latent, other, conditions), bound=1e-12)
    latent = replace(latent, clean_video=2)
    assert error(model(latent, T, conditions).video, model(latent, other, conditions).video) > 1e-3


def test_given_parts_get_nothing_from_the_other_branch(make_model, make_case) -> None:
    """At a single layer, what a token gets from the other branch shows at once in the output."""
    model = make_model(layers=(3,))
    latent, conditions = make_case(latents=4, clean_video=2, tokens=40, clean_audio=15)
    joint = model(latent, T, conditions)
    alone = model(latent, T, replace(conditions, interaction=UNIMODAL))
    video = (joint.video - alone.video).abs().amax(dim=(0, 1, 3, 4))
    audio = (joint.audio - alone.audio).abs().amax(dim=(0, 1))
    assert (video[:2] == 0).all() and (video[2:] > 0).all()
    assert (audio[:15] == 0).all() and (audio[15:] > 0).all()


@pytest.mark.parametrize("dtype, bound", [(torch.bfloat16, 0.03), (torch.float16, 0.005)])
def test_half_precision(make_model, make_case, dtype: torch.dtype, bound: float) -> None:
    latent, conditions = make_case(clean_audio=3, voice=4)
    expected = make_model()(latent, T, conditions)
    velocity = make_model().to(dtype)(latent.map(lambda x: x.to(dtype)), T, conditions)
    assert velocity.video.dtype == velocity.audio.dtype == torch.float32
    assert_same(velocity, expected, bound)


@pytest.mark.parametrize("alignment", Alignment)
@pytest.mark.parametrize("site", Site)
@pytest.mark.parametrize("layers", Layers)
def test_ablations_are_different_models_of_the_same_weights(make_case, layers, site, alignment) -> None:
    config = small_config(layers=layers, site=site, alignment=alignment)
    assert ModelConfig.from_json(config.to_json()) == config
    latent, conditions = make_case(latents=4, tokens=83)
    with torch.no_grad():
        velocity = randomise(JointModel(config))(latent, T, conditions)
        alone = randomise(JointModel(config))(latent, T, replace(conditions, interaction=UNIMODAL))
    assert len(velocity.face_masks) == len(config.interaction_layers)
    assert velocity.video.isfinite().all() and error(velocity.video, alone.video) > 1e-4
    assert velocity.audio.isfinite().all() and error(velocity.audio, alone.audio) > 1e-4


def test_sites_and_alignments_differ(make_model, make_case) -> None:
    latent, conditions = make_case(latents=4, tokens=83)
    choices = [{"site": site} for site in Site] + [{"alignment": alignment} for alignment in list(Alignment)[1:]]
    outputs = [make_model(**choice)(latent, T, conditions).video for choice in choices]
    for i, a in enumerate(outputs):
        for b in outputs[:i]:
            assert error(a, b) > 1e-4


def test_interaction_layers() -> None:
    def layers(choice) -> tuple[int, ...]:
        return InteractionConfig(layers=choice).layer_indices(7)

    assert layers(Layers.INTERLEAVED) == (0, 2, 4, 6)
    assert layers(Layers.ALL) == tuple(range(7))
    assert layers(Layers.FIRST_HALF) + layers(Layers.LAST_HALF) == tuple(range(7))
    assert layers((1, 5)) == (1, 5)
    with pytest.raises(ValueError, match="rising indices below 4"):
        small_config(layers=(0, 4))


def test_gradients_agree_with_differences(make_model, make_case) -> None:
    """Training runs through the same classes: index tables that repeat a token must not count it twice."""
    model = make_model().double()
    latent, conditions = make_case(latents=3, height=2, width=2, tokens=40)
    latent = latent.map(lambda x: x.double().requires_grad_())

    def loss(audio: torch.Tensor) -> torch.Tensor:
        velocity = model(replace(latent, audio=audio), T, conditions)
        return velocity.video.double().square().sum() + velocity.audio.double().square().sum()

    (gradient,) = torch.autograd.grad(loss(latent.audio), latent.audio)
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        measured = (loss(latent.audio + step) - loss(latent.audio - step)) / 2
    assert abs(float((gradient * step).sum()) / float(measured) - 1) < 1e-3


def test_symmetric_temporal_sees_only_its_own_time() -> None:
    """2 latents, 5 frames, 10 tokens: two tokens a frame."""
    assert own_windows(2, 10).tolist() == [[0] + [1] * 7, list(range(2, 10))]
    (contexts,) = nearest_contexts(2, 10)
    assert contexts.latent == 0
    assert contexts.tokens.tolist() == [[0, 1] + [1] * 6, list(range(2, 10))]  # a short run repeats its last token


def test_contexts_cover_every_token_once() -> None:
    for latents, tokens, first in product((1, 2, 5, 21), (30, 131, 506), (0, 1, 29)):
        for contexts in (frame_contexts(latents, tokens, first), nearest_contexts(latents, tokens, first)):
            covered = [token for group in contexts for place in group.tokens for token in place.unique().tolist()]
            assert sorted(covered) == list(range(first, tokens))
            pieces = [piece for group in contexts for piece in group.split(3)]
            assert all(len(piece.tokens) <= 3 for piece in pieces)
            assert sum(len(piece.tokens) for piece in pieces) == sum(len(group.tokens) for group in contexts)


def test_a_single_latent_sees_all_that_is_there() -> None:
    """One frame, four tokens: the release fails here; the window takes the frame's own token and two frames more."""
    assert audio_windows(1, 4).tolist() == [[0] * 8 + [0, 1, 2, 3] + [3] * 5]
    (contexts,) = frame_contexts(1, 4)
    assert (contexts.latent, contexts.tokens.tolist()) == (1, [[0, 1, 2, 3]])  # the only latent, doubled


def test_places_follow_each_other() -> None:
    """Three tokens for 21 latents: latents that no token sees are left out."""
    contexts = nearest_contexts(21, 3)
    assert [(group.latent, group.tokens.tolist()) for group in contexts] == [(0, [[0]]), (7, [[1]]), (14, [[2]])]


def test_attention_goes_through_one_door(make_model, make_case) -> None:
    calls = []

    def counting(q, k, v, heads):
        calls.append(heads)
        return scaled_dot_product(q, k, v, heads)

    model = make_model()
    latent, conditions = make_case(interaction=UNIMODAL)
    model(latent, T, conditions, attention=counting)
    assert len(calls) == 4 * 4  # self- and cross-attention, two branches, four layers
    model(latent, T, replace(conditions, interaction=TO_VIDEO_ONLY), attention=counting)
    assert len(calls) == 2 * 16 + 2


def test_layer_classes_are_injected() -> None:
    names = ("Linear", "Conv1d", "Conv3d", "LayerNorm", "RMSNorm", "Embedding")
    own = {name: type(name, (getattr(torch.nn, name),), {}) for name in names}
    model = JointModel(small_config(), operations=SimpleNamespace(**own))
    layers = [type(module) for module in model.modules() if type(module).__name__ in names]
    assert set(layers) == set(own.values())


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda x, c: (replace(x, video=x.video[:, :5]), c), "5 channels, the model needs 6"),
        (lambda x, c: (replace(x, audio=x.audio[:, :4]), c), "4 mel bins, the model needs 5"),
        (lambda x, c: (replace(x, video=x.video[..., :5]), c), "must be even"),
        (lambda x, c: (replace(x, audio=x.audio[..., :0]), c), "is empty"),
        (lambda x, c: (x, replace(c, reference_image=c.reference_image[..., :2])), "reference image"),
        (lambda x, c: (x, replace(c, caption=c.caption[..., :3])), "text encoder that belongs to the model"),
        (lambda x, c: (x, replace(c, caption=c.caption[0])), "text encoder that belongs to the model"),
        (lambda x, c: (x, replace(c, speech=c.speech[:, :0])), "speech ids"),
        (lambda x, c: (x, replace(c, reference_voice=torch.zeros(1, 80, 3))), "reference voice"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(make_model, make_case, change, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_model()(*(lambda x, c: (x, T, c))(*change(*make_case())))


def test_a_latent_checks_itself() -> None:
    with pytest.raises(ValueError, match="one batch size"):
        AVLatent(torch.zeros(1, 48, 2, 4, 4), torch.zeros(2, 80, 5))
    with pytest.raises(ValueError, match="3 given latents"):
        AVLatent(torch.zeros(1, 48, 2, 4, 4), torch.zeros(1, 80, 5), clean_video=3)


@pytest.mark.parametrize(
    ("site", "order"),
    [
        (Site.BEFORE_SELF_ATTENTION, ["self_attn", "cross_attn", "ffn", "a2v"]),
        (Site.BEFORE_CROSS_ATTENTION, ["self_attn", "a2v", "cross_attn", "ffn"]),
        (Site.BEFORE_FFN, ["self_attn", "cross_attn", "a2v", "ffn"]),
    ],
)
def test_the_branches_meet_at_their_site(make_model, make_case, site: Site, order: list[str]) -> None:
    model, seen = make_model(site=site, layers=(1,)), []

    def note(module: torch.nn.Module, name: str) -> None:
        module.register_forward_pre_hook(lambda *_: seen.append(name))

    block = model.blocks[1]
    for name, module in (("self_attn", block.self_attn.o), ("cross_attn", block.cross_attn.o), ("ffn", block.ffn)):
        note(module, name)
    note(model.a2v_blocks[0], "a2v")
    model(*(lambda latent, conditions: (latent, T, conditions))(*make_case()))
    assert seen == order


def test_contexts_may_be_seen_a_few_at_a_time(make_model, make_case, monkeypatch) -> None:
    model, (latent, conditions) = make_model(), make_case(latents=4, tokens=83, clean_audio=5, batch=2)
    times = T.expand(2)
    at_once = model(latent, times, conditions)
    monkeypatch.setattr("uniavgen_core.model.aligners.CONTEXT_NUMBERS", 2 * 6 * 12)  # two contexts of 6 tokens
    calls = []

    def counting(q, k, v, heads):
        calls.append(k.shape)
        return scaled_dot_product(q, k, v, heads)

    assert_same(model(latent, times, conditions, attention=counting), at_once)
    contexts = [shape for shape in calls if shape[1:] == (6, 12)]  # of the sound's attention to one latent's tokens
    assert len(contexts) == 2 * 2  # two meetings; three latents and the last one doubled, two at a time
    assert max(shape[0] for shape in contexts) == 2 * 2


def test_global_alignment_counts_time_in_latents(make_case) -> None:
    """Both branches' positions lie on one axis, and those of what is given come before."""
    config = small_config(alignment=Alignment.SYMMETRIC_GLOBAL)
    grid, tokens, x = (3, 2, 3), 18, torch.zeros(1)  # 9 frames, two tokens a frame
    tables = AlignmentTables.build(config, grid, tokens, (1, 4), x)
    frame_angle = torch.atan2(tables.audio_key_rotary.sin, tables.audio_key_rotary.cos)[:, 0, 1]
    torch.testing.assert_close(frame_angle, torch.arange(18) / 8)  # half a frame each, four frames a latent
    torch.testing.assert_close(tables.audio_query_rotary.cos[0, 0, 0], torch.tensor(4 / 8).cos())
    torch.testing.assert_close(
        tables.video_query_rotary.cos[:, 0, 0], torch.tensor([1.0, 2.0]).repeat_interleave(6).cos()
    )
    torch.testing.assert_close(tables.video_key_rotary.cos[:, 0, 0], torch.arange(3.0).repeat_interleave(6).cos())


def test_late_speech_tokens_share_the_last_position(make_model) -> None:
    positions = make_model().text_embedding._positions(torch.zeros(1, 4100, dtype=torch.int64))
    assert torch.equal(positions[4095], positions[4099])
    assert not torch.equal(positions[4094], positions[4095])


def test_attention_to_a_mix_that_is_never_made(make_model) -> None:
    """What the sound sees between two latents: mixed, then normalised and rotated, then attended to."""
    config = small_config()
    model, x = make_model().v2a_blocks[0], torch.randn(2, 5, 6, config.video.dim, generator=torch.manual_seed(3))
    tables = AlignmentTables.build(config, (5, 2, 3), 106, (1, 0), x)
    view = model.look(x, tables)
    doubled = torch.cat((x, 2 * x[:, -1:]), dim=1)
    raw = model.k(doubled)
    for contexts in tables.contexts:
        q = torch.randn(2, *contexts.tokens.shape, config.audio.dim)  # [B, C, m, dim]
        weights = torch.zeros(contexts.tokens.shape) if contexts.weights is None else contexts.weights
        latent = torch.arange(contexts.latent, contexts.latent + len(contexts.tokens))
        after = (latent + 1).clamp(max=5)

        def mix(part, a=weights[:, :, None, None], latent=latent, after=after):
            return (1 - a) * part[:, latent, None] + a * part[:, after, None]  # [B, C, m, n, dim]

        keys, values = rotate(model.norm_k(mix(raw)), tables.video_key_rotary, model.heads), mix(model.v(doubled))
        expected = scaled_dot_product(*(part.flatten(0, 2) for part in (q[..., None, :], keys, values)), model.heads)
        seen = model._attend(q, view, contexts, scaled_dot_product)
        torch.testing.assert_close(seen, expected.reshape(q.shape))
    assert contexts.weights is not None


def test_a_clean_prediction_becomes_the_velocity_that_leads_to_it(make_case):
    """From any time, the velocity of a model that predicts clean latents points from them to what it saw."""
    latent, conditions = make_case()
    model = randomise(JointModel(small_config()))
    clean = JointModel(replace(small_config(), video_prediction=Prediction.CLEAN))
    clean.load_state_dict(model.state_dict())
    for t in (1000.0, 250.0):
        said, velocity = (m(latent, torch.tensor([t]), conditions) for m in (model, clean.eval()))
        torch.testing.assert_close(latent.video - t / 1000 * velocity.video, said.video, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(velocity.audio, said.audio)


def test_stretched_speech_stands_farther_apart():
    plain, stretched = (rotary_1d(9, 6, torch.device("cpu"), stretch) for stretch in (1.0, 2.0))
    torch.testing.assert_close(stretched.sin[:5], plain.sin[::2])


def test_the_fast_gelu_is_pytorchs_and_leaves_learning_to_it():
    x = torch.linspace(-12, 12, 20_001)
    expected = torch.nn.functional.gelu(x.double(), approximate="tanh")
    torch.testing.assert_close(GELU()(x).double(), expected, atol=1e-6, rtol=1e-6)
    learnt = x.clone().requires_grad_()
    GELU()(learnt).sum().backward()
    assert learnt.grad.isfinite().all() and learnt.grad[-1] == 1


def test_configurations_written_before_there_were_more_names() -> None:
    values = json.loads(small_config().to_json())
    first = {name: value for name, value in values.items() if name not in ("speech_stretch", "video_prediction")}
    assert ModelConfig.from_json(json.dumps(first)) == small_config()
    del first["video"]
    for wrong in (first, {**values, "colour": 1}):
        with pytest.raises(ValueError, match="unknown or missing names"):
            ModelConfig.from_json(json.dumps(wrong))
