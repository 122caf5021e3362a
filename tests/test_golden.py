"""The released code's own numbers: forward passes, sampling runs, index tables, sizes, names."""

from __future__ import annotations

import json
from pathlib import Path

import golden
import pytest
import torch

from uniavgen_core.geometry import fit_size
from uniavgen_core.model import JointModel
from uniavgen_core.model.alignment import audio_windows, frame_contexts
from uniavgen_core.sampling import timesteps

FOLDER = Path(__file__).parent / "data" / "golden"


def read(name: str):
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def results() -> dict[str, golden.Result]:
    return {result.name: result for result in golden.run_folder(FOLDER)}


def test_every_case_agrees(results: dict[str, golden.Result]) -> None:
    assert len(results) == 30
    assert not [str(result) for result in results.values() if not result.passed]


def test_a_wrong_number_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from safetensors.torch import load_file, save_file

    for name in ("config.json", "forward_b.safetensors"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    weights = load_file(FOLDER / "model.safetensors")
    weights["v2a_blocks.2.o.bias"] += 1
    save_file(weights, tmp_path / "model.safetensors")

    assert golden.main([str(tmp_path)]) == 1
    assert "FAIL forward_b/joint " in capsys.readouterr().out


def test_names_and_shapes_at_release_size() -> None:
    expected = {name: tuple(shape) for name, shape in read("release_state_dict").items()}
    with torch.device("meta"):
        found = {name: tuple(tensor.shape) for name, tensor in JointModel().state_dict().items()}
    assert found == expected


@pytest.mark.parametrize("case", read("alignment"), ids=lambda c: f"T{c['video_latents']}-L{c['audio_tokens']}")
def test_alignment_tables(case: dict) -> None:
    latents, tokens = case["video_latents"], case["audio_tokens"]
    assert audio_windows(latents, tokens).tolist() == case["a2v_window_indices"]

    weights = torch.zeros(tokens, latents + 1)  # the last column: the last latent doubled
    for group in frame_contexts(latents, tokens):
        for i, place in enumerate(group.tokens):
            for j, seen_by in enumerate(place):
                after = 0.0 if group.weights is None else group.weights[i, j]
                weights[seen_by, group.latent + i] = 1 - after
                if group.weights is not None:
                    weights[seen_by, group.latent + i + 1] = after
    weights[:, latents - 1] += 2 * weights[:, latents]
    torch.testing.assert_close(weights[:, :latents], torch.tensor(case["v2a_latent_weights"]), atol=1e-5, rtol=0)


def test_picture_sizes() -> None:
    for height, width, *expected in read("geometry")["image_sizes_h_w_to_h_w"]:
        assert fit_size(height, width) == tuple(expected)


def test_schedule() -> None:
    for steps, expected in read("geometry")["timesteps_shift5"].items():
        torch.testing.assert_close(timesteps(int(steps)), torch.tensor(expected), rtol=2e-7, atol=0)


def test_a_case_that_cannot_run_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import shutil

    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    for name in ("config.json", "model.safetensors"):
        shutil.copy(FOLDER / name, tmp_path)
    with safe_open(FOLDER / "forward_b.safetensors", "pt") as file:
        metadata = file.metadata()
    tensors = load_file(FOLDER / "forward_b.safetensors")
    del tensors["in.ref_audio"]
    save_file(tensors, tmp_path / "forward_b.safetensors", metadata)
    assert golden.main([str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "FAIL forward_b/reference_voice" in told
    assert "KeyError: 'ref_audio'" in told
    assert "9 passed, 1 failed" in told
