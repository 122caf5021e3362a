"""Help pages and translations as the front end shows them."""

from __future__ import annotations

import json

import pytest
from host.hosts import ROOT

DOCS = ROOT / "web" / "docs"
KIND = "UniAVGenConditions"


def heading(text: str) -> str:
    return text.splitlines()[0].removeprefix("# ").strip()


@pytest.mark.parametrize(("locale", "page"), [("en", f"{KIND}.md"), ("zh", f"{KIND}/zh.md")])
def test_the_help_page_of_a_node_opens_beside_it(front_end, locale, page):
    front_end.open(Comfy_Locale=locale)
    front_end.open_template("joint")
    front_end.select(KIND)
    front_end.page.get_by_test_id("info-button").first.click()
    help_page = front_end.page.locator(".node-help-content")
    help_page.get_by_role("heading", name=heading((DOCS / page).read_text())).first.wait_for()
    assert help_page.locator("table").count() >= 1
    front_end.picture(f"help_{locale}")


@pytest.mark.parametrize("modern", [False, True], ids=["canvas", "nodes 2.0"])
def test_the_nodes_speak_chinese(front_end, modern):
    front_end.open(Comfy_Locale="zh", Comfy_VueNodes_Enabled=modern)
    front_end.open_template("joint")
    words = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text())
    nodes = [node for node in front_end.nodes() if node["type"] in words]
    assert len(nodes) >= 6
    assert {node["title"] for node in nodes} == {words[node["type"]]["display_name"] for node in nodes}
    for node in nodes if modern else []:
        front_end.page.get_by_test_id("node-title").get_by_text(node["title"], exact=True).first.wait_for()
    front_end.picture(f"chinese_{'modern' if modern else 'canvas'}")
    assert not front_end.said, "\n".join(front_end.said)
