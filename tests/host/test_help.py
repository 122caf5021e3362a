"""What the host hands to the browser: words to search by, translations and help pages."""

from __future__ import annotations

import json
import urllib.request

import pytest
from host.hosts import ROOT
from interface import OPEN, named_inputs, present

SEARCHED = {"lip sync", "talking head", "dub", "voice clone", "A2V", "V2A", "long video", "spectrogram", "对口型"}


@pytest.mark.parametrize("node", present())
def test_english_words_are_those_of_the_schema(server, node):
    info = server.get("/object_info")[node]
    words = server.get("/i18n")["en"]["nodeDefs"][node]
    assert words["display_name"] == info["display_name"]
    assert words["description"] == info["description"]
    inputs = named_inputs(info)
    for name, (kind, options) in inputs.items():
        choices = {"options": {c: c for c in options["options"]}} if kind == "COMBO" and name not in OPEN else {}
        assert words["inputs"][name] == {"name": name, "tooltip": options["tooltip"], **choices}
    assert list(words["inputs"]) == list(inputs)
    named = zip(info["output_name"], info["output_tooltips"], strict=True)
    assert list(words["outputs"].values()) == [{"name": name, "tooltip": tooltip} for name, tooltip in named]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_translations_are_offered(server, language):
    offered = server.get("/i18n")[language]
    for file in ("main", "nodeDefs"):
        own = json.loads((ROOT / "locales" / language / f"{file}.json").read_text("utf-8"))
        assert own.items() <= (offered if file == "main" else offered["nodeDefs"]).items()


@pytest.mark.parametrize("page", ["{}.md", "{}/zh.md"])
@pytest.mark.parametrize("node", present())
def test_help_page_is_served_where_the_browser_asks(server, node, page):
    path = f"docs/{page.format(node)}"
    with urllib.request.urlopen(f"{server.url}/extensions/uniavgen/{path}", timeout=60) as response:
        assert response.read() == (ROOT / "web" / path).read_bytes()


def test_nodes_are_found_by_what_people_type(server):
    """In a host that knows such words."""
    nodes = server.get("/object_info")
    known = "search_aliases" in nodes["KSampler"]
    words = {node: nodes[node].get("search_aliases") for node in present()}
    assert all(words.values()) if known else not any(words.values())
    assert not known or {word for found in words.values() for word in found} >= SEARCHED
