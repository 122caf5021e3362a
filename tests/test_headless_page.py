"""The examples of docs/headless.md, run as they stand there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fake_comfy import FakeComfy, serve
from pages import HEADLESS, run_block

from scripts.batch_rows import COLUMNS
from scripts.run_batch import build_parser

ROOT = Path(__file__).parents[1]
JOINT = ROOT / "workflows" / "api" / "joint.json"
LANGUAGES = [
    "python",
    pytest.param(
        "bash",
        marks=pytest.mark.skipif(not all(map(shutil.which, ("bash", "curl", "jq"))), reason="needs bash, curl and jq"),
    ),
]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_example_makes_a_clip(tmp_path, language):
    (tmp_path / "my face.png").write_bytes(b"picture")
    with serve(FakeComfy({("video", "a b&c.mp4"): b"clip"})) as fake:
        done = run_block(
            HEADLESS, language, tmp_path, fake.url, str(JOINT), "my face.png", 'He said "good".', "talk.mp4"
        )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "talk.mp4").read_bytes() == b"clip"
    assert list(fake.uploads.values()) == [b"picture"]
    expected = json.loads(JOINT.read_text())
    expected["portrait"]["inputs"]["image"] = next(iter(fake.uploads))
    expected["text"]["inputs"]["speech"] = 'He said "good".'
    assert fake.prompts == [expected]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_example_says_why_it_was_refused(tmp_path, language):
    (tmp_path / "face.png").write_bytes(b"picture")
    with serve(FakeComfy({}, lambda _: "refused")) as fake:
        done = run_block(HEADLESS, language, tmp_path, fake.url, str(JOINT), "face.png", "Hello.", "talk.mp4")
    assert done.returncode != 0
    assert "Node 'X' not found." in done.stderr
    assert not (tmp_path / "talk.mp4").exists()


@pytest.mark.parametrize("what", ["error", "dies"])
def test_the_python_example_ends_when_the_run_fails(tmp_path, what):
    (tmp_path / "face.png").write_bytes(b"picture")
    with serve(FakeComfy({}, lambda _: what)) as fake:
        done = run_block(HEADLESS, "python", tmp_path, fake.url, str(JOINT), "face.png", "Hello.", "talk.mp4")
    assert done.returncode == 1
    assert not (tmp_path / "talk.mp4").exists()


def test_the_page_names_every_column_and_option():
    page = HEADLESS.read_text("utf-8")
    options = [
        option for action in build_parser()._actions for option in action.option_strings if option.startswith("--")
    ]
    for name in (*COLUMNS, *options):
        assert name in page or name == "--help", name
