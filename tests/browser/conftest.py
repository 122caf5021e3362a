"""A real front end in a real browser, on every ComfyUI that is found; what is missing is said at the end of the run.

With UNIAVGEN_SCREENSHOTS = a folder the workflows run as they are and the screenshots are kept there; else they run
small, and the screenshots go to pytest's temporary folder. CHROMIUM_PATH: the browser, if it is not in PATH.
UNIAVGEN_BROWSER=0 leaves them out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.front_end import FrontEnd, launched
from host.hosts import ROOT, Server, find_hosts, serve

NAMES = ("chromium", "chromium-browser", "google-chrome")
GIVEN = ("speech.wav", "voice.wav", "clip.mp4")  # what the workflows name


def find_browser() -> tuple[str, list[str]]:
    """The browser's path, and what is missing to use it."""
    problems = []
    if os.environ.get("UNIAVGEN_BROWSER") == "0":
        problems.append("UNIAVGEN_BROWSER=0 leaves them out")
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        problems.append("Playwright is not installed (pip install playwright)")
    named = os.environ.get("CHROMIUM_PATH")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        problems.append(f"no Chromium at {named}" if named else "no Chromium in PATH (set CHROMIUM_PATH)")
    return found or "", problems


BROWSER, MISSING = find_browser()
HOSTS, PROBLEMS = find_hosts()
SKIPPED = pytest.param(None, id="no-browser", marks=pytest.mark.skip(reason="; ".join([*MISSING, *PROBLEMS])))


@pytest.fixture(scope="session", params=[SKIPPED] if MISSING or not HOSTS else HOSTS, ids=str)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(request.param, tmp_path_factory.mktemp("browser_host")) as running:
        for name in GIVEN:
            shutil.copyfile(ROOT / "assets" / name, running.base / "input" / name)
        yield running


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("UNIAVGEN_SCREENSHOTS")
    folder = Path(kept).expanduser() if kept else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def front_end(server, pictures) -> Iterator[FrontEnd]:
    """Of a module: while Playwright runs, other tests could not use asyncio."""
    with launched(BROWSER, server, pictures) as opened:
        yield opened


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MISSING or PROBLEMS:
        state = "did not run" if MISSING or not HOSTS else "did not run everywhere"
        terminalreporter.section(f"the tests in a browser {state}", yellow=True, bold=True)
        for problem in (*MISSING, *PROBLEMS):
            terminalreporter.line(f"warning: {problem}", yellow=True)
