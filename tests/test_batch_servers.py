"""Clips from a CSV: servers that misbehave, going on after a stop, and Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import aiohttp
import pytest
from batches import DEAD, ROOT, batch, clips, report, row


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


def test_warnings_are_told_and_stand_in_the_report(servers, table, capsys):
    fake = servers()
    fake.texts = ["⚠ not spoken: '好'"]
    path = table(row("a"), row("b"))
    assert batch(path, fake) == 0
    warned = capsys.readouterr().err
    for entry in report(path):
        (warning,) = entry["warnings"]
        assert warning.endswith(": not spoken: '好'")
        assert f"warning: {entry['data_id']}: {warning}\n" in warned


@pytest.mark.case("Disk and network", "kill -9 while a batch runs")
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


@pytest.mark.case("Disk and network", "a connection that breaks")
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


@pytest.mark.case("Disk and network", "full disk while a server's result is saved")
def test_results_that_cannot_be_written_end_the_batch(servers, table, tmp_path, monkeypatch, capsys):
    def fail(path: Path, content: bytes) -> None:
        raise OSError("no space left")

    fake = servers()
    path = table(row("a"), row("b"))
    monkeypatch.setattr("scripts.client.Path.write_bytes", fail)
    assert batch(path, fake) == 2
    assert "no space left" in capsys.readouterr().err
    assert len(fake.prompts) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of other systems")
@pytest.mark.case("Disk and network", "kill -9 while a batch runs")
def test_kill_9_and_again(servers, table):
    """The first row is made, the second in the middle: nothing is torn, and only what is missing is made."""
    fake = servers(lambda workflow: "waits" if workflow["text"]["inputs"]["speech"] == "Wait." else "done")
    path = table(row("a"), row("b", speech_content="Wait."), row("c"))
    script = [sys.executable, str(ROOT / "scripts" / "run_batch.py"), str(path), "--output", str(path.parent / "out")]
    process = subprocess.Popen([*script, "--server", fake.url], stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not fake.open and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert clips(path) == {"a.mp4": b"clip"}
    fake.up()
    assert batch(path, fake) == 0
    assert sorted(clips(path)) == ["a.mp4", "b.mp4", "c.mp4"]
    assert [entry["data_id"] for entry in report(path)] == ["a", "b", "c"]


@pytest.mark.case("Life", "cancel during sample")
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
