"""Whole runs in the host: those recorded of the released code, through what the nodes use, and long clips."""

from __future__ import annotations

import pytest
from golden import SAMPLING_BOUND
from host.hosts import ROOT, Host, run_inside

GOLDEN = ROOT / "tests" / "data" / "golden"
RUNS = {"joint", "reference_voice", "audio_driven", "dubbing"}


def test_runs_of_the_released_code_in_the_host(host: Host, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Measured: 3e-7 relative L2 error of what is generated, in every run."""
    errors = run_inside(host, tmp_path_factory.mktemp("packs"), "golden_process.py", str(GOLDEN))
    assert {f"sampling/{run}" for run in RUNS} <= set(errors)
    assert len(errors) == 10
    assert all(0 < error < SAMPLING_BOUND for case in errors.values() for error in case.values())
    assert all(errors.values())


def test_the_long_sampler_is_the_cores_way(host: Host, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Windows, their first frames and what is said in each. Measured: 5e-7 for frames, 6e-6 for sound."""
    errors = run_inside(host, tmp_path_factory.mktemp("packs"), "long_process.py")
    assert errors["frames"] < 1e-5
    assert errors["sound"] < 1e-4
