"""The recorded sampling runs of the released code, through what the nodes use: MODEL, GUIDER and the host's Euler."""

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
