"""Switches that an API prompt gives as text: the host takes any text, "false" too, for on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io
from server import PromptServer

ON = ("true", "on", "yes", "1")


def register_switches(nodes: list[type[io.ComfyNode]]) -> None:
    """Has every prompt's switches of these nodes read before the host checks it, where there is a server."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.add_on_prompt_handler(reading_switches(nodes))


def reading_switches(nodes: list[type[io.ComfyNode]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What changes such values in a request {"prompt": {id: {"class_type", "inputs"}}, ...}, in place.

    Of what is neither a truth value nor a link only "true", "on", "yes" and 1 are on: what is not understood sends
    and fetches nothing.
    """
    schemas = [node.GET_SCHEMA() for node in nodes]
    switches = {
        schema.node_id: {one.id for one in schema.inputs if isinstance(one, io.Boolean.Input)} for schema in schemas
    }

    def read(request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"prompt": dict(prompt)}:
                for node in prompt.values():
                    match node:
                        case {"class_type": str(kind), "inputs": dict(inputs)}:
                            _read(inputs, switches.get(kind, set()))
        return request

    return read


def _read(inputs: dict[str, Any], switches: set[str]) -> None:
    for name in switches & inputs.keys():
        if not isinstance(inputs[name], (bool, list)):
            inputs[name] = str(inputs[name]).strip().lower() in ON
