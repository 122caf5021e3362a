"""The page of a user study in a real browser, from a file, without a network: by keys, by touch, and after a reload.

It needs no ComfyUI and some seconds, so it runs wherever Playwright and Chromium are. CHROMIUM_PATH: the browser, if it
is not in PATH; UNIAVGEN_SCREENSHOTS: a folder that keeps the screenshots.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser.front_end import SWITCHES
from media import grey, tone, write_video

from evaluation.__main__ import main
from evaluation.studying.key import CRITERIA, Key, read_key
from evaluation.studying.tally import count

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install playwright)")
NAMES = (os.environ.get("CHROMIUM_PATH") or "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium in PATH (set CHROMIUM_PATH)")

METHODS = ("ours", "other", "third")
CLIPS = ("first", "second")
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
SECONDS = 0.5
PATIENCE = 10_000  # ms, on a busy machine


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[str]:
    root = tmp_path_factory.mktemp("methods")
    for shade, method in enumerate(METHODS):
        (root / method).mkdir()
        for hertz, clip in zip((300, 500), CLIPS, strict=True):
            pictures = [grey(15 * shade + i, (96, 160)) for i in range(round(SECONDS * 16))]
            write_video(root / method / f"{clip}.mp4", pictures, sound=tone(SECONDS, 24_000, hertz))
    return [str(root / method) for method in METHODS]


@pytest.fixture(scope="module")
def study(folders, tmp_path_factory) -> tuple[Path, Key]:
    page = tmp_path_factory.mktemp("study") / "page"
    assert main(["study", "make", *folders, "--output", str(page), "--title", "A <study>"]) == 0
    return page / "index.html", read_key(page.with_name("page.key.json"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as running:
        yield running.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)


@contextmanager
def opened(browser: Browser, index: Path, **how) -> Iterator[Page]:
    """Without a network; at the end the console must have said nothing and nothing must have been asked of one."""
    context = browser.new_context(**how)
    context.set_offline(True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(index.as_uri())
    yield page
    context.close()
    assert not said
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def picture(page: Page, name: str) -> None:
    if kept := os.environ.get("UNIAVGEN_SCREENSHOTS"):
        page.screenshot(path=Path(kept).expanduser() / f"study_{name}.png")


def answers_of(page: Page) -> dict:
    return json.loads(page.locator("#answers").input_value())


def shown(page: Page) -> list[str]:
    """Neutral names of the clips, as they stand on the page."""
    return page.evaluate("cards.map(card => card.name)")


def hear_all(page: Page) -> None:
    for index in range(len(METHODS)):
        page.get_by_role("button", name=f"Play {index + 1}", exact=True).click()
        page.get_by_role("button", name=f"Replay {index + 1}").wait_for()


def test_a_study_by_keys_alone(browser, study, tmp_path):
    index, key = study
    with opened(browser, index, **DESKTOP, accept_downloads=True) as page:
        assert page.title() == "A <study>"
        picture(page, "start")
        page.keyboard.press("ArrowRight")
        chosen = {}
        for number in range(len(CLIPS) * len(CRITERIA)):
            names = shown(page)
            if number % len(CRITERIA) == 0:  # three new clips
                page.keyboard.press("ArrowRight")
                assert page.locator("#status").inner_text() == (
                    "To go on, play clips 1, 2 and 3 to the end and choose one."
                )
                assert page.locator("#where").inner_text() == f"Group {number // 3 + 1} of 2, question 1 of 3"
                for left in range(3):
                    page.keyboard.press("Space")
                    page.wait_for_function("left => Object.keys(state.played).length == left", arg=number + left + 1)
                page.keyboard.press("4")  # there is no such clip
            assert page.locator("#status").inner_text() == "To go on, choose a clip."
            assert page.locator("#next").get_attribute("aria-disabled") == "true"
            page.keyboard.press(str(number % 3 + 1))
            assert page.locator("#next").get_attribute("aria-disabled") == "false"
            assert page.locator("[aria-pressed=true]").inner_text().startswith(f"Choose {number % 3 + 1}")
            chosen[page.evaluate("screen().question"), page.evaluate("screen().criterion.name")] = names[number % 3]
            page.keyboard.press("ArrowRight")
        picture(page, "end")
        with page.expect_download() as download:
            page.get_by_role("button", name="Save the file").press("Enter")
        (tmp_path / "answers").mkdir()
        file = tmp_path / "answers" / download.value.suggested_filename
        download.value.save_as(file)
        assert json.loads(file.read_text()) == answers_of(page)
        page.get_by_role("button", name="Copy the text").press("Enter")
        page.wait_for_function("document.getElementById('done').textContent == 'Copied.'")
        found = json.loads(file.read_text())
        assert file.name == f"answers-{key.study}-{found['participant']}.json"
    assert {(one["question"], one["criterion"]): one["choice"] for one in found["answers"]} == chosen
    assert file.stat().st_size < 4096
    votes = count(tmp_path / "answers", key).votes
    method = {clip.name: clip.method for question in key.questions for clip in question.clips}
    assert Counter(vote.method for vote in votes) == Counter(method[name] for name in chosen.values())
    assert all(0 <= vote.seconds < 60 for vote in votes)
    assert {vote.question for vote in votes} == set(CLIPS)


def test_a_phone_by_touch_goes_on_after_a_reload(browser, study):
    with opened(browser, study[0], **PHONE) as page:
        picture(page, "phone_start")
        page.get_by_role("button", name="Start").tap()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        sizes = page.evaluate("Array.from(document.querySelectorAll('button'), one => one.getBoundingClientRect())")
        assert all(size["height"] >= 44 for size in sizes if size["height"])
        assert all(page.evaluate("cards.map(card => card.video.playsInline && !card.video.controls)"))
        page.get_by_role("button", name="Choose 2").tap()
        page.locator("video").first.tap()  # the picture itself plays too
        page.get_by_role("button", name="Replay 1").wait_for()
        picture(page, "phone")
        before, participant = shown(page), page.evaluate("state.participant")
        page.reload()
        assert (shown(page), page.evaluate("state.participant")) == (before, participant)
        assert page.locator("#status").inner_text() == "To go on, play clips 2 and 3 to the end."
        assert page.get_by_role("button", name="Choose 2").get_attribute("aria-pressed") == "true"
        page.get_by_role("button", name="Next").tap(force=True)  # it is off, and stays where it is
        assert page.locator("#where").inner_text() == "Group 1 of 2, question 1 of 3"
        for number in (2, 3):
            page.get_by_role("button", name=f"Play {number}", exact=True).tap()
            page.get_by_role("button", name=f"Replay {number}").wait_for()
        page.get_by_role("button", name="Next").tap()
        assert page.locator("#where").inner_text() == "Group 1 of 2, question 2 of 3"
        page.get_by_role("button", name="Back").tap()
        assert page.get_by_role("button", name="Choose 2").get_attribute("aria-pressed") == "true"


def test_only_one_clip_plays_and_half_a_clip_does_not_count(browser, study):
    with opened(browser, study[0], **DESKTOP) as page:
        page.get_by_role("button", name="Start").click()
        page.evaluate("cards.forEach(card => card.video.playbackRate = 0.25)")
        page.get_by_role("button", name="Play 1", exact=True).click()
        page.get_by_role("button", name="Pause 1").wait_for()
        page.get_by_role("button", name="Play 2", exact=True).click()
        page.get_by_role("button", name="Pause 2").wait_for()
        page.get_by_role("button", name="Play 1", exact=True).wait_for()
        assert page.evaluate("cards.map(card => card.video.paused)") == [True, False, True]
        assert page.evaluate("state.played") == {}
        picture(page, "desktop")


def test_every_control_is_reached_by_tab_and_shows_its_focus(browser, study):
    with opened(browser, study[0], **DESKTOP, color_scheme="dark") as page:
        reached = []
        for _ in range(3):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.textContent.trim().split(' ')[0]"))
        assert reached[:2] == ["Start", "Keys"]
        page.get_by_role("button", name="Start").press("Enter")
        reached = []
        for _ in range(8):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id")
            )
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert [name for name in reached if name] == ["Play 1", "Play 2", "Play 3", "back", "next"]
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") != "VIDEO"
        picture(page, "dark")
        page.get_by_role("button", name="Choose 3").focus()
        page.keyboard.press("Space")  # presses the button, plays nothing
        assert page.get_by_role("button", name="Choose 3").get_attribute("aria-pressed") == "true"
        assert all(page.evaluate("cards.map(card => card.video.paused)"))


def test_keys_can_be_turned_off(browser, study):
    with opened(browser, study[0], **DESKTOP) as page:
        page.get_by_text("Keys for those who like them").click()
        page.get_by_label("Use these keys").uncheck()
        page.keyboard.press("ArrowRight")
        assert page.get_by_role("button", name="Start").is_visible()
        page.get_by_role("button", name="Start").click()
        page.keyboard.press("2")
        assert page.locator("[aria-pressed=true]").count() == 0


def test_a_clip_that_does_not_play_stops_no_one(browser, study, tmp_path):
    shutil.copytree(study[0].parent, tmp_path / "page")
    for clip in study[1].questions[0].clips[:1] + study[1].questions[1].clips[:1]:
        (tmp_path / "page" / "clips" / f"{clip.name}.mp4").write_bytes(b"damaged")
    with opened(browser, tmp_path / "page" / "index.html", **DESKTOP) as page:
        page.get_by_role("button", name="Start").click()
        page.wait_for_function("document.getElementById('status').textContent.includes('does not play clip')")
        for _ in range(2 * len(CRITERIA)):
            page.wait_for_function("broken().length == 1")
            page.keyboard.press("1")
            page.keyboard.press("ArrowRight")
        assert answers_of(page)["answers"] == []


def test_one_file_plays_and_another_person_starts_anew(browser, folders, tmp_path):
    arguments = [*folders, "--output", str(tmp_path / "page"), "--one-file"]
    assert main(["study", "make", *arguments]) == 0
    with opened(browser, tmp_path / "page" / "index.html", **PHONE) as page:
        page.get_by_role("button", name="Start").tap()
        for _ in CLIPS:
            hear_all(page)
            for _ in CRITERIA:
                page.get_by_role("button", name="Choose 1").tap()
                page.get_by_role("button", name="Next").tap()
        first = answers_of(page)
        assert len(first["answers"]) == len(CLIPS) * len(CRITERIA)
        picture(page, "phone_end")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Start anew").tap()
        page.get_by_role("button", name="Start", exact=True).tap()
        assert page.evaluate("state.participant") != first["participant"]
        assert page.locator("[aria-pressed=true]").count() == 0


def test_without_storage_the_page_says_so_and_works(browser, study):
    with opened(browser, study[0], **DESKTOP) as page:
        page.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('full') }")
        page.reload()
        assert page.locator("#kept").inner_text().startswith("This browser keeps nothing")
        page.get_by_role("button", name="Start").click()
        page.keyboard.press("1")
        assert page.locator("[aria-pressed=true]").count() == 1


def test_what_is_kept_but_damaged_is_forgotten(browser, study):
    with opened(browser, study[0], **DESKTOP) as page:
        page.evaluate("localStorage.setItem(PLACE, '{half')")
        page.reload()
        assert page.get_by_role("button", name="Start").is_visible()


def test_orders_are_even_over_participants(browser, study):
    with opened(browser, study[0]) as page:
        orders = page.evaluate(
            """() => Array.from({ length: 3000 }, () => screensOf(fresh().participant)).map(screens => [
                screens[0].question, ...screens[0].clips.map(clip => clip.name)])"""
        )
    seen = Counter(map(tuple, orders))
    assert len(seen) == 12  # 2 questions x 3! orders
    assert all(175 < number < 325 for number in seen.values())  # 250 each; 75 is five standard deviations
