"""Every host test runs once in each ComfyUI that is found; without one they skip and the summary says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from host.hosts import API_WORKFLOW, Host, Server, find_hosts, serve

HOSTS, PROBLEMS = find_hosts()
SMALL = {
    "text.speech": "Hi.",
    "sampler.steps": 2,
    "conditions.frames": 5,
    "conditions.width": 64,
    "conditions.height": 64,
}
SKIPPED = pytest.param(None, id="no-host", marks=pytest.mark.skip(reason="; ".join(PROBLEMS)))


@pytest.fixture(scope="session", params=HOSTS or [SKIPPED], ids=str)
def host(request: pytest.FixtureRequest) -> Host:
    return request.param


@pytest.fixture(scope="session")
def server(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(host, tmp_path_factory.mktemp("host")) as running:
        yield running


@pytest.fixture
def workflow() -> Callable[..., dict[str, Any]]:
    """Builds the joint workflow, small and with inputs changed: ``workflow({"sampler.steps": 4})``."""

    def build(changes: dict[str, Any] | None = None) -> dict[str, Any]:
        graph = json.loads(API_WORKFLOW.read_text())
        for target, value in {**SMALL, **(changes or {})}.items():
            node, name = target.split(".")
            graph[node]["inputs"][name] = value
        return graph

    return build


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if PROBLEMS:
        state = "did not run" if not HOSTS else "did not run everywhere"
        terminalreporter.section(f"the tests inside ComfyUI {state}", yellow=True, bold=True)
        for problem in PROBLEMS:
            terminalreporter.line(f"warning: {problem}", yellow=True)
