"""Clips from a CSV: the rows, and what is refused before anything is sent."""

from __future__ import annotations

import os
import sys

import pytest
from batches import COLUMNS, DEAD, HEADER, JOINT, VOICE, batch, clips, report, row

from scripts.run_batch import main


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


IDS = [
    ("../x", "data_id names the result and cannot have '/' in it: use letters, digits, - and _"),
    ("/x", "cannot have '/'"),
    ("a\\b", "cannot have '\\\\'"),
    ("C:x", "cannot have ':'"),
    ("a\tb", "cannot have '\\t'"),
    ("a\x1b[2Jb", "cannot have '\\x1b'"),
    ("..", "cannot be '..'"),
    (".x", "cannot be '.x'"),
    ("x.", "cannot be 'x.'"),
    *((name, f"cannot be {name!r}") for name in ("nul", "CON", "Com1.x", "lpt9", "com²", "nul .x", "CONOUT$")),
    ("é" * 101, "longer than 200 bytes"),
]


@pytest.mark.case("Disk and network", "data_id that leads elsewhere, or is no name of a file everywhere")
@pytest.mark.parametrize(("name", "sentence"), IDS, ids=[ascii(name)[:20] for name, _ in IDS])
def test_an_id_that_is_no_name_of_a_file_is_refused(servers, table, tmp_path, capsys, name, sentence):
    fake = servers()
    path = table(row("good"), row(name))
    before = sorted(tmp_path.iterdir())
    assert batch(path, fake) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}, line 3") and sentence in said and "\x1b" not in said
    assert not fake.prompts and sorted(tmp_path.iterdir()) == before


@pytest.mark.case("Disk and network", "a link where a file is to be written")
def test_a_link_and_an_empty_file_are_no_clips(servers, table, tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mp4").symlink_to(tmp_path / "mine")
    (tmp_path / "out" / "b.mp4").touch()
    path = table(row("a"), row("b"))
    assert batch(path, servers()) == 0
    assert clips(path) == {"a.mp4": b"clip", "b.mp4": b"clip"} and (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.case("Disk and network", "a link where a file is to be written")
def test_a_report_that_is_a_link_is_refused(servers, table, tmp_path, capsys):
    fake = servers()
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.jsonl").symlink_to(tmp_path / "mine")
    assert batch(table(row("a")), fake) == 2
    assert "report.jsonl is a link, and nothing is written through links: move it away" in capsys.readouterr().err
    assert (tmp_path / "mine").read_bytes() == b"mine" and not fake.prompts


@pytest.mark.case("Files", "pipes and devices in place of a file")
@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are files of other systems")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_table_that_is_no_file_is_refused_unread(servers, tmp_path, capsys, kind):
    path = tmp_path / "rows.csv"
    make = {"pipe": lambda: os.mkfifo(path), "device": lambda: path.symlink_to("/dev/zero"), "folder": path.mkdir}
    make[kind]()
    assert batch(path, servers()) == 2
    assert f"{path} is no file: give a CSV file" in capsys.readouterr().err


@pytest.mark.case("Disk and network", "a link where a file is to be written")
def test_links_are_replaced_and_not_written_through(servers, table, tmp_path):
    """Also one that leads nowhere, which is no clip that was made."""
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mp4").symlink_to(tmp_path / "nowhere")
    path = table(row("a"), row("b"))
    assert batch(path, servers()) == 0
    (tmp_path / "out" / "b.mp4").unlink()
    (tmp_path / "out" / "b.mp4").symlink_to(tmp_path / "mine")
    assert batch(table(row("a"), row("b", speech_content="Other words.")), servers()) == 0
    assert clips(path) == {"a.mp4": b"clip", "b.mp4": b"clip"}
    assert not [clip for clip in (tmp_path / "out").iterdir() if clip.is_symlink()]
    assert (tmp_path / "mine").read_bytes() == b"mine" and not (tmp_path / "nowhere").exists()


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


@pytest.mark.case("Disk and network", "NUL in a table of clips")
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
