"""Bad input gets a sentence before anything heavy starts."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from host.hosts import ROOT, Failed, Refused, run_script

NAN, INFINITE = float("nan"), float("inf")
FAKES = {"class_type": "UniAVGenTestFakes", "inputs": {}}
TINY_WEIGHTS = ROOT / "uniavgen_core" / "tiny" / "weights" / "model.safetensors"


def fake(output: int) -> list[Any]:
    return ["fakes", output]


# input -> value, and what the host's answer must contain; these are refused before any node runs
AT_ONCE = [
    ({"conditions.frames": 82}, "The next ones are 81 and 85"),
    ({"conditions.frames": 0}, "a clip cannot have 0 frames"),
    ({"conditions.width": 100, "conditions.height": 128}, "width 100 must be a multiple of 32"),
    ({"conditions.width": 128, "conditions.height": -32}, "height -32 must be a multiple of 32"),
    ({"conditions.width": 128, "conditions.height": 0}, "give both width and height"),
    ({"sampler.steps": 0}, "sampling needs at least 1 step, not 0"),
    ({"sampler.shift": NAN}, "shift must be a number from 0.01 to 1000, not nan"),
    ({"sampler.shift": -1}, "shift must be a number from 0.01 to 1000"),
    ({"sampler.s_v": NAN}, "must be a finite number, not nan"),
    ({"sampler.s_a": INFINITE}, "must be a finite number, not inf"),
    ({"sampler.start": 0.2, "sampler.end": 0.8}, "the guided interval from 0.2 to 0.8 is not one"),
    ({"sampler.end": NAN}, "must be a finite number, not nan"),
    ({"sampler.skip_layer": "eleven"}, "is not auto, none, or layer numbers"),
    ({"sampler.seed": -1}, "smaller than min"),
    ({"sampler.seed": 2**64}, "bigger than max"),
    ({"sampler.sampler": "nothing"}, "not in list"),
    ({"mux.fps": NAN}, "fps must be a number from 1 to 240, not nan"),
    ({"load.file": "missing.safetensors"}, "not in list"),
    ({"portrait.image": "missing.png"}, "Invalid image file"),
]

# these are known only once the wired parts are there
WIRED = [
    ({"text.speech": ""}, "the speech is empty: write what the person says"),
    ({"text.speech": " \n\t "}, "the speech is empty"),
    ({"text.speech": fake(9)}, "the speech is empty"),
    ({"conditions.frames": fake(7)}, "The next ones are 81 and 85"),
    ({"sampler.s_v": fake(8)}, "must be a finite number, not nan"),
    ({"sampler.skip_layer": "99"}, "layer 99 cannot be skipped: the model has layers 0 to 5"),
    ({"sampler.skip_layer": "-2"}, "layer -2 cannot be skipped"),
    ({"sampler.model": fake(0)}, "this MODEL is OtherModel, not UniAVGen: connect 'Load UniAVGen'"),
    ({"text.clip": fake(1)}, "the CLIP encodes captions 768 wide, this model needs 64"),
    ({"conditions.vae": fake(2)}, "this VAE makes latents of 16 channels, UniAVGen needs 48"),
    ({"sampler.latent": fake(3)}, "the latent has 16 video channels and 8 mel bins, UniAVGen needs 48 and 80"),
    ({"sampler.latent": fake(4)}, "the noise mask covers"),
    ({"sampler.latent": ["plain", 0]}, "UniAVGen needs a latent of video and sound together, not [1, 4, 8, 8]"),
    ({"sound.latent": ["plain", 0]}, "UniAVGen needs a latent of video and sound together"),
    ({"sampler.positive": ["text", 0]}, "the conditioning has no reference image"),
    ({"sampler.positive": ["caption", 0]}, "the conditioning says nothing to be spoken"),
    ({"conditions.reference_image": fake(5)}, "the picture holds numbers that are NaN or infinite"),
    ({"mux.audio": fake(6)}, "the sound holds numbers that are NaN or infinite"),
]


def name(case: Any) -> str:
    return ",".join(f"{key}={value}" for key, value in case.items()) if isinstance(case, dict) else ""


@pytest.mark.case("Parameters", "0 steps")
@pytest.mark.case("Parameters", "NaN or infinity in a float")
@pytest.mark.case("Parameters", "guided interval out of range")
@pytest.mark.case("Parameters", "a seed of -1 or 2^64")
@pytest.mark.parametrize(("changes", "sentence"), AT_ONCE, ids=name)
def test_refused_before_anything_runs(server, workflow, changes, sentence):
    with pytest.raises(Refused) as refusal:
        server.submit(workflow(changes))
    assert sentence in str(refusal.value)


@pytest.mark.case("Media", "numbers that are NaN")
@pytest.mark.case("Text", "empty")
@pytest.mark.case("Parameters", "skipped layer out of range")
@pytest.mark.case("Graph", "model of another family")
@pytest.mark.case("Graph", "CLIP of another family")
@pytest.mark.case("Graph", "VAE of another family")
@pytest.mark.case("Graph", "conditioning of another family")
@pytest.mark.case("Graph", "latent of another family")
@pytest.mark.parametrize(("changes", "sentence"), WIRED, ids=name)
def test_refused_when_wired(server, workflow, changes, sentence):
    graph = workflow(changes)
    graph["fakes"] = FAKES
    graph["plain"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
    graph["caption"] = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["load", 1], "text": "a face"}}
    with pytest.raises(Failed) as failure:
        server.run(graph)
    assert sentence in str(failure.value)


@pytest.mark.case("Graph", "latent of another family")
def test_plain_latent_in_the_hosts_own_sampler(server, workflow):
    """The MODEL itself refuses, whatever node samples with it."""
    graph = workflow()
    graph["plain"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
    conditions = {"positive": ["conditions", 0], "negative": ["conditions", 1]}
    settings = {"seed": 0, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    graph["sampler"] = {
        "class_type": "KSampler",
        "inputs": {"model": ["load", 0], "latent_image": ["plain", 0], **conditions, **settings},
    }
    with pytest.raises(Failed, match="UniAVGen needs a latent of video and sound together"):
        server.run(graph)


@pytest.mark.case("Files", "missing shard")
@pytest.mark.case("Files", "missing, surplus, misshapen tensors (listed)")
@pytest.mark.case("Files", "Git-LFS pointer in place of weights")
@pytest.mark.case("Files", "truncated weights (file and size named)")
def test_weight_files(server, workflow):
    """A whole file gives a MODEL and sentences in the place of the other parts; a broken one says what is wrong."""
    folder = server.base / "models" / "uniavgen"
    data = TINY_WEIGHTS.read_bytes()
    shutil.copy(TINY_WEIGHTS, folder / "whole.safetensors")
    (folder / "cut.safetensors").write_bytes(data[: len(data) // 2])
    (folder / "pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    shutil.copy(TINY_WEIGHTS.with_name("vae.safetensors"), folder / "other.safetensors")
    shutil.copy(TINY_WEIGHTS, folder / "part-00001-of-00002.safetensors")
    sentences = {
        "cut.safetensors": "cut.safetensors is truncated",
        "pointer.safetensors": "is a Git-LFS pointer",
        "other.safetensors": "surplus (22): ",
        "part.safetensors.index.json": "download it there",
    }
    for file, sentence in sentences.items():
        with pytest.raises(Failed) as failure:
            server.run(workflow({"load.file": file}))
        assert sentence in str(failure.value), file
    # what hangs on a part that is not there does not run; the host says why over the websocket only
    done = run_script(server, "--set", "load.file=whole.safetensors")
    assert done.returncode == 1
    assert "whole.safetensors holds no CLIP: use the host's 'Load CLIP' node with umt5_xxl" in done.stderr

    parts = {"text.clip": ["tiny", 1], "conditions.vae": ["tiny", 2], "video.vae": ["tiny", 2]}
    graph = workflow({"load.file": "whole.safetensors", "sound.vocoder": ["tiny", 3], **parts})
    graph["tiny"] = {"class_type": "UniAVGenLoad", "inputs": {"file": "tiny (built in)", "weight_dtype": "default"}}
    assert server.run(graph)["save"]["images"]


def test_released_vocabulary_is_asked_for(server, workflow):
    """A CLIP without a speech vocabulary of its own needs the released one."""
    graph = workflow({"text.clip": ["bare", 0]})
    graph["bare"] = {"class_type": "UniAVGenTestBareClip", "inputs": {}}
    with pytest.raises(Failed, match=r"the speech vocabulary is missing: download vocab.txt"):
        server.run(graph)
