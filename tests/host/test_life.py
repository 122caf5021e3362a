"""What goes wrong in the middle of a stage of a run in the host, and the run after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from host.hosts import Failed, Server
from host.test_interrupt import node
from safetensors.torch import save_file

HELD = {"held": node("UniAVGenTestHeld")}


@pytest.fixture
def run(server: Server, clip) -> Callable[..., str]:
    """Makes a clip: its checksum."""

    def run(stage: str = "", act: str = "", lora: str = "") -> str:
        graph = clip({"sampler.steps": 4, "sampler.seed": 71}, stage, act)
        if lora:
            graph["lora"] = node("UniAVGenLora", model=["load", 0], lora=lora, strength=1.0, unknown_keys="refuse")
            graph["sampler"]["inputs"]["model"] = ["lora", 0]
        return server.run(graph)["seen"]["sha256"][0]

    return run


def held(server: Server) -> dict[str, int]:
    """What the host's process holds without models and cached results."""
    server.post("/free", {"unload_models": True, "free_memory": True})
    server.run(HELD)  # after which the host does so at the latest
    (found,) = server.run(HELD)["held"]["held"]
    del found["resident"]
    return found


def files(server: Server) -> set[str]:
    return {str(path) for path in (server.base / "output").rglob("*") if path.is_file()}


def fail(server: Server, run: Callable[..., str], stage: str, act: str, sentence: str) -> None:
    """A run that ends in a stage, leaving no file and nothing in memory; the next one is the one before."""
    expected, before = run(), held(server)
    if stage == "load":  # which is not cached now, but comes before the graph's own fault
        server.run({"fault": node("UniAVGenTestFault", number=0, stage=stage, act=act)})
    else:
        assert run() == expected
    there = files(server)
    with pytest.raises(Failed, match=sentence):
        run(*(() if stage == "load" else (stage, act)))
    assert files(server) == there
    assert run() == expected
    assert held(server) == before


@pytest.mark.case("Life", "cancel during load")
@pytest.mark.case("Life", "cancel during sample")
@pytest.mark.case("Life", "cancel during decode")
@pytest.mark.case("Life", "cancel during mux")
@pytest.mark.parametrize("stage", ["load", "encode", "sample", "decode", "sound", "mux"])
def test_cancelled_in_the_middle_of_a_stage(server, run, stage):
    fail(server, run, stage, "cancel", "^interrupted$")


@pytest.mark.case("Life", "out of memory in load")
@pytest.mark.case("Life", "out of memory in sample")
@pytest.mark.case("Life", "out of memory in decode")
@pytest.mark.case("Life", "out of memory in mux")
@pytest.mark.parametrize("stage", ["load", "encode", "sample", "decode", "sound", "mux"])
def test_out_of_memory_in_the_middle_of_a_stage(server, run, stage):
    fail(server, run, stage, "GPU memory", "out of memory")


@pytest.mark.case("Life", "an error in mid-run leaves the model unpatched")
@pytest.mark.parametrize(
    ("act", "sentence"), [("error", "it broke"), ("memory", "can't allocate"), ("cancel", "interrupted")]
)
def test_the_model_is_without_its_lora_after_an_error_in_mid_run(server, run, act, sentence):
    """The model stays in memory: with and without the LoRA it gives what it gave before."""
    generator = torch.Generator().manual_seed(0)
    change = {"diffusion_model.blocks.1.ffn.0.diff_b": torch.randn(320, generator=generator)}
    folder = server.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(change, folder / "style.safetensors")
    plain, styled = run(), run(lora="style.safetensors")
    assert plain != styled
    with pytest.raises(Failed, match=sentence):
        run("sample", act, lora="style.safetensors")
    assert run() == plain
    assert run(lora="style.safetensors") == styled
    with pytest.raises(Failed, match=sentence):
        run("sample", act)
    assert run(lora="style.safetensors") == styled
    assert run() == plain
