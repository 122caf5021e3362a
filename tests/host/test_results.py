"""What a run made, to be seen and heard: pictures of mask and mel, the host's player, source and dub side by side."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
from host.hosts import API_WORKFLOW
from PIL import Image


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def opened(server, item) -> np.ndarray:
    with Image.open(server.base / item["type"] / item["subfolder"] / item["filename"]) as image:
        return np.asarray(image.convert("RGB"))


def test_pictures_and_player_show_what_was_made(server, workflow):
    graph = workflow({"conditions.frames": 33, "text.speech": "Hello doctor.", "sampler.seed": 51})
    graph |= {
        "overlay": node("UniAVGenFaceMaskOverlay", images=["video", 0], mask=["sampler", 1], strength=0.6),
        "mask": node("PreviewImage", images=["overlay", 0]),
        "plain": node("UniAVGenMelPicture", latent=["sampler", 0]),  # as in workflows made before it took a speech
        "mel": node("PreviewImage", images=["plain", 0]),
        "worded": node("UniAVGenMelPicture", latent=["sampler", 0], speech="Hello doctor."),
        "words": node("PreviewImage", images=["worded", 0]),
        "player": node("PreviewAudio", audio=["sound", 0]),
    }
    shown = server.run(graph)
    assert len(shown["mask"]["images"]) == 33
    plain, worded = (opened(server, shown[name]["images"][0]) for name in ("mel", "words"))
    assert worded.shape[0] > plain.shape[0] and worded.shape[1] == plain.shape[1]
    assert worded[: worded.shape[0] - plain.shape[0]].std() > 5  # something is written there
    (sound,) = shown["player"]["audio"]
    with av.open(str(server.base / sound["type"] / sound["subfolder"] / sound["filename"])) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
        assert samples / stream.rate == pytest.approx(33 / 16, abs=0.01)


def test_source_and_dub_side_by_side_by_host_nodes(server, inputs):
    """Get Video Components, Image Stitch and Create Video are in both hosts: same pictures, new sound."""
    graph = json.loads(API_WORKFLOW.with_name("dub.json").read_text())
    graph["sampler"]["inputs"]["steps"] = 1
    graph |= {
        "left": node("GetVideoComponents", video=["footage", 0]),
        "right": node("GetVideoComponents", video=["mux", 0]),
        "both": node(
            "ImageStitch",
            image1=["left", 0],
            image2=["right", 0],
            direction="right",
            match_image_size=True,
            spacing_width=4,
            spacing_color="black",
        ),
        "joined": node("CreateVideo", images=["both", 0], audio=["right", 1], fps=["right", 2]),
        "compared": node("SaveVideo", video=["joined", 0], filename_prefix="compared", format="mp4", codec="h264"),
    }
    (item,) = server.run(graph)["compared"]["images"]
    source = str(server.base / "input" / graph["footage"]["inputs"]["file"])
    with av.open(source) as one, av.open(str(server.base / "output" / item["filename"])) as two:
        footage, compared = one.streams.video[0], two.streams.video[0]
        assert compared.width == 2 * footage.width + 4 and compared.height == footage.height
        assert float(compared.average_rate) == pytest.approx(float(footage.average_rate), abs=0.01)
        assert two.streams.audio
        frames = [len(list(container.decode(video=0))) for container in (one, two)]
    assert frames[0] == frames[1]
