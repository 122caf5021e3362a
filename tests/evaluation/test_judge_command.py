"""The command that judges: what leaves the machine when, and what is kept."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from judges import GOOD, KEY, Server, said
from media import grey, tone, write_video

from evaluation import __main__ as command
from evaluation.judge import add_arguments, judge_of
from evaluation.judging import (
    RUBRIC,
    Gemini,
    Patience,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips: one and two can be judged, mute has no sound."""
    folder = tmp_path_factory.mktemp("made")
    pictures = [grey(index) for index in range(16)]
    for name in ("one", "two"):
        write_video(folder / f"{name}.mp4", pictures, sound=tone(1, 24_000))
    write_video(folder / "mute.mp4", pictures)
    return folder


@pytest.fixture
def clips(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "clips"))


@pytest.fixture
def run(server: Server, clips: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    async def no_pause(seconds: float) -> None:
        pass

    monkeypatch.setattr(Patience.__init__, "__defaults__", (4, 3, 180.0, no_pause))
    monkeypatch.setenv("JUDGE_KEY", KEY)
    words = ["judge", str(clips), "--service", "openai", "--model", "a-model", "--endpoint", server.url]
    return lambda *more: command.main([*words, "--key-variable", "JUDGE_KEY", *more])


def rows(clips: Path) -> dict[str, dict[str, str]]:
    with (clips / "measured" / "judge.csv").open(encoding="utf-8") as file:
        return {row["clip"]: row for row in csv.DictReader(file)}


def test_without_the_word_nothing_is_sent_and_the_amount_is_told(
    server: Server, clips: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply(said(GOOD))
    assert run() == 0
    told = capsys.readouterr().out
    assert not server.asked and not (clips / "measured").exists()
    assert run("--output", str(clips / "elsewhere" / "tables")) == 0 and not (clips / "elsewhere").exists()
    assert f"To {server.url.removesuffix('/v1')}, model a-model" in told and "Nothing was sent" in told
    assert "2 of 3 clips, 3 times each: 6 requests" in told and "- mute: it has no sound" in told
    assert run("--send") == 1
    lengths = sum(int(headers["content-length"]) for _, headers, _ in server.asked)
    assert len(server.asked) == 6 and f"{lengths / 1e6:.2f} MB in all" in told


def test_scores_reasons_and_settings_are_kept_and_nothing_is_sent_twice(
    server: Server, clips: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for timbre in (0.5, 0.75, 1.0):
        server.reply(said(json.dumps({"score": [timbre, 0.5], "reason": f"because {timbre}"})))
    assert run("--send") == 1  # mute
    found = rows(clips)
    assert found["mute"]["reason"] == "it has no sound"
    first = found["one"]
    assert float(first["timbre"]) == 0.75 and [first[f"timbre_{run}"] for run in (1, 2, 3)] == ["0.5", "0.75", "1.0"]
    assert first["reason_2"] == "because 0.75" and first["emotion_3"] == "0.5"
    result = json.loads((clips / "measured" / "judge.json").read_text())
    settings = result["settings"]
    assert settings["host"] == server.url.split("/")[2] and settings["model"] == "a-model" and settings["runs"] == 3
    assert len(settings["rubric (sha256)"]) == 64 and result["scores"]["timbre"]["mean"] == 0.875
    everything = "".join(path.read_text() for path in (clips / "measured").iterdir())
    assert KEY not in everything + "".join(capsys.readouterr())
    assert run("--send") == 1 and len(server.asked) == 6
    assert "2 of them were judged before" in capsys.readouterr().out


def test_one_clip_that_is_refused_does_not_keep_the_others(
    server: Server, clips: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply(said("", "content_filter"))
    server.reply(said(GOOD))
    assert run("--send", "--runs", "1") == 1
    found = rows(clips)
    assert "content_filter" in found["one"]["reason"] and float(found["two"]["timbre"]) == 0.75
    assert "1 of 3" in capsys.readouterr().out


def test_a_wrong_key_ends_the_command_at_once_and_keeps_what_there_is(
    server: Server, clips: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply(said(GOOD))
    server.reply({"error": {"message": "revoked"}}, 401)
    assert run("--send", "--runs", "1") == 2
    assert "revoked" in (told := capsys.readouterr().err) and "kept" in told and KEY not in told
    assert len(server.asked) == 2
    server.script[:] = [(said(GOOD), 200, {})]
    assert run("--send", "--runs", "1") == 1 and len(server.asked) == 3


def test_another_rubric_is_what_the_model_gets_and_another_measure(
    server: Server, clips: Path, run: Callable[..., int], tmp_path: Path
) -> None:
    rubric = tmp_path / "rubric.txt"
    rubric.write_text('Toss a coin: {"score": [0, 1]}')
    server.reply(said(GOOD))
    assert run("--send", "--runs", "1", "--limit", "2") == 1
    assert server.asked[0][2]["messages"][0]["content"][0]["text"] == RUBRIC
    assert run("--send", "--runs", "1", "--limit", "2", "--rubric", str(rubric)) == 1
    assert server.asked[1][2]["messages"][0]["content"][0]["text"] == rubric.read_text()


@pytest.mark.parametrize(("form", "kinds"), [("file+sound", ["video_url", "input_audio"]), ("frames", None)])
def test_the_other_forms(server: Server, run: Callable[..., int], form: str, kinds: list[str] | None) -> None:
    server.reply(said(GOOD))
    assert run("--send", "--runs", "1", "--form", form) == 1
    content = server.asked[0][2]["messages"][0]["content"]
    assert [part["type"] for part in content[1:]] == (kinds or ["image_url"] * 4 + ["input_audio"])
    assert "begin together" in content[0]["text"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--key-variable", "NOT_SET_ANYWHERE"], "there is no key"),
        (["--key-variable", "sk-proj-12345"], "not the key itself"),
        (["--key-variable", "SPACED_KEY"], "has spaces"),
        (["--endpoint", "ftp://x"], "give an address"),
        (["--endpoint", "https://me:secret@x/v1"], "key belongs into"),
        (["--endpoint", "https://x/v1?key=secret"], "key belongs into"),
        (["--model", " "], "there is no model"),
        (["--runs", "0"], "runs must be 1"),
        (["--timeout", "nan"], "timeout above 0"),
        (["--fps", "2"], "the form frames"),
        (["--form", "frames", "--fps", "0"], "fps 0 is not"),
        (["--rubric", "RUBRIC"], "no rubric"),
        (["--rubric", "MISSING"], "MISSING"),
    ],
)
def test_a_wrong_request_is_told_before_anything_is_sent(
    server: Server,
    run: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPACED_KEY", "two words")
    (tmp_path / "RUBRIC").write_text("How nice is it?")
    assert run("--send", *more) == 2
    told = capsys.readouterr().err
    assert reason in told and not any(secret in told for secret in ("12345", "two words", "me:secret", "=secret"))
    assert not server.asked


def test_gemini_needs_no_address_and_its_key_has_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = parser.parse_args([str(tmp_path), "--service", "gemini", "--model", "gemini-x", "--send"])
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="GEMINI_API_KEY"):
        judge_of(options)
    monkeypatch.setenv("GEMINI_API_KEY", f" {KEY}\n")
    made = judge_of(options)
    assert made.service == Gemini("gemini-x", KEY) and made.fps == 4 and made.rubric == RUBRIC
    assert made.settings["host"] == "generativelanguage.googleapis.com" and KEY not in repr(made)


def test_the_rubric_names_every_grade() -> None:
    for grade in ("0.00", "0.25", "0.50", "0.75", "1.00"):
        assert RUBRIC.count(f"- {grade}: ") == 2
    assert '{"score": [timbre, emotion], "reason": "..."}' in RUBRIC and "100 words" in RUBRIC
