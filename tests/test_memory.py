"""The estimate of a run's memory against what runs of different sizes hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks import memory
from benchmarks.cases import SIZES, TASKS, TIME, Size, make_inputs, make_model
from benchmarks.measure import peak_bytes
from benchmarks.memory import Held, counted, estimated
from uniavgen_core.config import RELEASE

MEDIUM = replace(SIZES["medium"], latents=5, height=12, width=16, tokens=0)
ONE_LAYER = replace(RELEASE, num_layers=1)
CLIPS = {
    "medium": MEDIUM,
    "medium, short": replace(MEDIUM, latents=2, tokens=0),
    "medium, one latent": replace(MEDIUM, latents=1, tokens=0),
    "medium, long": replace(MEDIUM, latents=21, tokens=0),
    "medium, wide": replace(MEDIUM, latents=3, height=32, width=48, tokens=0),
    "one released layer": Size(ONE_LAYER, 3, 20, 36),
    "one released layer, large": Size(ONE_LAYER, 21, 46, 82),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("clip", CLIPS)
def test_the_estimate_is_enough_and_not_far_above(clip, task, dtype):
    """With what is kept for one text and for two, as in a run with guidance."""
    for texts in (1, 2):
        share = estimated(CLIPS[clip], TASKS[task], dtype, texts) / counted(CLIPS[clip], TASKS[task], dtype, texts)
        assert 1 <= share <= 1.5


@pytest.mark.parametrize("task", ["joint", "dubbing"])
def test_the_count_is_what_a_real_run_holds(task):
    """Against the allocations of the CPU, with PyTorch's attention."""
    model = make_model(MEDIUM.config)
    latent, conditions, _ = make_inputs(MEDIUM, TASKS[task])

    def run():
        model(latent, TIME, conditions, prepared=model.prepare(latent, conditions))

    with torch.no_grad():
        run()
        real = peak_bytes(run)
    assert counted(MEDIUM, TASKS[task], torch.float32, 1) == pytest.approx(real, rel=0.02)


def test_what_is_no_longer_held_does_not_count():
    with Held() as held:
        for _ in range(3):
            x = torch.ones(1000)
            y = x + 1
            del x, y
    assert held.peak == 8000
    assert held.now == 0


def test_the_tables(capsys, monkeypatch):
    monkeypatch.setattr(memory, "SIZES", ((64, 64),))
    monkeypatch.setattr(memory, "FRAMES", (5,))
    assert memory.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| 64 x 64 |") for line in lines) == 3
