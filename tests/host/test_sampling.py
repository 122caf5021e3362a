"""The host's samplers on our MODEL and GUIDER against the core's sampler, measured inside the host's Python."""

from __future__ import annotations

from typing import Any

import pytest
from host.hosts import Host, run_inside


@pytest.fixture(scope="module")
def measured(host: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_inside(host, tmp_path_factory.mktemp("packs"), "in_process.py")


@pytest.mark.parametrize("guidance", ["release", "paper"])
def test_hosts_euler_equals_the_cores(measured, guidance):
    """On the same noise. Measured: at most 1e-6 relative L2 error, from sums in another order."""
    assert measured[f"{guidance} video"] < 1e-5
    assert measured[f"{guidance} audio"] < 1e-5
    assert measured[f"{guidance} mask"] < 1e-5


# given latents and tokens, latents in all, then whether sound reaches the video and the video the sound: each in the
# conditional and in the plain unconditional pass
PLANS = {
    "voice": [1, 0, 4, True, True, False, True],
    "audio": [1, 81, 4, True, True, False, False],
    "dub": [5, 0, 5, False, False, True, True],
    "dub voice": [5, 0, 5, False, False, True, True],
    "video": [2, 31, 4, True, True, True, True],
    "latent": [2, 31, 4, True, True, True, True],
    "latent voice": [1, 6, 4, True, True, False, True],
}


@pytest.mark.parametrize("task", PLANS)
def test_every_task_is_the_cores(measured, task):
    """What is connected becomes the released task, and the host's Euler on it equals the core's."""
    assert measured[f"plan {task}"] == PLANS[task]
    assert measured[f"task {task}"] < 1e-5


@pytest.mark.parametrize("sampler", ["guider", "ksampler"])
def test_dubbing_runs_the_video_branch_once_for_each_text(measured, sampler):
    """6 steps of two passes; the two kinds of unconditional pass share what is kept, and the run keeps nothing."""
    assert measured[f"work {sampler}"] == {"blocks.0.ffn": 2, "text_proj": 2, "audio_blocks.0.ffn": 12}
    assert measured["nothing kept"]


def test_what_steps_share_fits_every_batch(measured):
    assert measured["batches"] == 0


def test_custom_sampling_equals_the_joint_sampler(measured):
    assert measured["custom video"] < 1e-6
    assert measured["custom audio"] < 1e-6


def test_given_parts_come_back_to_the_last_bit(measured):
    kept = [value for name, value in measured.items() if name.endswith(" keeps")]
    assert len(kept) == 6
    assert all(kept)


def test_only_leading_zeros_of_a_mask_are_given(measured):
    assert measured["given parts"] == [1, 20]


def test_easycache_skips_and_the_face_mask_still_comes(measured):
    """Of 12 passes, those of the two steps it skips but for the one in which another unconditional pass begins."""
    assert measured["easycache changes"] > 1e-3
    assert 0 < measured["easycache mask"] < 1
    assert measured["easycache passes"] == 9


def test_blocks_compiled_by_the_host(measured):
    assert measured["compiled"] < 1e-6
    assert measured["compiled frames"] >= 4  # of each kind at least one


def test_lower_weight_dtypes(measured):
    """The tiny weights are stored as bfloat16, so bf16 with float32 arithmetic loses nothing; fp8 loses some."""
    assert measured["bf16 video"] < 1e-5 and measured["bf16 audio"] < 1e-5
    assert 1e-4 < measured["fp8_e4m3fn video"] < 0.2 and 1e-4 < measured["fp8_e4m3fn audio"] < 0.2


def test_hosts_own_sampler_and_lora_names(measured):
    assert measured["ksampler finite"]
    assert all(measured["lora names"])
