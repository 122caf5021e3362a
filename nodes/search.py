"""Other words under which people look for a node."""

from __future__ import annotations

from dataclasses import fields

from comfy_api.latest import io


def searched_as(words: str) -> dict[str, list[str]]:
    """Words between commas as an argument of `io.Schema`; nothing where schemas know none, as in ComfyUI 0.9."""
    known = any(field.name == "search_aliases" for field in fields(io.Schema))
    return {"search_aliases": words.split(", ")} if known else {}
