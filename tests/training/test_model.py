"""What the joint model is taught: lessons of every task, and their losses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.data import NO_PICTURES, Batch
from training.lessons import lesson, losses, speech_ids, times, written
from training.model import ALONE, MIX, SOUND, STAGES, Learner, choose, optimizers
from training.reading import ReadingAttention, reading
from uniavgen_core.config import Prediction
from uniavgen_core.model.attention import scaled_dot_product
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny.config import TINY
from uniavgen_core.tiny.load import VOCABULARY
from uniavgen_core.types import UNIMODAL, AVLatent, Velocity

WORDS = Vocabulary.from_file(VOCABULARY)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def learner() -> Learner:
    torch.manual_seed(0)
    return Learner()


@pytest.fixture
def batch() -> Batch:
    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=seeded(sum(shape)))

    return Batch(
        random(3, 48, 5, 4, 4),
        random(3, 80, 106),
        torch.rand(3, 2, 2, generator=seeded()),
        random(3, 80, 40),
        ["one two", "three", "six nine"],
        ["a man", "a woman", "a man"],
        ["yes", "hello", "zero"],
        [[(0.1, 0.4), (0.5, 0.9)], [(0.2, 0.6)], [(0.1, 0.5), (0.5, 0.9)]],
    )


@pytest.mark.parametrize(
    ("task", "clean"), [("joint", (1, 0)), ("voice", (1, 0)), ("dubbing", (5, 0)), ("audio-driven", (1, 106))]
)
def test_lessons_are_noise_at_one_time_beside_what_is_given(learner, batch, task, clean):
    noisy, target, sigma, conditions, _ = lesson(learner.captions, batch, task, WORDS, seeded(5))
    assert (noisy.clean_video, noisy.clean_audio) == clean == (target.clean_video, target.clean_audio)
    k, n = clean
    assert torch.equal(noisy.video[:, :, :k], batch.video[:, :, :k])
    assert torch.equal(noisy.audio[:, :, :n], batch.audio[:, :, :n])
    # x = data + sigma * (noise - data): a step of -sigma along the target leads to the data
    for x, v, data, start in ((noisy.video, target.video, batch.video, k), (noisy.audio, target.audio, batch.audio, n)):
        reached = x - sigma.view(-1, *[1] * (x.ndim - 1)) * v
        torch.testing.assert_close(reached[:, :, start:], data[:, :, start:], atol=1e-5, rtol=1e-5)
    assert torch.equal(conditions.reference_image, batch.video[:, :, :1])
    assert (conditions.reference_voice is not None) == (task == "voice") or task == "dubbing"


def test_a_continuation_is_given_whole_latents_and_their_sound(learner, batch):
    seen = {lesson(learner.captions, batch, "continuation", WORDS, seeded(seed))[0].clean_video for seed in range(20)}
    assert seen == {2}  # up to half of five
    noisy, *_ = lesson(learner.captions, batch, "continuation", WORDS, seeded())
    assert noisy.clean_audio == 31  # 5 frames of 6.25 tokens


def test_speech_is_left_out_but_not_what_the_voice_says(batch):
    told = torch.tensor([True, False, True])
    (plain, places), (voiced, later) = (speech_ids(batch, told, voice, WORDS, seeded()) for voice in (False, True))
    assert (plain[1] == -1).all() and (plain[0] != -1).any()
    said = "".join(WORDS.entries[i] for i in voiced[0].tolist() if i >= 0).lower().replace(",", "").replace(".", "")
    assert said == "yes one two"
    assert not places[1] and not later[1]
    for ids, words in ((plain, places), (voiced, later)):
        found = ["".join(WORDS.entries[i] for i in ids[0, a:b].tolist()).lower().strip(",.") for a, b in words[0]]
        assert found == ["one", "two"]
    kept = "".join(WORDS.entries[i] for i in voiced[1].tolist() if i >= 0).lower().strip(" .")
    assert kept == "hello"


def test_texts_are_written_in_several_ways():
    forms = {written("one two three", seeded(seed)) for seed in range(200)}
    assert {"one two three", "One two three.", "one two three.", "One two three"} <= forms
    assert any("," in form for form in forms) and not any(form.rstrip(".").endswith(",") for form in forms)


def test_times_cover_the_range_and_prefer_noise():
    sigma = torch.cat([times(8, seeded(seed)) for seed in range(500)])
    assert sigma.min() > 0 and sigma.max() <= 1
    assert sigma.median() == pytest.approx(5 / 6, abs=0.02)  # shift 5 of one half


def test_losses_count_what_is_not_given_and_clean_errors():
    target = AVLatent(torch.zeros(2, 48, 3, 2, 2), torch.zeros(2, 80, 10), clean_video=1, clean_audio=4)
    video, audio = torch.ones(2, 48, 3, 2, 2), torch.ones(2, 80, 10)
    video[:, :, :1], audio[:, :, :4] = 100, 100
    sigma = torch.tensor([0.5, 1.0])
    mask = torch.tensor([[[0.25]], [[1.0]]])
    found = losses(Velocity(video, audio, (mask[:, None].expand(2, 3, 1, 1),)), target, sigma, mask, TINY)
    assert found["audio"] == 1 and found["video"] == pytest.approx((0.25 + 1) / 2)
    entropy = -(0.25 * torch.tensor(0.25).log() + 0.75 * torch.tensor(0.75).log())
    assert found["mask"] == pytest.approx(float(entropy) / 2, abs=1e-4)
    plain = replace(TINY, video_prediction=Prediction.VELOCITY)
    assert losses(Velocity(video, audio), target, sigma, mask, plain)["video"] == 1
    whole = replace(target, clean_video=3)
    assert "video" not in losses(Velocity(video, audio), whole, sigma, mask, TINY)


def test_a_step_reaches_every_part_that_its_task_uses(learner, batch):
    """Aligners end in zeros, so what is before them learns from the second step on."""
    learner.zero_grad()
    with torch.no_grad():
        for aligner in (*learner.model.a2v_blocks, *learner.model.v2a_blocks):
            aligner.o.weight.fill_(0.01)
        learner.model.head.head.weight.fill_(0.01)
        learner.model.head_audio.head.weight.fill_(0.01)
    noisy, target, sigma, conditions, reader = lesson(learner.captions, batch, "voice", WORDS, seeded(1))
    conditions = replace(conditions, interaction=type(conditions.interaction)())
    velocity = learner.model(noisy, sigma * 1000, conditions, attention=reader)
    sum(losses(velocity, target, sigma, batch.mask, TINY).values()).backward()
    idle = [name for name, p in learner.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == ["model.audio_padding"]


def test_the_audio_branch_learns_alone(learner, batch):
    """Without pictures it is told, and says, the same as beside a video that it does not see."""
    noisy, _, sigma, conditions, _ = lesson(learner.captions, batch, "joint", WORDS, seeded())
    alone = replace(conditions, interaction=UNIMODAL)
    none = torch.zeros(len(batch.text), *NO_PICTURES)
    small = replace(alone, reference_image=none)
    said = learner.model(replace(noisy, video=none), sigma * 1000, small).audio
    torch.testing.assert_close(said, learner.model(noisy, sigma * 1000, alone).audio)


def test_every_weight_is_changed_by_one_optimizer(learner):
    muon, adam = optimizers(learner, 0.1)
    changed = [weight for one in (muon, adam) for group in one.param_groups for weight in group["params"]]
    assert {id(weight) for weight in changed} == {id(weight) for weight in learner.parameters()}
    assert len(changed) == len(list(learner.parameters()))
    assert any(weight is learner.model.blocks[0].ffn[0].weight for weight in muon.param_groups[0]["params"])


def test_what_is_being_said_is_known_by_the_word(batch):
    said = reading(batch, [[(0, 3), (4, 7)], [], [(2, 5), (6, 10)]], 12)
    assert said.shape == (3, 106, 12) and not said[1].any()
    assert said[0, 20].nonzero().flatten().tolist() == [0, 1, 2] and not said[0, 45].any()
    assert said[2, 49].nonzero().flatten().tolist() == [2, 3, 4]
    assert said[2, 50].nonzero().flatten().tolist() == [6, 7, 8, 9]


def test_reading_is_attention_and_costs_what_looks_elsewhere():
    q, k, v = (torch.randn(2, n, 12, generator=seeded(n)) for n in (5, 7, 7))
    said = torch.zeros(2, 3, 7, dtype=torch.bool)  # of the last three of five tokens
    said[0, 1, 2:4] = said[1, 2, 6] = True
    reader = ReadingAttention(said, 5)
    torch.testing.assert_close(reader(q, k, v, 3), scaled_dot_product(q, k, v, 3))
    reader(q, k[:, :5], v[:, :5], 3)  # another attention
    weights = ((q.unflatten(-1, (3, 4)).transpose(1, 2) @ k.unflatten(-1, (3, 4)).permute(0, 2, 3, 1)) / 2).softmax(-1)
    mean = weights.mean(dim=1)
    expected = -(mean[0, 3, 2:4].sum().log() + mean[1, 4, 6].log()) / 2
    torch.testing.assert_close(reader.loss(), expected)


def test_tasks_come_as_often_as_the_mix_has_them():
    generator = seeded()
    drawn = [choose(MIX, generator) for _ in range(5000)]
    for task, weight in MIX.items():
        assert drawn.count(task) / 5000 == pytest.approx(weight / 10, abs=0.03)
    assert set(SOUND.tasks) == set(ALONE) and not any(set(stage.tasks) & set(ALONE) for stage in STAGES)
    assert STAGES[0].mask[0] == 0.1 and STAGES[1].mask[1] == 0
