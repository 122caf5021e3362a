"""Every input of every node, by the nodes' own schemas: bad numbers, foreign parts, and what a run leaves unchanged."""

from __future__ import annotations

import math
from typing import Any

import pytest
from host.hosts import Host, run_inside
from interface import present

FOREIGN = ("MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT")
UNUSED = {  # numbers that are not read where the length is that of what is given, or nothing is continued
    ("Conditions audio", "frames"),
    ("Conditions dub", "frames"),
    *((key, "continued_latents") for key in ("Conditions", "Conditions voice", "Conditions audio", "Conditions dub")),
}


@pytest.fixture(scope="module")
def measured(host: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_inside(host, tmp_path_factory.mktemp("packs"), "in_process_inputs.py")


def of_kind(measured: dict[str, Any], *kinds: str) -> set[tuple[str, str]]:
    """Node and input of every input of these types."""
    return {(node, x) for node, inputs in measured["schema"].items() for x, kind in inputs.items() if kind in kinds}


def test_nothing_is_left_out(measured):
    assert {f"UniAVGen{node}" for node in measured["schema"]} == set(present())
    tried = {(key.split()[0], name) for key, name, *_ in measured["linked"]}
    assert tried == of_kind(measured, "FLOAT", "INT")
    assert {(node, name) for node, name, *_ in measured["foreign"]} == of_kind(measured, *FOREIGN)
    takes = {node for node, kinds in measured["schema"].items() if set(kinds.values()) - {"COMBO", "STRING", "BOOLEAN"}}
    assert {key.split()[0] for key in measured["twice"]} == takes - {"LipSyncScore"}  # it needs SyncNet: test_measuring


@pytest.mark.case("Parameters", "NaN or infinity in a float")
def test_no_float_is_nan_or_infinite(measured):
    """The host's own range check lets NaN through, and knows nothing of what comes over a link: both are refused."""
    seen = set()
    for key, name, kind, value, error, sentence in measured["linked"]:
        if kind == "FLOAT":
            assert error == "ValueError", (key, name, value)
            assert str(value) in sentence or math.isfinite(value), sentence
            seen.add((key.split()[0], name))
    assert seen == of_kind(measured, "FLOAT")
    told = [answer for *_, value, good, answer in measured["widgets"] if not good and not math.isfinite(value)]
    assert len(told) == 3 * len(seen) and all(told)


@pytest.mark.case("Parameters", "0 steps")
@pytest.mark.case("Parameters", "a seed of -1 or 2^64")
def test_whole_numbers_out_of_range(measured):
    """-2^63, -1, 0 and 2^64 end in a sentence, over a link as well, and in no overflow of another library."""
    ran = {(key, name): [] for key, name, kind, *_ in measured["linked"] if kind == "INT"}
    for key, name, kind, value, error, sentence in measured["linked"]:
        if kind == "INT":
            assert error in ("ValueError", "ran"), (key, name, value, error, sentence)
            if error == "ran":
                ran[key, name].append(value)
    allowed = {place for place, values in ran.items() if values}
    assert allowed - UNUSED == {(node, "seed") for node in ("JointSampler", "JointSampler ancestral", "LongSampler")}
    assert all(values == [0] for (_, name), values in ran.items() if name == "seed")
    for node, name, value, good, told in measured["widgets"]:
        assert bool(told) != (good or (name, value) == ("seed", 0)), (node, name, value, told)


@pytest.mark.case("Parameters", "numbers as text in an API prompt")
def test_text_in_place_of_numbers(measured):
    """What the host reads as a number is that number; what it cannot, it refuses, and nothing else is blamed."""
    for node, name, kind, text, told, read, default in measured["texts"]:
        if text == str(default):
            assert (told, read, type(read)) == ([], default, type(read)), (node, name)
            assert isinstance(read, int if kind == "INT" else int | float)
        elif text in ("abc", "", None) or kind == "INT":
            assert told[0].startswith("Failed to convert an input value"), (node, name, text, told)
            assert f": {name}, {text}, " in told[0]
            assert len(told) == 1 or text == "", (node, name, text, told)  # as a size, no text is none given
        elif text == "1e3":
            assert read == 1000.0
        else:
            assert told, (node, name, text)


@pytest.mark.case("Graph", "model of another family")
@pytest.mark.case("Graph", "CLIP of another family")
@pytest.mark.case("Graph", "VAE of another family")
@pytest.mark.case("Graph", "conditioning of another family")
@pytest.mark.case("Graph", "latent of another family")
def test_parts_of_other_families_are_refused(measured):
    for node, name, number, error, sentence in measured["foreign"]:
        assert error == "ValueError", (node, name, number, error, sentence)
        assert "UniAVGen" in sentence or "tiny model" in sentence, sentence  # what to connect instead


@pytest.mark.case("Graph", "inputs stay as they are")
@pytest.mark.case("Graph", "the same inputs again")
def test_nodes_leave_their_inputs_alone_and_repeat_themselves(measured):
    """To the last bit: all tensors, numbers and texts in what it was given, and in what it gives the second time."""
    for key, (changed, other, tensors, results) in measured["twice"].items():
        assert changed == [], key
        assert other == [], key
        assert results > 0, key
        assert tensors > 0 or key == "Schedule", key


@pytest.mark.case("Graph", "deleted input file")
def test_loaders_tell_the_host_of_replaced_and_deleted_files(measured):
    assert len(measured["fingerprints"]) == 5
    for key, (first, again, replaced, deleted) in measured["fingerprints"].items():
        assert first == again and first is not None, key
        assert len({first, replaced, deleted}) == 3, key
