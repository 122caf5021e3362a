"""Files of weights in the host's own formats, loaded and run by the host's own layers."""

from __future__ import annotations

from typing import Any

import pytest
from host.hosts import Host, run_inside

from uniavgen_core.video.encode import LEAD_LATENTS


@pytest.fixture(scope="module")
def measured(host: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_inside(host, tmp_path_factory.mktemp("packs"), "in_process_files.py")


def test_files_are_found_where_the_host_keeps_models(measured):
    """Both kinds of folders, from extra_model_paths; shards are one choice."""
    names = {"bf16", "described", "old", "prefixed", "torn", "undescribed", "unknown", "fp8"}
    assert set(measured["choices"]) >= {f"{name}.safetensors" for name in names} | {
        "shards/take.safetensors.index.json"
    }
    assert not [name for name in measured["choices"] if "-of-" in name]


def test_the_published_model_is_found_in_either_folder(measured):
    assert measured["published"]


@pytest.mark.parametrize("name", ["bf16", "take"])
def test_a_file_in_bf16_is_the_model(measured, name):
    """The tiny model's own weights are bf16, so nothing is lost."""
    assert measured[f"{name} error"] == 0


@pytest.mark.parametrize("name", ["fp8", "described", "old", "prefixed"])
def test_scaled_fp8_runs_in_the_hosts_layers(measured, name):
    """Measured: 5.7e-2 relative error of the trained model's clip without guidance, whichever way the layers are
    described (2.8e-2 with random weights, which amplify less from step to step)."""
    assert "QuantizedTensor" in measured[f"{name} stored"]
    assert 5e-3 < measured[f"{name} error"] < 8e-2
    assert measured[f"{name} error"] == measured["fp8 error"]


@pytest.mark.parametrize("name", ["bf16", "fp8"])
def test_what_the_host_saves_is_loaded_again(measured, name):
    """With the configuration, for which 'Save Model' has no place but a tensor. Measured: at most 4e-7."""
    assert measured[f"saved {name}"] < 1e-5


def test_the_hosts_text_encoder_and_vae_take_the_released_weights(measured):
    """Names and shapes strictly (the script fails otherwise), and the same normalisation of latents."""
    assert measured["latent constants off"] < 1e-6


def test_frames_are_encoded_in_parts_that_reach_back_far_enough(measured):
    """The host's Wan2.2 encoder looks back as far as parts of footage are led in by, and no farther."""
    assert measured["vae reaches"] == LEAD_LATENTS


REFUSED = {
    "undescribed": "surplus (144): a2v_blocks.0.k.weight_scale",
    "torn": "torn.safetensors has a damaged description of its quantised layers",
    "unknown": "unknown.safetensors is quantised as q3, which this version does not know",
    "cast": "fp8.safetensors is already quantised (float8_e4m3fn): set weight_dtype to default",
    "not in this host": "fp8.safetensors is quantised as float8_e4m3fn, which this ComfyUI cannot run: update ComfyUI",
}


@pytest.mark.parametrize("name", REFUSED)
def test_quantised_files_that_are_refused(measured, name):
    assert REFUSED[name] in measured[f"refused {name}"]
