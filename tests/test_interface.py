"""A node whose name is gone is replaced whole. That the others are as recorded is tested in tests/host."""

from __future__ import annotations

from interface import RECORD, replaced


def test_every_input_and_output_of_a_replaced_node_goes_somewhere() -> None:
    for entry in replaced():
        old, new = RECORD[entry["old_node_id"]], RECORD[entry["new_node_id"]]
        assert {way["old_id"] for way in entry["input_mapping"] if "old_id" in way} == set(old["inputs"])
        assert {way["new_id"] for way in entry["input_mapping"]} <= set(new["inputs"])
        assert {way["old_idx"] for way in entry["output_mapping"]} == set(range(len(old["outputs"])))
        assert {way["new_idx"] for way in entry["output_mapping"]} <= set(range(len(new["outputs"])))
