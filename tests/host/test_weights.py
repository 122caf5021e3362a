"""LoRAs, memory and offloading of our MODEL, measured inside the host's Python."""

from __future__ import annotations

from typing import Any

import pytest
from host.hosts import Host, run_inside


@pytest.fixture(scope="module")
def measured(host: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_inside(host, tmp_path_factory.mktemp("packs"), "in_process_weights.py")


def values(measured: dict[str, Any], beginning: str) -> dict[str, Any]:
    return {name: value for name, value in measured.items() if name.startswith(beginning)}


def test_a_lora_of_any_spelling_is_the_low_rank_product(measured):
    """strength * alpha / rank * up @ down is added to the weight it is for, and to no other."""
    errors, alone = values(measured, "weight "), values(measured, "alone ")
    assert len(errors) == 15 + 6 and len(alone) == 15  # spellings by our loader, and by the host's own
    assert max(errors.values()) < 1e-6
    assert all(alone.values())


def test_the_output_is_that_of_the_changed_weights(measured):
    assert measured["all idle"] == []
    assert measured["output changed"] > 0.1
    assert measured["output"] < 1e-5
    assert measured["taken off"] == 0


def test_every_kind_of_parameter_can_be_changed(measured):
    """Also those that the host's loading passes over: modulations beside modules."""
    acts, direct = values(measured, "acts "), values(measured, "direct ")
    assert len(acts) == 7 and min(acts.values()) > 1e-4  # of what the model says: a hundred times rounding, as below
    assert direct.pop("direct idle") == []
    assert len(direct) == 9 and max(direct.values()) < 1e-6


def test_no_key_is_silently_without_effect(measured):
    assert sorted(measured["left out"]) == sorted(measured["strangers"])
    assert measured["replaced"] == ["blocks.0.ffn.0.lora_down.weight", "blocks.0.ffn.0.lora_up.weight"]
    assert measured["loha"] == measured["untrained"] == measured["faint"] == []


@pytest.mark.case("Files", "missing, surplus, misshapen tensors (listed)")
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("another size", "blocks.0.ffn.0.weight is not 320 x 192"),
        ("another rank", "blocks.0.ffn.0.weight is not 320 x 192"),
        ("another modulation", "blocks.0.modulation is not 1 x 6 x 192"),
        ("another loha", "blocks.0.ffn.0.weight is not 320 x 192"),
        ("half a pair", "blocks.0.ffn.0.lora_down.weight is missing"),
    ],
)
def test_a_lora_that_does_not_fit_is_refused(measured, what, words):
    assert words in measured[f"refused {what}"]


def test_the_lora_node_names_what_it_leaves_out(measured):
    assert "6 of the 8 keys of w.safetensors change nothing" in measured["node refuse"]
    assert "transformer.blocks.0.attn2.add_k_proj.lora_A.weight" in measured["node refuse"]
    patched, left = measured["node leave out"]
    assert patched == ["diffusion_model.blocks.0.ffn.0.weight"]
    assert len(left) == 6 and all("add_" in key for key in left)
