"""An API workflow as a file and as what a command line changes in it.

Nodes are named by their id in the workflow, or by their title or class where only one has it. A value is read as what
stands in the workflow: text as it is written, a whole number, a number, or true / false.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

KINDS = {bool: "true or false", int: "a number", float: "a finite number"}
Workflow = dict[str, dict[str, Any]]


def check_file(path: Path, kind: str) -> None:
    """Raises ``ValueError`` for a folder, a pipe or a device: some of them are read without end."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file: give a {kind} file")


def read_workflow(path: Path) -> Workflow:
    """Raises ``ValueError`` if the file is not a workflow in API format."""
    check_file(path, "JSON")
    try:
        workflow = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(workflow, dict) or not all(
        isinstance(node, dict) and "class_type" in node and "inputs" in node for node in workflow.values()
    ):
        raise ValueError(f"{path} is not in API format: in ComfyUI, choose Workflow > Export (API)")
    return workflow


def assignment(text: str) -> tuple[str, str, str]:
    """NODE.INPUT=VALUE -> its three parts."""
    target, equals, value = text.partition("=")
    node, dot, name = target.rpartition(".")
    if not (equals and dot and node and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NODE.INPUT=VALUE")
    return node, name, value


def change(workflow: Workflow, node: str, name: str, value: str) -> None:
    """NODE.INPUT=VALUE in the workflow. Raises ``ValueError`` if it has no such input or the value is no fit."""
    node = find_node(workflow, node)
    workflow[node]["inputs"][name] = parse(value, present(workflow, node, name), f"{node}.{name}")


def find_node(workflow: Workflow, name: str) -> str:
    """The id of the node with that id, or of the only one with that title or class. Raises ``ValueError``."""
    if name in workflow:
        return name
    found = [
        node
        for node, content in workflow.items()
        if name in (content.get("_meta", {}).get("title"), content["class_type"])
    ]
    if len(found) != 1:
        raise ValueError(f"{len(found) or 'no'} nodes are called {name!r}; the workflow has {', '.join(workflow)}")
    return found[0]


def present(workflow: Workflow, node: str, name: str) -> Any:
    """The value that an input has in the workflow. Raises ``ValueError`` if there is none, or a link instead."""
    inputs = workflow[node]["inputs"]
    if name not in inputs:
        raise ValueError(f"{node} has no input {name!r} in the workflow; it has {', '.join(inputs) or 'none'}")
    if isinstance(inputs[name], list) and inputs[name]:
        raise ValueError(f"{node}.{name} is linked to node {inputs[name][0]!r}: only inputs with a value can be set")
    return inputs[name]


def parse(text: str, old: Any, target: str) -> str | bool | int | float:
    """The value in place of an old one: text stays as it is written, a number is a number, true or false a boolean.

    Browsers write 5.0 as 5, so a whole number may become a fraction. Raises ``ValueError`` for another kind.
    """
    if isinstance(old, str):
        return text
    kind = KINDS.get(type(old))
    if kind is None:
        raise ValueError(f"{target} is {json.dumps(old)} in the workflow: only text, numbers and booleans can be set")
    try:
        value = json.loads(text, parse_int=float if isinstance(old, float) else int)
    except ValueError:
        value = None
    numbers = (int, float) if type(old) in (int, float) else (type(old),)
    if type(value) not in numbers or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{target} must be {kind}, as in the workflow ({json.dumps(old)}), not {text!r}")
    return value


def add_set(parser: argparse.ArgumentParser, meaning: str) -> None:
    """The option ``--set NODE.INPUT=VALUE``, which may be given again."""
    parser.add_argument("--set", action="append", default=[], type=assignment, metavar="NODE.INPUT=VALUE", help=meaning)
