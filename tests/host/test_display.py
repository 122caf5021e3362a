"""What a person sees on the nodes: a moving picture while sampling, steps and the time left."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest
from host.hosts import API_WORKFLOW
from host.listening import hear
from PIL import Image

CLIP = {"conditions.frames": 41, "conditions.width": 128, "conditions.height": 128, "text.speech": "Hello doctor."}


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def test_pictures_move_while_a_step_is_computed(server, workflow):
    """The clip so far is played on the sampler's node, also between two steps."""
    large = {"conditions.frames": 81, "conditions.width": 320, "conditions.height": 320}
    heard = hear(server, workflow({**CLIP, **large, "sampler.steps": 3, "sampler.seed": 31}))
    pictures = heard.pictures_on("sampler")
    assert heard.end == "execution_success"
    assert heard.steps_of("sampler") == [(1, 3), (2, 3), (3, 3)]
    assert len(pictures) > 3 + 2  # a picture with each step, the others between them
    assert all(picture.std() > 2 for picture in pictures)
    assert sum(difference(a, b) > 0 for a, b in itertools.pairwise(pictures)) >= 3 + 2


def test_the_preview_shows_the_colours_of_the_clip(server, workflow):
    """Those of the tiny model's own autoencoder, computed from its weights: the last preview is like a frame."""
    graph = workflow({**CLIP, "sampler.steps": 8, "sampler.seed": 32})
    graph["frames"] = {"class_type": "PreviewImage", "inputs": {"images": ["video", 0]}}
    heard = hear(server, graph)
    shown = [event for event in heard.events if event["type"] == "executed" and event["data"]["node"] == "frames"]
    item = shown[0]["data"]["output"]["images"][20]
    with Image.open(server.base / "temp" / item["subfolder"] / item["filename"]) as image:
        frame = np.asarray(image.convert("RGB").resize((8, 8), Image.Resampling.BOX), dtype=float)
    preview = Image.fromarray(heard.pictures_on("sampler")[-1]).resize((8, 8), Image.Resampling.BOX)
    assert np.corrcoef(np.asarray(preview, dtype=float).ravel(), frame.ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    ("node", "name", "changes"),
    [
        ("sampler", "joint", {**CLIP, "sampler.steps": 6}),
        ("sampler", "long", {**CLIP, "sampler.steps": 3, "sampler.window": 33}),
    ],
)
def test_the_node_counts_its_steps_and_tells_the_time_left(server, workflow, node, name, changes):
    graph = json.loads(API_WORKFLOW.with_name(f"{name}.json").read_text())
    for target, value in {**changes, "sampler.seed": 33}.items():
        part, key = target.split(".")
        graph[part]["inputs"][key] = value
    texts = hear(server, graph).texts_on(node)
    assert [re.sub(r"about .* left", "about T left", text) for text in texts[:-1]] == [
        f"step {step} of 6, about T left" for step in range(1, 6)
    ]
    assert re.fullmatch(r"6 steps in \d+ s", texts[-1])


def test_host_samplers_show_another_latent_with_each_step(server):
    graph = json.loads(API_WORKFLOW.with_name("custom_sampling.json").read_text())
    by_class = {node["class_type"]: name for name, node in graph.items()}
    graph[by_class["UniAVGenConditions"]]["inputs"] |= {"frames": 41, "width": 128, "height": 128}
    graph[by_class["UniAVGenTextEncode"]]["inputs"]["speech"] = "Hello doctor."
    graph[by_class["UniAVGenSchedule"]]["inputs"]["steps"] = 8
    heard = hear(server, graph)
    pictures = heard.pictures_on(by_class["SamplerCustomAdvanced"])
    assert len(pictures) == 8
    assert all(picture.std() > 5 for picture in pictures)
    assert all(difference(a, b) > 0 for a, b in itertools.pairwise(pictures))
