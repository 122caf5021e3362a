"""ComfyUI's page in a headless Chromium: opens workflows, changes them, runs them, and says what is seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from host.hosts import Server

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page, Route

PACK = "uniavgen"  # the pack's folder in the host of the tests
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.VueNodes.Enabled": False,
    "Comfy.Minimap.Visible": False,
    "LiteGraph.Canvas.MaximumFps": 10,  # a canvas without a GPU is drawn by the cores that the model needs
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # texts also where the graph is small
}
OVERLAY, DIALOG = '[data-testid="error-overlay"]', ".comfy-error-report"  # of newer and of older front ends
# from outside, which is blocked, and what a new user does not have yet
QUIET = ("Failed to load resource", "Error fetching file size")

NODES = """() => app.graph.nodes.map(node => ({
    id: String(node.id), type: node.type, title: node.title, known: node.type in LiteGraph.registered_node_types,
    box: [node.pos[0], node.pos[1] - LiteGraph.NODE_TITLE_HEIGHT,
          node.size[0], node.size[1] + LiteGraph.NODE_TITLE_HEIGHT],
    widgets: (node.widgets ?? []).map(widget => widget.name),
    refused: Boolean(node.has_errors) || app.lastExecutionError?.node_id == node.id,
    pictures: app.nodePreviewImages[node.id]?.length ?? 0,
}))"""
LINKS = """() => [...app.graph.links.values()].map(link => {
    const from = app.graph.getNodeById(link.origin_id), to = app.graph.getNodeById(link.target_id)
    return [from?.outputs[link.origin_slot]?.type ?? null, to?.inputs[link.target_slot]?.type ?? null]
})"""
SET = """([type, name, value]) => {
    const node = app.graph.nodes.find(node => node.type == type)
    const widget = node.widgets.find(widget => widget.name == name)
    widget.value = value
    widget.callback?.(value)
}"""
UNPLUG = """([type, name]) => {
    const node = app.graph.nodes.find(node => node.type == type)
    node.disconnectInput(node.inputs.findIndex(input => input.name == name))
}"""
SELECT = (
    "type => { app.canvas.selectNode(app.graph.nodes.find(node => node.type == type)); app.canvas.draw(true, true) }"
)
LISTEN = """() => { window.ended = []; for (const end of ['execution_success', 'execution_error'])
    app.api.addEventListener(end, event => window.ended.push([end, event.detail])) }"""


@dataclass
class FrontEnd:
    """The page, and what its console complained of."""

    page: Page
    server: Server
    pictures: Path
    said: list[str] = field(default_factory=list)

    def open(self, **settings: Any) -> None:
        """Loads the page anew, with such settings beside the usual ones (``Comfy_Locale="zh"``)."""
        changed = {name.replace("_", "."): value for name, value in settings.items()}
        self.server.post("/settings", {**SETTINGS, **changed})
        self.page.goto(self.server.url)
        self.page.wait_for_function("() => window.app?.vueAppReady && window.app.graph?.nodes")
        self.page.get_by_test_id("queue-button").wait_for()
        self.page.evaluate(LISTEN)
        self.said.clear()

    def browse_by_menu(self) -> Locator:
        """Opens the pack's page of the template browser as a person does: the cards on it."""
        self.page.locator(".comfy-menu-button-wrapper").first.click()
        self.page.get_by_text("Browse Templates", exact=True).first.click()
        return self.cards()

    def cards(self) -> Locator:
        """Of the pack, in the open template browser."""
        self.page.get_by_role("button", name=PACK, exact=True).click()
        cards = self.page.locator('[data-testid^="template-workflow-"]')
        self.page.get_by_test_id("template-workflow-joint").wait_for()
        return cards

    def open_template(self, name: str) -> None:
        """Opens a workflow of the pack in a tab of its own; what is said from then on counts."""
        self.said.clear()
        if self.page.locator(DIALOG).count():
            self.page.keyboard.press("Escape")
            self.page.locator(DIALOG).wait_for(state="detached")
        self.page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        self.cards()
        self.page.get_by_test_id(f"template-workflow-{name}").click()
        self.page.get_by_test_id("template-workflows-content").wait_for(state="detached")
        self.page.wait_for_function("() => app.graph.nodes.some(node => node.type == 'UniAVGenLoad')")
        self.page.wait_for_timeout(500)  # the front end fits the graph into the window and measures the nodes

    def set(self, node: str, **values: Any) -> None:
        """Changes widgets of the first node of a type."""
        for name, value in values.items():
            self.page.evaluate(SET, [node, name, value])

    def unplug(self, node: str, name: str) -> None:
        self.page.evaluate(UNPLUG, [node, name])

    def select(self, node: str) -> None:
        self.page.evaluate(SELECT, node)

    def nodes(self) -> list[dict[str, Any]]:
        return self.page.evaluate(NODES)

    def node(self, kind: str) -> dict[str, Any]:
        """The first of a type."""
        return next(node for node in self.nodes() if node["type"] == kind)

    def links(self) -> list[list[str | None]]:
        """The types at both ends of each link."""
        return self.page.evaluate(LINKS)

    def press_run(self) -> None:
        self.page.evaluate("() => { window.ended.length = 0 }")
        self.page.get_by_test_id("queue-button").click()

    def wait_for_end(self, seconds: float = 300) -> str:
        """How the run ended: execution_success, or what the host says of its error."""
        self.page.wait_for_function("() => window.ended.length", timeout=1000 * seconds)
        kind, detail = self.page.evaluate("() => window.ended[0]")
        return detail.get("exception_message", kind)

    def errors(self) -> Locator:
        """What tells that something is wrong, if anything is."""
        return self.page.locator(f"{OVERLAY}, {DIALOG}")

    def error_list(self) -> Locator:
        """What is wrong, in detail: in the panel beside the graph, or in the dialog."""
        self.errors().first.wait_for()
        if self.page.locator(DIALOG).count():
            return self.page.locator(DIALOG)
        self.page.get_by_test_id("error-overlay-see-errors").click()
        panel = self.page.get_by_test_id("properties-panel")
        panel.get_by_text("Invalid input").wait_for()
        return panel

    def picture(self, name: str) -> None:
        """Keeps a screenshot."""
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def hear(self, message: ConsoleMessage) -> None:
        address = message.location.get("url", "")
        ours = address.startswith(self.server.url) and PACK in address
        if message.type == "error" and (ours or not message.text.startswith(QUIET)):
            self.said.append(f"{message.text} ({address})")


@contextmanager
def launched(browser: str, server: Server, pictures: Path) -> Iterator[FrontEnd]:
    """The page in a new browser without a past, which reaches nothing but this machine."""
    from playwright.sync_api import sync_playwright

    with TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=browser, headless=True, args=SWITCHES, viewport={"width": 1920, "height": 1080}
        )
        context.set_default_timeout(60_000)
        context.route("**/*", only_this_machine)
        page = context.pages[0]
        front_end = FrontEnd(page, server, pictures)
        page.on("console", front_end.hear)
        page.on("pageerror", lambda error: front_end.said.append(str(error)))
        try:
            front_end.open()
            yield front_end
        finally:
            context.close()


def only_this_machine(route: Route) -> None:
    address = urlsplit(route.request.url)
    if address.scheme in ("data", "blob") or address.hostname in ("127.0.0.1", "localhost"):
        route.continue_()
    else:
        route.abort()


def wait_until(true: Any, seconds: float = 60) -> None:
    """Asks again and again."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
