"""What a person should know of a run stands on the node, not only in the log."""

from __future__ import annotations

import pytest
from host.listening import hear

UNKNOWN = "Hello, doctor Ж."


@pytest.mark.case("Text", "unknown characters, named in a warning")
@pytest.mark.case("Text", "caption beyond what the model reads, cut visibly")
@pytest.mark.parametrize(
    ("changes", "node", "sentence"),
    [
        ({"text.speech": "Hi Ж."}, "text", "not in the model's vocabulary, so not spoken: 'Ж'"),
        ({"text.caption": "A face. " * 40}, "text", "of which the tiny model reads the first 255: the last 65 are cut"),
        (
            {"conditions.height": 128},
            "conditions",
            "the reference image is 128 x 128 and the clip 64 x 128: it is stretch",
        ),
        ({"text.speech": "A rather longer sentence."}, "conditions", "the speech takes about 1.7 s at the usual pace"),
    ],
)
def test_a_warning_stands_on_its_node(server, workflow, changes, node, sentence):
    heard = hear(server, workflow({"conditions.frames": 17, "sampler.steps": 1, **changes}))
    assert heard.end == "execution_success"
    (text,) = heard.texts_on(node)
    assert text.startswith("⚠ ") and sentence in text
    assert {name for name, text in heard.texts if "⚠" in text} == {node}
    assert sentence in (server.base / "log.txt").read_text()


def test_a_warning_goes_when_its_cause_is_gone(server, workflow):
    """And comes again with it."""
    small = {"conditions.frames": 13, "sampler.steps": 1, "sampler.seed": 41}
    texts = []
    for speech in (UNKNOWN, "Hello, doctor.", "Hello.", "Ж, hello."):
        texts.append(hear(server, workflow({**small, "text.speech": speech})).texts_on("text"))
    first, then, later, again = texts
    assert "'Ж'" in first[0] and "'Ж'" in again[0]
    assert then == ["No warnings."]
    assert later == []


@pytest.mark.parametrize(
    ("seconds", "sentence"),
    [
        (3.0, "the sound lasts 3.00 s and the pictures 2.00 s: the last 1.00 s of the sound are cut off"),
        (1.0, "the sound lasts 1.00 s and the pictures 2.00 s: the last 1.00 s are silent"),
        (2.1, None),
    ],
)
def test_sound_of_another_length_than_the_pictures(server, seconds, sentence):
    sound = {"duration": seconds, "sample_rate": 24000, "channels": 1}
    mux = {"images": ["images", 0], "audio": ["sound", 0], "fps": 16.0}
    save = {"video": ["mux", 0], "filename_prefix": "fitted", "format": "mp4", "codec": "h264"}
    graph = {
        "images": {"class_type": "EmptyImage", "inputs": {"width": 63, "height": 64, "batch_size": 32, "color": 0}},
        "sound": {"class_type": "EmptyAudio", "inputs": sound},
        "mux": {"class_type": "UniAVGenMux", "inputs": mux},
        "save": {"class_type": "SaveVideo", "inputs": save},
    }
    texts = hear(server, graph).texts_on("mux")
    assert "pictures of 63 x 64 become 62 x 64" in texts[-1]
    assert sentence is None or sentence in texts[-1]
    assert texts[-1].count("⚠") == 1 + (sentence is not None)
