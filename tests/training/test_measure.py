"""Measures: analytic answers for every number, and tasks done exactly as a user would have them done."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("espeakng_loader")

from training import __main__ as command
from training import measure
from training.measures import ablations, numbers, reader, scores, tables
from training.measures.guidance import settings
from training.measures.numbers import Bench, Ledger
from training.measures.pictures import draw, draw_mel, strip
from training.measures.subject import digest, fingerprint, in_training, shipped, variant
from training.measures.tasks import Made, Plan, Task, make, material, unseen_clip
from training.model import STAGES, Learner, audio_branch
from uniavgen_core.bundle import Bundle
from uniavgen_core.pipeline import generate
from uniavgen_core.sampling import Mode, timesteps
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny.config import GUIDANCE, NAME, SHORT_SIDE, TINY
from uniavgen_core.tiny.load import VOCABULARY, load_part
from uniavgen_core.tiny.vae import TinyVAE
from uniavgen_core.tiny.vocoder import TinyVocoder
from uniavgen_core.video.picture import to_bytes

FRAMES = 17


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The tiny model with random weights, of which every part matters."""
    torch.manual_seed(0)
    learner = Learner().requires_grad_(False).eval()
    for parameter in learner.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    return Bundle(
        model=learner.model,
        caption_encoder=learner.captions,
        vae=TinyVAE().requires_grad_(False),
        vocoder=load_part("vocoder", TinyVocoder),
        vocabulary=Vocabulary.from_file(VOCABULARY),
        short_side=SHORT_SIDE,
        name=NAME,
        guidance=GUIDANCE,
    )


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's file, learnt from a few clips."""
    path = tmp_path_factory.mktemp("reader") / "new" / "reader.safetensors"
    reader.load_reader(path, 100)
    return path


@pytest.fixture
def listener() -> reader.Reader:
    """Hears an open mouth wherever the lowest bins are loud at the very moment."""
    matrix = np.zeros((40 * len(reader.OFFSETS), 1), np.float32)
    matrix[len(reader.OFFSETS) // 2] = 1
    return reader.Reader((matrix,), (np.zeros(1, np.float32),))


def test_a_curve_goes_with_itself_and_with_no_one_who_stands_still() -> None:
    curve = np.sin(np.arange(20))
    assert scores.correlation(curve, 2 * curve + 1) == pytest.approx(1)
    assert scores.correlation(curve, -curve) == pytest.approx(-1)
    assert scores.correlation(curve, np.full(20, 0.3)) == 0


def test_the_mouth_does_not_count_for_the_picture() -> None:
    picture = np.full((128, 128, 3), 100, np.uint8)
    frames = np.repeat(picture[None], 3, 0)
    frames[(slice(None), *scores.MOUTH)] = 0
    assert scores.psnr(frames, picture) == pytest.approx(100)  # as good as it is counted
    assert scores.psnr(frames + np.uint8(51), picture) == pytest.approx(-20 * math.log10(0.2), abs=1e-4)


def test_masks_overlap_by_what_both_have() -> None:
    true = np.array([[0.9, 0.6], [0.4, 0.0]])
    found = np.array([[[0.7, 0.1], [0.8, 0.2]], [[0.7, 0.6], [0.1, 0.2]]])  # 1 of 3, and 2 of 2
    assert scores.overlap(found, true) == pytest.approx(3 / 5)


def rows_of(**columns: list) -> list[dict]:
    count = len(next(iter(columns.values())))
    return [{"clip": n, "seed": 0, **{name: values[n] for name, values in columns.items()}} for n in range(count)]


def test_a_mean_has_its_error() -> None:
    values = np.random.default_rng(1).normal(5, 2, 200)
    score = scores.summarize(rows_of(x=values.tolist()), ("x",), scores.mean("x"))
    assert score.value == pytest.approx(values.mean())
    assert score.error == pytest.approx(values.std() / 200**0.5, rel=0.1)
    assert score.seeds is None
    assert math.isnan(scores.summarize(rows_of(x=[3.0]), ("x",), scores.mean("x")).error)


def test_seeds_of_one_clip_are_one_clip() -> None:
    rows = [{"clip": n, "seed": seed, "x": 10.0 * n + seed} for n in range(4) for seed in (0, 2)]
    score = scores.summarize(rows, ("x",), scores.mean("x"))
    assert score.value == pytest.approx(16)
    assert score.error == pytest.approx(np.std([1, 11, 21, 31]) / 2, rel=0.1)
    assert score.seeds == pytest.approx(math.sqrt(2))  # the means are 15 and 17


def test_what_could_not_be_measured_is_left_out() -> None:
    assert scores.summarize(rows_of(x=[None, 2.0, 4.0]), ("x",), scores.mean("x")).value == 3
    assert scores.summarize(rows_of(x=[None]), ("x",), scores.mean("x")) is None


def test_long_sentences_count_by_their_words() -> None:
    rows = rows_of(wrong=[1.0, 0.0], words=[2, 8])
    assert scores.summarize(rows, ("wrong", "words"), scores.ratio("wrong", "words")).value == pytest.approx(0.1)


def test_the_pitch_within_a_voice_does_not_gain_by_the_voices() -> None:
    columns = {
        "a": np.array([100.0, 110, 300, 330]),
        "b": np.array([110.0, 100, 330, 300]),
        "v": np.array([0, 0, 1, 1]),
    }
    assert scores.correlate("a", "b")(columns) > 0.9
    assert scores.correlate_within("a", "b", "v")(columns) == pytest.approx(-1)
    assert scores.deviation("a", "b")(columns) == pytest.approx((0.1 + 1 / 11) / 2)


def test_the_reader_looks_around_each_frame() -> None:
    tokens = np.repeat(np.arange(106, dtype=np.float32)[None], 80, 0)  # its time, in tokens
    seen = reader.windows(tokens, FRAMES).reshape(FRAMES, 40, len(reader.OFFSETS))
    wanted = np.arange(FRAMES)[:, None] * 6.25 - 0.5 + reader.OFFSETS
    np.testing.assert_allclose(seen[:, 7], wanted.clip(0, 105), atol=1e-4)


def test_what_is_read_is_an_opening(listener: reader.Reader) -> None:
    tokens = torch.zeros(80, 106)
    tokens[0] = 1.0
    tokens[:2, 50:] = 9.0
    read = listener.read(tokens, FRAMES)
    assert read[:7].tolist() == [0.5] * 7 and read[10:].tolist() == [1.0] * 7


def test_a_reader_reads_unseen_clips(learnt: Path) -> None:
    known = reader.load_reader(learnt)
    assert np.mean(reader.quality(known, [unseen_clip(n, 33) for n in range(8)])) > 0.9


def test_a_reader_is_learnt_once(learnt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = reader.load_reader(learnt)
    monkeypatch.setattr(reader, "learn", None)
    kept = reader.load_reader(learnt)
    tokens = reader.tokens_of(unseen_clip(0, 33))
    np.testing.assert_array_equal(kept.read(tokens, 33), known.read(tokens, 33))
    monkeypatch.setattr(reader, "NOISE", 0.5)
    with pytest.raises(TypeError):  # another recipe: learnt anew
        reader.load_reader(learnt)


@pytest.mark.parametrize("task", [task for task in Task if task.generates and task is not Task.BLIND])
def test_a_task_is_done_as_a_user_has_it_done(bundle: Bundle, task: Task) -> None:
    clip, stuff = unseen_clip(1, FRAMES), material(task, unseen_clip(1, FRAMES))
    made = make(bundle, task, clip, Plan(steps=2, frames=FRAMES), seed=3)
    film = generate(bundle, stuff, speech=clip.text, caption=clip.caption, frames=FRAMES, steps=2, seed=3)
    if not task.dubs:
        np.testing.assert_array_equal(made.frames, to_bytes(film.frames))
    if task is not Task.DRIVEN:
        np.testing.assert_array_equal(made.waveform, film.waveform[0].numpy())
    assert made.tokens.shape == (80, 106) and made.mask.shape == (5, 4, 4)


def test_without_interaction_the_video_is_not_heard(bundle: Bundle) -> None:
    how, first, second = Plan(steps=1, frames=FRAMES), unseen_clip(1, FRAMES), unseen_clip(2, FRAMES)
    texts = {"text": first.text, "caption": first.caption}
    other = type(second)(**{**vars(second), **texts})  # the same is said of another video
    blind = [make(bundle, Task.BLIND, clip, how).tokens for clip in (first, other)]
    looking = [make(bundle, Task.DUBBING, clip, how).tokens for clip in (first, other)]
    assert torch.equal(*blind)
    assert not torch.allclose(*looking)


def test_the_clip_itself_is_nearly_perfect(bundle: Bundle, learnt: Path) -> None:
    clip, other = unseen_clip(3, 81), unseen_clip(4, 81)
    made = make(bundle, Task.TRUTH, clip, Plan())
    row = numbers.count(bundle, reader.load_reader(learnt), Task.TRUTH, clip, other, made)
    assert row["mouth/truth"] > 0.99 and row["sound/mouth"] > 0.9
    assert row["mouth/other"] < 0.6 and row["sound/other"] < 0.6
    assert row["words"] == len(clip.text.split()) and row["wrong"] <= 1
    assert row["right"] == 1 and row["pitch"] == pytest.approx(row["pitch wanted"], rel=0.2)
    assert row["picture"] > 25  # eyes blink
    assert row["face"] is None


def test_half_a_line_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"key": "a", "x": 1}\n{"key": "b", "x"')
    ledger = Ledger(path)
    assert ledger.rows == {"a": {"x": 1}}
    ledger.add("c", {"x": 2})
    assert Ledger(path).rows == {"a": {"x": 1}, "c": {"x": 2}}


def test_nothing_is_measured_twice(
    tmp_path: Path, bundle: Bundle, listener: reader.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def fake(_bundle, task, clip, how, seed):
        done.append((task, how.guidance, seed))
        return Made(clip.frames, clip.waveform, torch.zeros(80, 106), None)

    monkeypatch.setattr(numbers, "make", fake)
    how = Plan(frames=FRAMES)
    for _ in range(2):
        bench = Bench(bundle, listener, Ledger(tmp_path / "rows.jsonl"))
        rows = bench.rows(Task.DRIVEN, how, clips=2, seeds=(0, 1))
        assert [(row["clip"], row["seed"]) for row in rows] == [(0, 0), (1, 0), (0, 1), (1, 1)]
        assert len(done) == 4
    assert len({seed for *_, seed in done}) == 4  # noise
    bench.rows(Task.DRIVEN, Plan(frames=FRAMES, guidance=settings()["none"]), clips=1)
    assert len(done) == 5
    deaf = reader.Reader(listener.matrices, (np.ones(1, np.float32),))
    Bench(bundle, deaf, bench.ledger).rows(Task.DRIVEN, how, clips=1)
    assert len(done) == 6


@pytest.mark.parametrize(
    ("name", "early", "late"),
    [
        ("none", Mode.NONE, Mode.NONE),
        ("plain 2", Mode.PLAIN, Mode.PLAIN),
        ("MA-CFG 2", Mode.MODALITY_AWARE, Mode.MODALITY_AWARE),
        ("MA-CFG in [0.5, 1] 2", Mode.MODALITY_AWARE, Mode.NONE),
    ],
)
def test_guidance_acts_where_it_says(name: str, early: Mode, late: Mode) -> None:
    guidance, schedule = settings()[name], timesteps(10, 1.0)
    assert guidance.mode(1000.0, schedule) is guidance.mode(float(schedule[4]), schedule) is early
    assert guidance.mode(float(schedule[6]), schedule) is guidance.mode(float(schedule[9]), schedule) is late
    assert guidance.skip_layers == ()
    assert len(settings((1.5, 2, 3))) == 10


def test_a_small_budget_has_every_stage() -> None:
    assert [stage.steps for stage in ablations.stages(2, (0.1, 0.0), 33)] == [1, 2]
    stages = ablations.stages(1200, (0.1, 0.0), 33)
    assert [stage.steps for stage in stages] == [round(1200 * stage.steps / STAGES[-1].steps) for stage in STAGES]
    assert stages[0].mask[0] == pytest.approx(0.1) and stages[0].mask[1] == pytest.approx(stages[1].mask[0])
    assert stages[1].mask[1] == pytest.approx(0)
    assert ablations.stages(1200, (0.1, 0.1), 33)[1].mask == pytest.approx((0.1, 0.1))
    with pytest.raises(ValueError, match="budget"):
        ablations.stages(1, (0.1, 0.0), 33)


def test_every_variant_differs_and_is_asked_for() -> None:
    variants = ablations.VARIANTS
    assert len({(variant.config, variant.mask) for variant in variants.values()}) == len(variants)
    asked = [name for _, others in ablations.QUESTIONS.values() for name in others]
    assert sorted([ablations.PAPER, *asked]) == sorted(variants)
    assert len({ablations.folder_of(Path(), name) for name in variants}) == len(variants)


def test_a_table_shows_what_a_task_has() -> None:
    rows = rows_of(**{"wrong": [1.0, 1.0], "words": [4, 6], "mouth/truth": [0.5, 0.5], "sound/mouth": [0.7, 0.9]})
    rows = {Task.JOINT: rows, Task.DRIVEN: rows}
    table = tables.by_task("What it can", rows, [tables.FOLLOWS, tables.IN_SYNC, tables.WRONG])
    lines = table.markdown().splitlines()
    assert lines[0] == "### What it can"
    assert lines[2] == "| task | mouth with the true curve | sound with the mouth | words wrong |"
    assert lines[4].startswith("| joint |  | 0.800 ± 0.0") and " 20.0 ± " in lines[4] and lines[4].endswith(" % |")
    assert lines[5].startswith("| audio-driven | 0.500 ± 0.000 | 0.800") and lines[5].endswith("|  |")
    assert table.plain()["rows"]["joint"]["words wrong"]["value"] == pytest.approx(0.2)
    assert table.plain()["rows"]["joint"]["mouth with the true curve"] is None


def test_a_single_clip_has_no_error_and_json_no_nan() -> None:
    table = tables.by_task("One", {Task.DRIVEN: rows_of(face=[0.5])}, [tables.FACE])
    assert "| audio-driven | 0.500 |" in table.markdown()
    assert json.loads(json.dumps(table.plain(), allow_nan=False))["rows"]["audio-driven"]["face mask, IoU"] == {
        "value": 0.5,
        "error": None,
        "seeds": None,
    }


def test_a_strip_shows_the_first_and_the_last_frame() -> None:
    frames = np.arange(81, dtype=np.uint8)[:, None, None, None] * np.ones((1, 128, 128, 3), np.uint8)
    picture = strip(frames)
    assert picture.shape == (128, 10 * 132 - 4, 3)
    assert picture[0, 0, 0] == 0 and picture[0, 130, 0] == 255 and picture[0, -1, 0] == 80


def test_pictures_are_drawn(tmp_path: Path, listener: reader.Reader) -> None:
    clip = unseen_clip(1, FRAMES)
    made = Made(clip.frames, clip.waveform, reader.tokens_of(clip), None)
    draw(tmp_path / "strip.png", Task.DRIVEN, clip, made, listener)
    draw_mel(tmp_path / "mel.png", made)
    assert {path.name: Image.open(path).format for path in tmp_path.iterdir()} == {"strip.png": "PNG", "mel.png": "PNG"}


def test_a_training_is_measured_as_it_stands(tmp_path: Path, bundle: Bundle, listener: reader.Reader) -> None:
    learner = Learner()
    parts = {"model": learner, "vae": TinyVAE()}
    for name, part in parts.items():
        averaged = {f"module.{key}": tensor for key, tensor in part.state_dict().items()}
        torch.save({"averaged": {"n_averaged": torch.tensor(1), **averaged}}, tmp_path / f"{name}.pt")
    found = in_training(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), learner.model.parameters(), strict=True))
    assert torch.equal(found.caption_encoder.norm.weight, learner.captions.norm.weight)
    assert torch.equal(found.vae.head.weight, parts["vae"].head.weight)
    assert fingerprint(found, listener) == fingerprint(in_training(tmp_path), listener)
    assert fingerprint(found, listener) != fingerprint(bundle, listener)
    with_its_own = variant(tmp_path, TINY, tmp_path)
    assert torch.equal(with_its_own.vae.head.weight, found.vae.head.weight)
    shown = variant(tmp_path, TINY)
    assert torch.equal(shown.vae.head.weight, load_part("vae", TinyVAE).head.weight)
    assert all(torch.equal(a, b) for a, b in zip(shown.model.parameters(), learner.model.parameters(), strict=True))
    (tmp_path / "model.pt").unlink()
    with pytest.raises(ValueError, match=r"no .*model\.pt.*training tiny"):
        in_training(tmp_path)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--guidance", "magic"], "magic"),
        (["--steps", "0"], "at least 1 step"),
        (["--frames", "16"], "4n"),
        (["--frames", "5"], "no room for a word"),
        (["--folder", "/nonexistent"], "training tiny"),
        (["--part", "ablations", "--budget", "1", "--data", "/nonexistent"], "2 stages"),
        (["--part", "ablations", "--data", "/nonexistent"], "no clips in /nonexistent"),
    ],
)
def test_the_command_refuses_with_a_sentence_before_anything_is_learnt(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(measure, "load_reader", None)
    assert command.main(["measure", "--output", str(tmp_path), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_damaged_reader_is_learnt_anew(
    tmp_path: Path, listener: reader.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "reader.safetensors"
    monkeypatch.setattr(reader, "learn", lambda clips: listener)
    reader.load_reader(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert reader.load_reader(path) is listener and path.read_bytes() == whole


def test_variants_begin_with_branches_that_do_not_meet() -> None:
    learner, begun = Learner(), audio_branch(shipped())
    assert not any("a2v_" in name or "v2a_" in name for name in begun)
    assert {name for name in learner.state_dict() if "a2v_" not in name and "v2a_" not in name} == set(begun)


def test_without_clips_some_are_made_for_the_ablations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(measure, "make_clips", lambda wanted: asked.extend(wanted))
    monkeypatch.setattr(measure, "Dataset", lambda folder: folder)
    order = measure.Order(None, None, tmp_path, 1, (0,), Plan(frames=33), (), 3)
    folder, begun = measure.ablation_material(order)
    assert folder == tmp_path / "clips" == asked[0].folder and asked[0].lengths == {33: measure.ABLATION_CLIPS}
    assert set(begun) == set(audio_branch(shipped()))


def test_what_variants_begin_with_is_told_apart() -> None:
    begun = audio_branch(shipped())
    other = {name: weight + 1 if name.endswith("head.bias") else weight for name, weight in begun.items()}
    assert digest(begun) == digest(dict(reversed(begun.items()))) != digest(other)
