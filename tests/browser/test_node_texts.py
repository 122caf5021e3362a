"""What a person is told on the nodes: why something is refused, what is left out, and how far a run is."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from browser.front_end import FrontEnd, wait_until

TEXT, CONDITIONS, SAMPLER = "UniAVGenTextEncode", "UniAVGenConditions", "UniAVGenJointSampler"

# workflow, what is changed, the node that refuses, what it says
WHILE_RUNNING = [
    ("joint", lambda ui: ui.set(TEXT, speech=""), CONDITIONS, "the speech is empty: write what the person says"),
    (
        "joint",
        lambda ui: ui.unplug(CONDITIONS, "reference_image"),
        CONDITIONS,
        "there is no one to see: give a picture of the person",
    ),
    (
        "joint",
        lambda ui: ui.set(TEXT, speech="Banana water garden. " * 12),
        CONDITIONS,
        "shorten it, or ask for",
    ),
    ("joint_voice", lambda ui: ui.set(TEXT, transcript=""), CONDITIONS, "the reference voice needs its transcript"),
    ("joint", lambda ui: ui.set(SAMPLER, skip_layer="99"), SAMPLER, "layer 99 cannot be skipped"),
]
AT_ONCE = [
    (SAMPLER, "skip_layer", "eleven", "is not auto, none, or layer numbers"),
    (SAMPLER, "start", 0.2, "the guided interval from 0.2 to 0.5 is not one"),
]


def text_on(front_end: FrontEnd, kind: str) -> str:
    """What stands on a node, below its inputs."""
    texts = front_end.page.evaluate(
        """kind => app.graph.nodes.find(node => node.type == kind).widgets
            .filter(widget => widget.name == '$$node-text-preview').map(widget => String(widget.value))""",
        kind,
    )
    return "".join(texts)


@pytest.fixture(scope="module", autouse=True)
def opened(front_end):
    front_end.open_template("joint")


@pytest.mark.parametrize(
    ("workflow", "change", "kind", "sentence"), WHILE_RUNNING, ids=[case[3][:20] for case in WHILE_RUNNING]
)
def test_a_refusal_stands_on_its_node(
    front_end, workflow: str, change: Callable[[FrontEnd], None], kind: str, sentence: str
):
    front_end.open_template(workflow)
    front_end.set(SAMPLER, steps=2)
    change(front_end)
    front_end.press_run()
    assert sentence in front_end.wait_for_end()
    wait_until(lambda: sentence in text_on(front_end, kind))
    front_end.errors().first.wait_for()
    front_end.picture(f"refused_{sentence.partition(':')[0].replace(' ', '_')}")
    assert [node["type"] for node in front_end.nodes() if node["refused"]] == [kind]
    seen = front_end.page.get_by_text(sentence).first
    seen.wait_for()


@pytest.mark.parametrize(("kind", "name", "value", "sentence"), AT_ONCE, ids=["layers", "interval"])
def test_a_wrong_value_is_marked_before_anything_runs(front_end, kind, name, value, sentence):
    front_end.open_template("joint")
    front_end.set(kind, **{name: value})
    front_end.press_run()
    listed = front_end.error_list()
    assert [node["type"] for node in front_end.nodes() if node["refused"]] == [kind]
    assert name in listed.inner_text()
    front_end.picture(f"refused_{name}")
    told = front_end.page.evaluate("() => Object.values(app.lastNodeErrors).flatMap(node => node.errors)")
    assert any(sentence in error["details"] for error in told)


def test_what_is_not_spoken_is_said_on_the_node(front_end):
    front_end.open_template("joint")
    front_end.set(TEXT, speech="Hello Ж.")
    front_end.set(SAMPLER, steps=2)
    front_end.press_run()
    front_end.wait_for_end()
    warning = "not in the model's vocabulary, so not spoken: 'Ж'"
    front_end.page.get_by_text(warning).wait_for()
    assert warning in text_on(front_end, TEXT)
    front_end.picture("warning")


def test_a_long_run_shows_pictures_and_steps(front_end):
    """While it runs; then it is cancelled from the browser."""
    front_end.open_template("joint")
    front_end.set(SAMPLER, steps=400, seed=7)
    front_end.press_run()
    page = front_end.page
    page.get_by_text(re.compile(r"step \d+ of 400, about .* left")).wait_for()
    wait_until(lambda: front_end.node(SAMPLER)["pictures"])
    wait_until(lambda: "$$canvas-image-preview" in front_end.node(SAMPLER)["widgets"])
    page.wait_for_timeout(2000)
    front_end.picture("while_sampling")
    page.evaluate("() => app.api.interrupt()")
    wait_until(lambda: not front_end.server.busy())
    assert not front_end.said, "\n".join(front_end.said)
