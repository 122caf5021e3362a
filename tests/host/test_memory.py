"""What our MODEL holds in the host, and runs with weights loaded in part, measured inside the host's Python."""

from __future__ import annotations

from typing import Any

import pytest
from host.hosts import Host, run_inside

RUNS = 10


@pytest.fixture(scope="module")
def measured(host: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_inside(host, tmp_path_factory.mktemp("packs"), "in_process_memory.py")


@pytest.mark.case("Life", "ten runs with flat RAM and VRAM")
def test_ten_runs_leave_nothing_behind(measured):
    runs = measured["runs"]
    assert len(runs) == RUNS
    for name in ("tensors", "bytes"):
        assert len({run[name] for run in runs}) == 1
    assert all(run["kept"] == 0 for run in runs)
    assert runs[-1]["resident"] - runs[0]["resident"] < 10 * 2**20


@pytest.mark.case("Life", "out of memory in sample")
def test_nothing_is_held_after_running_out_of_memory(measured):
    """In an attention of the second step; the next run gives the same numbers as the one before."""
    assert measured["out of memory"]
    assert measured["after"]["kept"] == measured["left in conditionings"] == 0
    for name in ("tensors", "bytes"):
        assert measured["after"][name] == measured["before"][name]
    assert measured["afterwards"] == 0


def test_the_host_is_told_enough_memory_and_not_far_too_much(measured):
    """It asks for the packed latent, for two passes at once and for one."""
    assert measured["asked"] == [[2, 1, measured["packed"]], [1, 1, measured["packed"]]]
    assert measured["held"] <= min(measured["told"]) <= 1.5 * measured["held"]


@pytest.mark.parametrize("weights", ["plain", "lora", "direct"])
def test_weights_that_are_loaded_in_part(measured, weights):
    """None and half of them; LoRAs and changes of every kind of parameter are applied as they are used."""
    for share in (0.0, 0.5):
        assert measured[f"is part {weights} {share}"]
        assert measured[f"part {weights} {share}"] < 1e-6
    assert measured[f"whole again {weights}"] == 0


@pytest.mark.parametrize("state", ["LOW_VRAM", "NO_VRAM"])
def test_what_is_kept_beside_the_weights_changes_nothing(measured, state):
    assert measured[f"part {state}"] == 0


def test_the_model_is_made_again_with_and_without_dynamic_memory(measured):
    assert measured["without dynamic memory"] == 0
    assert measured["was assigned"] and measured["assigned"] == 0
