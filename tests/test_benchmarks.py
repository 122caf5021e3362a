"""The benchmarks measure what they say."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks import growth, released, run
from benchmarks.cases import SIZES, TASKS, TIME, make_inputs
from benchmarks.counts import counted, flops_of_run
from benchmarks.floor import record
from benchmarks.measure import peak_bytes, seconds
from uniavgen_core.model import JointModel
from uniavgen_core.sampling import Guidance
from uniavgen_core.types import UNIMODAL

SMALL = SIZES["small"]


def test_the_floor_has_the_products_and_attentions_of_a_call():
    model = nn.Sequential(nn.Linear(3, 5), nn.Conv1d(4, 6, 3, padding=1))

    def forward(work):
        model(torch.zeros(1, 4, 3))
        work.attention(torch.zeros(1, 7, 8), torch.zeros(1, 9, 8), torch.zeros(1, 9, 8), 2)

    work = record(model, forward)
    assert work.products == [(4, 3, 5), (5, 12, 6)]
    assert work.attentions == [(1, 2, 7, 9, 4)]
    assert work.flops == 2 * (4 * 3 * 5 + 5 * 12 * 6) + 4 * 7 * 9 * 8


@pytest.mark.parametrize("name", TASKS)
def test_two_ways_of_counting_agree(name):
    """Our record of the layers that run, and PyTorch's counter of the operations below them."""
    model = JointModel(SMALL.config, device="meta")
    latent, conditions, _ = make_inputs(SMALL, TASKS[name], "meta")
    prepared = model.prepare(latent, conditions)

    def forward(**told):
        return model(latent, TIME.to("meta"), conditions, prepared=prepared, **told)

    assert record(model, lambda work: forward(attention=work.attention)).flops == counted(lambda _: forward(), 1)


def test_a_runs_count_is_the_sum_of_its_passes():
    model = JointModel(SMALL.config, device="meta")
    latent, positive, negative = make_inputs(SMALL, TASKS["dubbing"], "meta")
    skip = {"skip_layers": Guidance.for_layers(SMALL.config.num_layers).skip_layers}
    kept, kept_negative = model.prepare(latent, positive), model.prepare(latent, negative, **skip)

    def flops(call, *arguments, **told):
        return counted(lambda _: call(*arguments, **told), 1)

    once = flops(model.prepare, latent, positive) + flops(model.prepare, latent, negative, **skip)
    passes = [
        flops(model, latent, TIME.to("meta"), positive, prepared=kept),
        flops(model, latent, TIME.to("meta"), negative, prepared=kept_negative, **skip),
        flops(model, latent, TIME.to("meta"), replace(negative, interaction=UNIMODAL), prepared=kept_negative, **skip),
    ]
    assert passes[2] < passes[1] < passes[0] < once
    assert flops_of_run(SMALL, TASKS["dubbing"], 6, None) == {
        "ours": once + 6 * passes[0] + 3 * passes[1] + 3 * passes[2]
    }


def test_exponents_of_powers():
    assert math.isclose(growth.exponent([1, 2, 4], [3, 12, 48]), 2)
    assert math.isclose(growth.exponent([1, 10, 1000], [5, 5, 5]), 0, abs_tol=1e-12)


def test_only_what_is_said_to_grow_grows():
    for what, clips in growth.clips(SMALL):
        kept = {"frames": ("height", "width", "tokens"), "pixels": ("latents", "tokens")}.get(
            what, ("latents", "height")
        )
        for _, clip in clips:
            assert all(getattr(clip, name) == getattr(SMALL, name) for name in kept)
        amounts = [amount for amount, _ in clips]
        assert amounts == sorted(set(amounts))


def test_peak_memory_is_the_most_held_at_once():
    numbers = 1 << 20

    def call():
        a = torch.ones(numbers)
        b = a + 1
        del a
        return b + 1  # never more than two at once

    assert peak_bytes(call) == pytest.approx(2 * 4 * numbers, rel=1e-3)


def test_calls_take_turns():
    order = []
    best = seconds({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3 and set(best) == {"a", "b"} and all(0 < value < 1 for value in best.values())


def test_the_table_of_passes(capsys):
    assert run.main(["--size", "small", "--part", "forwards", "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == list(TASKS)
    table = dict(zip(rows[0], zip(*rows[2:], strict=True), strict=True))
    for name in ("ours", "floor", "arithmetic"):
        assert all(float(value.split()[0]) > 0 for value in table[name])


def test_runs_of_one_layer_are_refused(capsys):
    with pytest.raises(SystemExit):
        run.main(["--size", "wide", "--part", "savings"])
    assert "runs and savings need --size small or medium" in capsys.readouterr().err


def test_a_folder_without_the_released_code(tmp_path):
    with pytest.raises(FileNotFoundError, match="git clone"):
        released.import_model(tmp_path)
