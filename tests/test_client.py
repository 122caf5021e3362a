"""The API client against a small server of its own: what it sends, what it saves and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_comfy import FakeComfy, serve

from scripts.run_workflow import main

WORKFLOW = {
    "portrait": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "text": {"class_type": "Text", "inputs": {"speech": "Hello."}},
    "sampler": {
        "class_type": "Sampler",
        "inputs": {"model": ["text", 0], "steps": 50, "shift": 5.0, "tiled": False, "region": None},
    },
}


@pytest.fixture
def comfy() -> Iterator[FakeComfy]:
    with serve(FakeComfy({("", "clip.mp4"): b"one"})) as fake:
        yield fake


@pytest.fixture
def client(comfy, tmp_path):
    """Runs the client with some arguments; results go to ``tmp_path / "out"`` unless they say otherwise."""
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(WORKFLOW))

    def run(*arguments: str) -> int:
        return main([str(path), "--server", comfy.url, "--output", str(tmp_path / "out"), *arguments])

    return run


def saved_in(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("text", ["true", "1e3", "NaN", "007", "null", '"quoted"', "a=b.c", ""])
def test_text_stays_as_it_is_written(client, comfy, text):
    assert client("--set", f"text.speech={text}") == 0
    assert comfy.prompts[0]["text"]["inputs"]["speech"] == text


def test_a_fraction_may_replace_a_whole_number(client, comfy):
    """Browsers write 5.0 as 5."""
    assert client("--set", "sampler.steps=7.5") == 0
    assert comfy.prompts[0]["sampler"]["inputs"]["steps"] == 7.5


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("steps=7", 7),
        ("steps=-1", -1),
        ("shift=3", 3.0),
        ("shift=1e3", 1000.0),
        ("tiled=true", True),
    ],
)
def test_values_follow_the_type_they_replace(client, comfy, setting, value):
    assert client("--set", f"sampler.{setting}") == 0
    name = setting.partition("=")[0]
    sent = comfy.prompts[0]["sampler"]["inputs"]
    assert sent == {**WORKFLOW["sampler"]["inputs"], name: value}
    assert type(sent[name]) is type(WORKFLOW["sampler"]["inputs"][name])


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("steps=many", "sampler.steps must be a number, as in the workflow (50), not 'many'"),
        ("steps=true", "must be a number"),
        ("steps=", "must be a number"),
        ("shift=NaN", "sampler.shift must be a finite number, as in the workflow (5.0), not 'NaN'"),
        ("shift=1e999", "must be a finite number"),
        ("shift=1" + "0" * 400, "must be a finite number"),
        ("shift=much", "must be a finite number"),
        ("tiled=1", "sampler.tiled must be true or false, as in the workflow (false), not '1'"),
        ("tiled=True", "must be true or false"),
        ("region=1", "sampler.region is null in the workflow: only text, numbers and booleans can be set"),
        ("model=5", "sampler.model is linked to node 'text': only inputs with a value can be set"),
        ("stepz=7", "sampler has no input 'stepz' in the workflow; it has model, steps, shift, tiled, region"),
    ],
)
def test_refuses_a_setting(client, comfy, capsys, setting, sentence):
    assert client("--set", f"sampler.{setting}") == 2
    assert sentence in capsys.readouterr().err
    assert not comfy.sockets


def test_warnings_of_nodes_are_told_once(client, comfy, capsys):
    comfy.texts = ["⚠ not spoken: '好'", "⚠ not spoken: '好'\n⚠ stretched\nstep 1 of 2", "2 steps in 1 s"]
    assert client() == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert told == ["warning: LoadImage: not spoken: '好'", "warning: LoadImage: stretched"]


def test_uploads_a_file(client, comfy, tmp_path):
    (tmp_path / "face.png").write_bytes(b"picture")
    assert client("--upload", f"portrait.image={tmp_path / 'face.png'}") == 0
    assert comfy.uploads == {"face.png": b"picture"}
    assert comfy.prompts[0]["portrait"]["inputs"] == {"image": "sent/face.png"}


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("portrait.images", "portrait has no input 'images' in the workflow; it has image"),
        ("sampler.model", "sampler.model is linked to node 'text'"),
        ("sampler.steps", "sampler.steps does not take a file"),
    ],
)
def test_refuses_an_upload(client, comfy, tmp_path, capsys, target, sentence):
    (tmp_path / "face.png").write_bytes(b"picture")
    assert client("--upload", f"{target}={tmp_path / 'face.png'}") == 2
    assert sentence in capsys.readouterr().err
    assert not comfy.uploads


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_refuses_a_file_as_output_before_the_run(client, comfy, tmp_path, capsys, below):
    (tmp_path / "file").write_bytes(b"kept")
    assert client("--output", str(tmp_path / "file" / below)) == 2
    assert f"{tmp_path / 'file'} is not a folder" in capsys.readouterr().err
    assert not comfy.sockets


def test_server_without_a_scheme(client, comfy, tmp_path):
    assert client("--server", comfy.url.removeprefix("http://") + "/") == 0
    assert saved_in(tmp_path / "out") == {"clip.mp4": b"one"}


def test_subfolders_stay_apart_and_older_results_are_replaced(client, comfy, tmp_path, capsys):
    comfy.saved = {("", "clip.mp4"): b"1", ("a", "clip.mp4"): b"2", ("a/b", "clip.mp4"): b"3", ("c\\d", "x"): b"4"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "clip.mp4").write_bytes(b"older")
    assert client() == 0
    names = ["clip.mp4", "a/clip.mp4", "a/b/clip.mp4", "c/d/x"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in names]
    assert saved_in(tmp_path / "out") == dict(zip(names, [b"1", b"2", b"3", b"4"], strict=True))


@pytest.mark.case("Disk and network", "full disk while a server's result is saved")
def test_a_result_that_cannot_be_written_leaves_the_older_one(client, tmp_path, monkeypatch, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "clip.mp4").write_bytes(b"older")

    def write_half(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:1])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    assert client() == 2
    said = f"error: {tmp_path / 'out' / 'clip.mp4'} cannot be written (no space left): make room, or choose another"
    assert said in capsys.readouterr().err
    assert saved_in(tmp_path / "out") == {"clip.mp4": b"older"}


@pytest.mark.case("Disk and network", "names of a server's results that lead elsewhere")
@pytest.mark.parametrize(
    "name",
    [
        *(("..", "x"), ("", "../x"), ("a/../..", "x"), ("/elsewhere", "x"), ("a", "/x"), ("", "..\\x"), ("", ".")),
        *(("", "x\0.mp4"), ("a\n", "x"), ("", "\x1b[2Jx")),
    ],
)
def test_names_do_not_leave_the_output_folder(client, comfy, tmp_path, capsys, name):
    comfy.saved = {name: b"bad"}
    before = saved_in(tmp_path)
    assert client() == 1
    said = capsys.readouterr().err
    assert "the server names a result outside its output folder" in said and "\x1b" not in said
    assert saved_in(tmp_path) == before


@pytest.mark.case("Disk and network", "a link where a file is to be written")
def test_a_link_is_replaced_and_not_written_through(client, tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "clip.mp4").symlink_to(tmp_path / "mine")
    assert client() == 0
    assert not (tmp_path / "out" / "clip.mp4").is_symlink()
    assert saved_in(tmp_path / "out") == {"clip.mp4": b"one"}
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_result_that_is_gone(client, comfy, tmp_path, capsys):
    comfy.saved = {("", "clip.mp4"): b""}
    assert client() == 1
    assert "the server did not hand out clip.mp4: 404 Not Found" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ["/prompt", "/history/", "/upload/image"])
def test_an_answer_that_is_not_json(client, comfy, tmp_path, capsys, path):
    comfy.not_json = path
    (tmp_path / "face.png").write_bytes(b"picture")
    assert client("--upload", f"portrait.image={tmp_path / 'face.png'}") == 1
    said = capsys.readouterr().err
    assert f"error: {comfy.url}{path}" in said
    assert "answered 200 OK with something other than JSON" in said


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("refused", "Node 'X' not found."),
        ("error", "LoadImage: it is too long"),
        ("interrupted", "the run was interrupted on the server"),
        ("dropped", "the workflow was taken off the server's queue"),
        ("dies", "error: "),
    ],
)
def test_a_run_that_fails(client, comfy, tmp_path, capsys, monkeypatch, what, sentence):
    monkeypatch.setattr("scripts.client.QUIET", 0.2)
    comfy.behave = lambda _: what
    assert client() == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_event_that_is_missed(client, comfy, tmp_path, monkeypatch):
    """The queue no longer has the workflow and the history does."""
    monkeypatch.setattr("scripts.client.QUIET", 0.2)
    comfy.behave = lambda _: "silently done"
    assert client() == 0
    assert saved_in(tmp_path / "out") == {"clip.mp4": b"one"}
