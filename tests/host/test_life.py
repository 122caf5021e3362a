"""What goes wrong in the middle of a stage of a run in the host, and the run after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from host.faults import STAGES
from host.hosts import Failed, Server
from host.test_interrupt import node
from safetensors.torch import save_file

HELD = {"held": node("UniAVGenTestHeld")}


@pytest.fixture(scope="module")
def run(server: Server, clip) -> Callable[..., str]:
    """Makes a clip: its checksum."""

    def run(stage: str = "", act: str = "", lora: str = "") -> str:
        graph = clip({"sampler.seed": 71}, stage, act)
        if lora:
            graph["lora"] = node("UniAVGenLora", model=["load", 0], lora=lora, strength=1.0, unknown_keys="refuse")
            graph["sampler"]["inputs"]["model"] = ["lora", 0]
        return server.run(graph)["seen"]["sha256"][0]

    return run


def held(server: Server) -> dict[str, int]:
    """What the host's process holds without models and cached results."""
    free(server)
    (found,) = server.run(HELD)["held"]["held"]
    del found["resident"]
    return found


def free(server: Server) -> None:
    """Models and cached results are given up."""
    server.post("/free", {"unload_models": True, "free_memory": True})
    server.run(HELD)  # after which the host does so at the latest


def files(server: Server) -> set[str]:
    return {str(path) for path in (server.base / "output").rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(server: Server, run) -> tuple[str, dict[str, int]]:
    """What a run makes before which nothing happened, and what is held when it is over."""
    expected = run()
    return expected, held(server)


@pytest.fixture
def fails(server: Server, run, undisturbed) -> Callable[[str, str, str], None]:
    """A run that ends in the middle of a stage leaves no file, and the next one is as one that was never disturbed."""

    def fails(stage: str, act: str, sentence: str) -> None:
        expected, _ = undisturbed
        if stage == "load":  # which comes before what the graph itself could arm
            free(server)
            server.run({"fault": node("UniAVGenTestFault", number=0, stage=stage, act=act)})
        else:
            assert run() == expected  # what is loaded stays so
        there = files(server)
        with pytest.raises(Failed, match=sentence):
            run(*(() if stage == "load" else (stage, act)))
        assert files(server) == there
        assert run() == expected

    return fails


@pytest.mark.case("Life", "cancel during load")
@pytest.mark.case("Life", "cancel during sample")
@pytest.mark.case("Life", "cancel during decode")
@pytest.mark.case("Life", "cancel during mux")
@pytest.mark.parametrize("stage", STAGES)
def test_cancelled_in_the_middle_of_a_stage(fails, stage):
    fails(stage, "cancel", "^interrupted$")


@pytest.mark.case("Life", "out of memory in load")
@pytest.mark.case("Life", "out of memory in sample")
@pytest.mark.case("Life", "out of memory in decode")
@pytest.mark.case("Life", "out of memory in mux")
@pytest.mark.parametrize("stage", STAGES)
def test_out_of_memory_in_the_middle_of_a_stage(fails, stage):
    fails(stage, "GPU memory", "out of memory")


@pytest.mark.case("Life", "an error in mid-run leaves the model unpatched")
def test_the_model_is_without_its_lora_after_an_error_in_mid_run(server, run):
    """The model stays in memory: with and without the LoRA it gives what it gave before."""
    generator = torch.Generator().manual_seed(0)
    change = {"diffusion_model.blocks.1.ffn.0.diff_b": torch.randn(320, generator=generator)}
    folder = server.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(change, folder / "style.safetensors")
    plain, styled = run(), run(lora="style.safetensors")
    assert plain != styled
    for act, sentence in (("error", "it broke"), ("memory", "can't allocate"), ("cancel", "interrupted")):
        with pytest.raises(Failed, match=sentence):
            run("sample", act, lora="style.safetensors")
        assert run() == plain
        assert run(lora="style.safetensors") == styled


@pytest.mark.case("Life", "cancel during sample")
@pytest.mark.case("Life", "out of memory in sample")
def test_all_memory_is_back_after_failures_in_every_stage(server, fails, undisturbed):
    for act, sentence in (("cancel", "interrupted"), ("GPU memory", "out of memory")):
        for stage in ("sample", "mux"):
            fails(stage, act, sentence)
    assert held(server) == undisturbed[1]
