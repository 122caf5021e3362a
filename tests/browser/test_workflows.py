"""Every shipped workflow: chosen in the template browser, opened, and with the tiny model run."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

import pytest
from browser.front_end import FrontEnd
from host.hosts import ROOT

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
TINY = [name for name in NAMES if not name.endswith("_released")]
AS_THEY_ARE = bool(os.environ.get("UNIAVGEN_SCREENSHOTS"))
PLAYS = "video => video.readyState >= 2 && video.videoWidth > 0 && video.duration > 0.5"


def overlapping(nodes: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Titles of nodes that cover each other."""

    def meet(a: list[float], b: list[float]) -> bool:
        return all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))

    return [(a["title"], b["title"]) for a, b in itertools.combinations(nodes, 2) if meet(a["box"], b["box"])]


def check_whole(front_end: FrontEnd, name: str) -> None:
    """No node is missing, no link is loose, no node lies on another."""
    file = json.loads((ROOT / "workflows" / f"{name}.json").read_text())
    nodes = front_end.nodes()
    assert [node["type"] for node in nodes] == [node["type"] for node in file["nodes"]]
    assert all(node["known"] for node in nodes)
    assert sorted(front_end.links()) == sorted([link[5], link[5]] for link in file["links"])
    assert overlapping(nodes) == []


def test_the_template_browser_offers_them_under_the_packs_name(front_end):
    cards = front_end.browse_by_menu()
    shown = {card.get_attribute("data-testid").removeprefix("template-workflow-") for card in cards.all()}
    front_end.page.wait_for_timeout(1000)
    front_end.picture("templates")
    front_end.page.keyboard.press("Escape")
    assert shown == set(NAMES)


@pytest.mark.parametrize("name", TINY)
def test_it_opens_and_runs_and_shows_its_video(front_end, name):
    front_end.open_template(name)
    front_end.picture(f"{name}_opened")
    check_whole(front_end, name)
    assert front_end.errors().count() == 0
    if not AS_THEY_ARE:
        front_end.set(next(node["type"] for node in front_end.nodes() if "steps" in node["widgets"]), steps=2)
    front_end.press_run()
    assert front_end.wait_for_end() == "execution_success"
    made = max((front_end.server.base / "output").rglob("*.mp4"), key=lambda file: file.stat().st_mtime_ns)
    video = front_end.page.locator(f'video[src*="{made.name}"]')
    video.wait_for()
    front_end.page.wait_for_function(PLAYS, arg=video.element_handle())
    front_end.page.wait_for_timeout(500)
    front_end.picture(f"{name}_done")
    assert overlapping(front_end.nodes()) == []
    assert not front_end.said, "\n".join(front_end.said)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TINY])
def test_the_twin_for_the_published_files_opens(front_end, name):
    """The files that are not there are offered; nothing else is complained about."""
    front_end.open_template(name)
    front_end.picture(f"{name}_opened")
    check_whole(front_end, name)
    assert not front_end.said, "\n".join(front_end.said)
