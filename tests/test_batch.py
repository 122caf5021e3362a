"""A table of clips made on servers that behave and misbehave: what is sent, what is saved, what is said."""

from __future__ import annotations

import asyncio
import csv
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest
from fake_comfy import FakeComfy, serve

from scripts.run_batch import main

ROOT = Path(__file__).parents[1]
HEADER = "data_id,ref_image_path,ref_audio_path,ref_speech_content,video_path,audio_path,speech_content,prompt,lang"
COLUMNS = HEADER.split(",")
JOINT = {"data_id": "a", "ref_image_path": "face.png", "speech_content": "Hello, you.", "prompt": "Red.", "lang": "en"}
VOICE = {"ref_audio_path": "voice.wav", "ref_speech_content": "water"}
DEAD = "http://127.0.0.1:9"


@pytest.fixture
def servers() -> Iterator[Callable[..., FakeComfy]]:
    """Starts a server with some behaviour."""
    with ExitStack() as stack:

        def start(behave: str | Callable = "done") -> FakeComfy:
            choose = behave if callable(behave) else lambda _: behave
            return stack.enter_context(serve(FakeComfy({("batch", "x_00001_.mp4"): b"clip"}, choose)))

        yield start


@pytest.fixture
def table(tmp_path) -> Callable[..., Path]:
    """Writes rows into clips.csv, with the files they may name beside it."""
    for name in ("face.png", "voice.wav", "sound.wav", "film.mp4"):
        (tmp_path / name).write_bytes(name.encode())

    def write(*rows: dict[str, str], columns: list[str] = COLUMNS) -> Path:
        path = tmp_path / "clips.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.DictWriter(file, columns, restval="")
            lines.writeheader()
            lines.writerows(rows)
        return path

    return write


def batch(table: Path, *servers: FakeComfy | str, arguments: tuple[str, ...] = ()) -> int:
    urls = [part for server in servers for part in ("--server", getattr(server, "url", server))]
    return main([str(table), *urls, "--output", str(table.parent / "out"), "--wait", "1", *arguments])


def row(name: str, **cells: str) -> dict[str, str]:
    return {**JOINT, "data_id": name, **cells}


def clips(table: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (table.parent / "out").glob("*") if path.name != "report.jsonl"}


def report(table: Path) -> list[dict]:
    return [json.loads(line) for line in (table.parent / "out" / "report.jsonl").read_text("utf-8").splitlines()]


def test_every_task(servers, table):
    """In the released code's columns: each row's workflow has its texts, its files and its seed."""
    path = table(
        row("0", seed="7", lang=""),
        row("1", **VOICE, prompt=""),
        row("2", audio_path="sound.wav", speech_content=""),
        row("3", ref_image_path="", video_path="film.mp4", lang="zh", speech_content="你好"),
        row("4", video_path="film.mp4", **VOICE),
        columns=[*COLUMNS, "seed"],
    )
    fake = servers()
    assert batch(path, fake, arguments=("--set", "sampler.steps=3")) == 0
    assert clips(path) == {f"{i}.mp4": b"clip" for i in range(5)}
    assert [entry["task"] for entry in report(path)] == ["joint", "joint_voice", "audio_driven", "dub", "dub"]
    assert all(set(entry) == {"data_id", "task", "server", "seconds", "file", "made_from"} for entry in report(path))
    assert {entry["server"] for entry in report(path)} == {fake.url}
    assert [entry["file"] for entry in report(path)] == [str(path.parent / "out" / f"{i}.mp4") for i in range(5)]
    assert fake.uploads == {name: name.encode() for name in ("face.png", "voice.wav", "sound.wav", "film.mp4")}

    joint, voice, driven, dub, dub_more = fake.prompts
    assert joint["text"]["inputs"] == {
        "clip": ["load", 1],
        "caption": "Red.",
        "speech": "Hello, you.",
        "language": "auto",
        "transcript": "",
    }
    assert [prompt["sampler"]["inputs"]["seed"] for prompt in fake.prompts] == [7, 0, 0, 0, 0]
    assert {prompt["sampler"]["inputs"]["steps"] for prompt in fake.prompts} == {3}
    assert voice["voice"]["inputs"] == {"audio": "sent/voice.wav"}
    assert (voice["text"]["inputs"]["transcript"], voice["text"]["inputs"]["language"]) == ("water", "en")
    assert voice["text"]["inputs"]["caption"] == "A person looks into the camera and speaks."
    assert driven["audio"]["inputs"] == {"audio": "sent/sound.wav"}
    assert driven["text"]["inputs"]["speech"] == ""
    assert dub["footage"]["inputs"] == {"file": "sent/film.mp4"}
    assert "reference_image" not in dub["conditions"]["inputs"]
    assert (dub["text"]["inputs"]["speech"], dub["text"]["inputs"]["language"]) == ("你好", "zh")
    given = dub_more["conditions"]["inputs"]
    assert dub_more[given["reference_image"][0]]["inputs"] == {"image": "sent/face.png"}
    assert dub_more[given["reference_voice"][0]]["inputs"] == {"audio": "sent/voice.wav"}
    prefixes = [prompt["save"]["inputs"]["filename_prefix"] for prompt in fake.prompts]
    assert len(set(prefixes)) == 5 and all(prefix.startswith("batch/") for prefix in prefixes)


def test_the_published_model(servers, table):
    fake = servers()
    assert batch(table(JOINT), fake, arguments=("--released",)) == 0
    (prompt,) = fake.prompts
    assert prompt["load"]["inputs"]["file"] == "UniAVGen (published)"
    assert prompt["sampler"]["inputs"]["s_v"] == 3.0


BAD = [
    ({"data_id": ""}, "data_id is empty"),
    ({"data_id": "../x"}, "data_id names the result and cannot have '/' in it: use letters, digits, - and _"),
    ({"data_id": "/tmp/x"}, "cannot have '/'"),
    ({"data_id": "a\\b"}, "cannot have '\\\\'"),
    ({"data_id": "C:x"}, "cannot have ':'"),
    ({"data_id": "a\tb"}, "cannot have '\\t'"),
    ({"data_id": ".."}, "cannot be '..'"),
    ({"data_id": ".x"}, "cannot be '.x'"),
    ({"data_id": "nul"}, "cannot be 'nul'"),
    ({"data_id": "é" * 101}, "longer than 200 bytes"),
    ({"ref_image_path": ""}, "ref_image_path is empty: name a picture of the person"),
    ({"ref_image_path": "none.png"}, "ref_image_path: there is no file"),
    ({"ref_image_path": "empty.png"}, "empty.png is empty"),
    ({"ref_image_path": "."}, "there is no file"),
    ({"ref_image_path": "x" * 5000}, "ref_image_path: "),
    ({"speech_content": " "}, "speech_content is empty: write what the person says"),
    ({"lang": "fr"}, "unknown lang 'fr': choose one of auto, en, zh"),
    ({"ref_audio_path": "voice.wav"}, "ref_speech_content is empty: write what is said in ref_audio_path"),
    ({"ref_speech_content": "water"}, "ref_speech_content has no ref_audio_path"),
    ({"video_path": "film.mp4", "audio_path": "sound.wav"}, "video_path and audio_path cannot both be given"),
    ({"audio_path": "sound.wav", **VOICE}, "ref_audio_path is of no use where audio_path gives all"),
    ({"seed": "-1"}, "seed '-1' is no whole number from 0 to 18446744073709551615"),
    ({"seed": "18446744073709551616"}, "seed '18446744073709551616'"),
    ({"seed": "1.5"}, "seed '1.5'"),
    ({"data_id": "GOOD"}, "line 2 has the same data_id: give each row its own"),
]


@pytest.mark.parametrize(("cells", "sentence"), BAD, ids=[str(sorted(cells.items()))[:40] for cells, _ in BAD])
def test_a_bad_row_is_named_and_nothing_is_sent(servers, table, tmp_path, capsys, cells, sentence):
    (tmp_path / "empty.png").touch()
    fake = servers()
    path = table(row("good"), {**JOINT, **cells}, columns=[*COLUMNS, "seed"])
    assert batch(path, fake) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith(f"error: {path}, line 3")
    assert not fake.prompts and not fake.uploads and not (tmp_path / "out").exists()


def test_every_bad_row_is_named(table, capsys):
    """By the line on which it begins, also where cells go over several lines."""
    path = table(
        row("a", speech_content="one\ntwo"), row("b", lang="x"), row("c"), row("d", lang="y", prompt=""), row("c")
    )
    assert batch(path, DEAD) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1].rpartition("line ")[2] for line in lines] == [
        "4 (data_id 'b')",
        "6 (data_id 'd')",
        "7 (data_id 'c')",
    ]
    assert "line 5 has the same data_id" in lines[-1]


NO_TABLE = [
    (b"", "line 1: there is no column data_id, ref_image_path, speech_content"),
    (HEADER.encode(), "has no rows below its header"),
    (f"{HEADER},colour\n".encode(), "line 1: unknown column 'colour': the columns are data_id, "),
    (f"{HEADER},lang\n".encode(), "line 1: lang is there twice"),
    (HEADER.replace(",", ";").encode(), "separates its columns by ';': save it with commas"),
    (f"{HEADER}\na,face.png,,,,,Hello, you,Red.,en\n".encode(), "line 2: it has 10 cells and the header 9: put double"),
    (f"{HEADER}\na,face.png\n".encode(), "line 2: it has 2 cells and the header 9"),
    (f'{HEADER}\na,face.png,,,,,"Hello,Red.,en\n'.encode(), "line 2: unexpected end of data: check its double quotes"),
    (f"{HEADER}\na,face.png,,,,,Hell\xf6,Red.,en\n".encode("latin-1"), "is not UTF-8"),
    (f"{HEADER}\na\0,face.png,,,,,Hello,Red.,en\n".encode(), "line 2: there is a NUL character"),
]


@pytest.mark.parametrize(("content", "sentence"), NO_TABLE, ids=[sentence[:30] for _, sentence in NO_TABLE])
def test_a_file_that_is_no_such_table(table, capsys, content, sentence):
    path = table()
    path.write_bytes(content)
    assert batch(path, DEAD) == 2
    assert sentence in capsys.readouterr().err


def test_a_table_from_elsewhere(servers, table, tmp_path):
    """With a byte order mark, Windows' ends of lines, blank lines and paths from another folder."""
    (tmp_path / "deep" / "examples").mkdir(parents=True)
    (tmp_path / "face.png").rename(tmp_path / "deep" / "examples" / "face.png")
    path = table()
    path.write_bytes(f"\ufeff{HEADER}\r\n\r\na, examples/face.png,,,,,Hello, A woman.,en\r\n".encode())
    fake = servers()
    assert batch(path, fake) == 2
    assert batch(path, fake, arguments=("--root", str(tmp_path / "deep"))) == 0
    assert fake.prompts[0]["text"]["inputs"]["caption"] == "A woman."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--set", "sampler.stepz=3"), "joint.json: sampler has no input 'stepz'"),
        (("--set", "footage.file=x"), "joint.json: no nodes are called 'footage'"),
        (("--output", "clips.csv/x"), "is not a folder"),
    ],
)
def test_refuses_a_request(table, monkeypatch, tmp_path, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert main([str(table(JOINT)), "--server", DEAD, *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_check_sends_nothing(table, capsys):
    assert batch(table(row("a"), row("b", **VOICE), row("c")), DEAD, arguments=("--check",)) == 0
    assert capsys.readouterr().out == "3 rows are fit: 2 joint, 1 joint_voice\n"


def test_goes_on_where_it_stopped(servers, table, tmp_path, capsys):
    """Rows with a clip are left alone, --limit counts the others, and a row that has changed is made again."""
    rows = [row(str(i)) for i in range(4)]
    fake = servers()
    assert batch(table(*rows), fake, arguments=("--limit", "1")) == 0
    assert batch(table(*rows), fake, arguments=("--limit", "2")) == 0
    path = table(*rows)
    assert sorted(clips(path)) == ["0.mp4", "1.mp4", "2.mp4"]
    assert batch(path, fake) == 0
    assert "1 made, 3 there already" in capsys.readouterr().err
    assert batch(path, DEAD) == 0  # nothing left to do
    assert len(fake.prompts) == 4

    rows[2]["speech_content"] = "Goodbye."
    assert batch(table(*rows), fake) == 0
    assert "changed since their clips were made, so made again: 2\n" in capsys.readouterr().err
    assert [prompt["text"]["inputs"]["speech"] for prompt in fake.prompts[4:]] == ["Goodbye."]
    (tmp_path / "face.png").write_bytes(b"another face")
    assert batch(path, fake, arguments=("--limit", "1")) == 0
    (tmp_path / "face.png").write_bytes(b"face.png")
    (tmp_path / "out" / "report.jsonl").unlink()
    assert batch(path, fake) == 0
    assert len(fake.prompts) == 6


def test_a_report_that_was_cut_off(servers, table, tmp_path):
    fake = servers()
    path = table(row("a"), row("b"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.jsonl").write_text('[1]\n{"data_id": "a", "fi')
    (tmp_path / "out" / "a.mp4").write_bytes(b"older")
    assert batch(path, fake) == 0
    assert clips(path) == {"a.mp4": b"older", "b.mp4": b"clip"}
    last = (tmp_path / "out" / "report.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["data_id"] == "b"


def test_failures_are_reported_and_the_others_made(servers, table, capsys):
    """A failed row is tried again by the same command, one that was made is not."""

    def behave(workflow):
        return {"bad": "error", "odd": "interrupted"}.get(workflow["text"]["inputs"]["speech"], "done")

    fake = servers(behave)
    path = table(row("a"), row("b", speech_content="bad"), row("c", speech_content="odd"), row("d"))
    assert batch(path, fake) == 1
    assert sorted(clips(path)) == ["a.mp4", "d.mp4"]
    said = capsys.readouterr().err
    assert "2 made, 2 failed; report: " in said
    assert said.endswith("  b: Load UniAVGen: it is too long\n  c: the run was interrupted on the server\n")
    errors = {entry["data_id"]: entry.get("error") for entry in report(path)}
    assert errors == {
        "a": None,
        "b": "Load UniAVGen: it is too long",
        "c": "the run was interrupted on the server",
        "d": None,
    }
    fake.up()
    assert batch(path, fake) == 0
    assert [entry["data_id"] for entry in report(path)[4:]] == ["b", "c"]


def test_the_free_server_gets_the_next_row(servers, table):
    """One server keeps its row until the other has made all the rest."""
    slow, fast = servers("waits"), servers()

    def release() -> None:
        while len(fast.prompts) < 4:
            time.sleep(0.02)
        asyncio.run_coroutine_threadsafe(slow.release(), slow.loop).result(10)

    watch = threading.Thread(target=release)
    watch.start()
    path = table(*(row(str(i)) for i in range(5)))
    assert batch(path, slow, fast) == 0
    watch.join()
    assert (len(slow.prompts), len(fast.prompts)) == (1, 4)
    assert report(path)[-1]["server"] == slow.url and len(clips(path)) == 5


def test_another_server_takes_the_row_of_one_that_dies(servers, table, capsys):
    dying, good = servers("dies"), servers()
    path = table(*(row(str(i)) for i in range(4)))
    assert batch(path, dying, good) == 0
    assert len(clips(path)) == 4
    assert {entry["server"] for entry in report(path)} == {good.url}
    assert f"{dying.url} is away (" in capsys.readouterr().err


def test_a_server_that_comes_back_gets_its_row_again(servers, table):
    fake = servers("dies")

    def revive() -> None:
        while not fake.down:
            time.sleep(0.02)
        time.sleep(0.3)
        fake.up()

    watch = threading.Thread(target=revive)
    watch.start()
    path = table(row("a"), row("b"))
    assert batch(path, fake, arguments=("--wait", "20")) == 0
    watch.join()
    assert sorted(clips(path)) == ["a.mp4", "b.mp4"]


def test_a_server_that_stays_away_is_given_up(servers, table, capsys):
    fake = servers(lambda workflow: "dies" if workflow["text"]["inputs"]["speech"] == "bad" else "done")
    path = table(row("a"), row("b", speech_content="bad"), row("c"))
    assert batch(path, fake) == 1
    said = capsys.readouterr().err
    assert f"{fake.url} is given up" in said and "1 made, 2 failed" in said
    assert [entry["data_id"] for entry in report(path)] == ["a", "b", "c"]
    assert report(path)[2]["error"] == "no server answered for 1 s"


def test_a_row_that_ends_every_server_is_given_up(servers, table):
    """Twice on each; the other rows are made."""
    fake = servers(lambda workflow: "dies" if workflow["text"]["inputs"]["speech"] == "bad" else "done")
    stop = threading.Event()

    def revive() -> None:
        while not stop.wait(0.05):
            fake.down = False

    watch = threading.Thread(target=revive)
    watch.start()
    path = table(row("a", speech_content="bad"), row("b"))
    assert batch(path, fake, arguments=("--wait", "20")) == 1
    stop.set()
    watch.join()
    assert list(clips(path)) == ["b.mp4"]
    assert len(fake.prompts) == 3


def test_a_server_without_the_pack_leaves_the_rows_to_others(servers, table):
    bare, good = servers("refused"), servers()
    path = table(*(row(str(i)) for i in range(3)))
    assert batch(path, bare, good) == 0
    assert {entry["server"] for entry in report(path)} == {good.url}


def test_a_server_that_takes_no_files_leaves_the_rows_to_others(servers, table):
    closed, good = servers(), servers()
    closed.not_json = "/upload"
    path = table(*(row(str(i)) for i in range(3)))
    assert batch(path, closed, good) == 0
    assert {entry["server"] for entry in report(path)} == {good.url}


def test_a_server_that_hangs_is_away(servers, table, monkeypatch, capsys):
    """It closes no connection and answers nothing."""
    monkeypatch.setattr("scripts.client.HEARTBEAT", 0.4)
    monkeypatch.setattr("scripts.client.STOPPING", 0.2)
    monkeypatch.setattr("scripts.run_batch.PROBE", aiohttp.ClientTimeout(total=0.2))

    def hang(workflow):
        time.sleep(3)
        return "error"

    hanging, good = servers(hang), servers()
    path = table(row("a"), row("b"))
    assert batch(path, hanging, good) == 0
    assert {entry["server"] for entry in report(path)} == {good.url}
    assert f"{hanging.url} is away (" in capsys.readouterr().err


def test_what_every_server_refuses_has_failed(servers, table):
    one, two = servers("refused"), servers("refused")
    path = table(row("a"))
    assert batch(path, one, two) == 1
    (entry,) = report(path)
    assert f"{one.url}: Node 'X' not found." in entry["error"] and f"{two.url}: Node 'X'" in entry["error"]


def test_a_result_that_breaks_off_is_not_kept(servers, table):
    fake = servers()
    fake.cut = True
    path = table(row("a"))
    assert batch(path, fake) == 1
    assert clips(path) == {}
    assert len(fake.prompts) == 2  # it was tried again


def test_a_workflow_without_a_clip(servers, table):
    fake = servers()
    fake.saved = {}
    path = table(row("a"))
    assert batch(path, fake) == 1
    assert report(path)[0]["error"] == "the workflow ended without a clip"


def test_no_server_answers(table, capsys):
    path = table(row("a"))
    assert batch(path, DEAD) == 1
    said = capsys.readouterr().err
    assert f"warning: no ComfyUI answers at {DEAD}" in said
    assert "error: no server answers: nothing was queued" in said


def test_a_web_page_is_no_server(servers, table, capsys):
    fake = servers()
    fake.not_json = "/queue"
    assert batch(table(row("a")), fake) == 1
    assert "something other than JSON" in capsys.readouterr().err


def test_results_that_cannot_be_written_end_the_batch(servers, table, tmp_path, monkeypatch, capsys):
    def fail(path: Path, content: bytes) -> None:
        raise OSError("no space left")

    fake = servers()
    path = table(row("a"), row("b"))
    monkeypatch.setattr("scripts.client.Path.write_bytes", fail)
    assert batch(path, fake) == 2
    assert "no space left" in capsys.readouterr().err
    assert len(fake.prompts) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_what_runs(servers, table, sent):
    """The rows that run are interrupted on their servers; the same command goes on."""
    one, two = servers("waits"), servers("waits")
    path = table(*(row(str(i)) for i in range(4)))
    script = [sys.executable, str(ROOT / "scripts" / "run_batch.py"), str(path), "--output", str(path.parent / "out")]
    command = [*script, "--server", one.url, "--server", two.url]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (one.open and two.open) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(sent)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.endswith("interrupted: the same command goes on from here\n")
    assert "0 made, 4 not made" in said
    assert len(one.stopped) == len(two.stopped) == 1 and not one.open and not two.open
    assert clips(path) == {}
    one.up()
    assert batch(path, one) == 0
    assert len(clips(path)) == 4
