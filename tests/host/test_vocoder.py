"""Load UniAVGen Vocoder in the host: a small random BigVGAN of the release's layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from host.hosts import Failed, Refused
from host.released_files import vocoder_files, write

from uniavgen_core.parts import VOCODER_FOLDER as NAME


@pytest.fixture(scope="module")
def bigvgan(server) -> Path:
    """The vocoder beside folders that hold none, in the host's model folder."""
    folder = server.base / "models" / "uniavgen"
    write(vocoder_files(), folder)
    for name, described in (("t5", {"model_type": "umt5"}), ("list", [1])):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(described))
    return folder / NAME


def with_vocoder(graph: dict, **inputs) -> dict:
    graph["voice"] = {
        "class_type": "UniAVGenVocoderLoad",
        "inputs": {"folder": NAME, "hub_id": "", "download": False, **inputs},
    }
    graph["sound"]["inputs"]["vocoder"] = ["voice", 0]
    return graph


def test_the_choices_are_the_folders_that_hold_a_vocoder(server, bigvgan):
    inputs = server.get("/object_info/UniAVGenVocoderLoad")["UniAVGenVocoderLoad"]["input"]["required"]
    kind, options = inputs["folder"]
    assert (options["options"] if kind == "COMBO" else kind) == [NAME]
    assert all(options["tooltip"] for _, options in inputs.values())


def test_a_clip_is_spoken_by_the_bigvgan_twice(server, bigvgan, workflow):
    for seed in (1, 2):  # the second finds the vocoder loaded
        assert server.run(with_vocoder(workflow({"sampler.seed": seed})))["save"]["images"]


@pytest.mark.case("Disk and network", "a connection without the user's word")
def test_a_hub_id_takes_the_place_of_the_folder_and_is_not_fetched(server, bigvgan, workflow):
    with pytest.raises(Failed, match="nor a repository of that name in the Hugging Face cache"):
        server.run(with_vocoder(workflow(), hub_id="nobody-at-all/no-vocoder"))


@pytest.mark.case("Files", "a path in place of a hub id")
def test_a_hub_id_is_no_path(server, bigvgan, workflow):
    for hub_id in (str(bigvgan), f" {bigvgan} ", f"models/../{bigvgan.name}"):
        with pytest.raises(Refused, match="is not a hub_id: give owner/name"):
            server.run(with_vocoder(workflow(), hub_id=hub_id))


def test_a_folder_that_lost_its_weights(server, bigvgan, workflow):
    weights = bigvgan / "model.safetensors"
    weights.rename(bigvgan / "model.bin")
    try:
        with pytest.raises(Failed, match=r"holds no \.safetensors file"):
            server.run(with_vocoder(workflow({"sampler.seed": 3}), folder=bigvgan.name))
    finally:
        (bigvgan / "model.bin").rename(weights)
