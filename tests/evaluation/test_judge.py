"""The judge: every way in which a service misbehaves, on a server of this machine, and what leaves the machine when."""

from __future__ import annotations

import argparse
import asyncio
import base64
import csv
import io
import json
import shutil
import socket
import threading
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from media import grey, tone, write_video

from evaluation import __main__ as command
from evaluation.judge import add_arguments, judge_of
from evaluation.judging import (
    RUBRIC,
    Answer,
    Declined,
    Gemini,
    Judgement,
    OpenAI,
    Patience,
    Service,
    Stop,
    Unusable,
    judge,
    of_file,
    of_file_and_sound,
    of_frames,
)
from evaluation.judging.answers import parse
from evaluation.recording import Recording, Unmeasurable

KEY = "sk-verysecret"
GOOD = '{"score": [0.75, 0.5], "reason": "young woman, calm"}'
CLIP = of_file(b"a clip", "video/mp4", 4)


def said(text: object, finish: str = "stop") -> dict:
    """A chat completion."""
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]}


def gemini(text: str, **more: object) -> dict:
    return {"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP", **more}]}


@dataclass
class Server:
    """Answers one request after another as `script` says, and then as its last entry; keeps what it was asked."""

    url: str
    script: list = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], dict]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def reply(self, content: object, status: int = 200, **headers: str) -> None:
        self.script.append((content, status, headers))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving() as running:
        yield running


class serving:
    def __enter__(self) -> Server:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                names = {name.lower(): value for name, value in self.headers.items()}
                server.asked.append((self.path, names, json.loads(body)))
                step = server.script.pop(0) if len(server.script) > 1 else server.script[0]
                if callable(step):
                    self.close_connection = True
                    step(self)
                    return
                content, status, headers = step
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *words: object) -> None:
                """A client that hangs up is part of the tests."""

        self.http = Quiet(("127.0.0.1", 0), Handler)
        server = self.server = Server(f"http://127.0.0.1:{self.http.server_port}/v1")
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return server

    def __exit__(self, *words: object) -> None:
        self.server.ended.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@dataclass
class Pauses:
    """Takes the place of sleep, and keeps how long it would have been."""

    seconds: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def asks(service: Service, pauses: Pauses | None = None, runs: int = 1, timeout: float = 5.0) -> Judgement:
    return asyncio.run(judge(CLIP, service, "rubric", runs, Patience(timeout=timeout, sleep=pauses or Pauses())))


def openai(server: Server) -> OpenAI:
    return OpenAI("a-model", KEY, server.url)


# ------------------------------------------------------------------------------------------------ what an answer says


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"Here you are:\n```json\n{GOOD}\n```\nI hope this helps {{}}.",
        f'I would begin with {{"score": [0, 0]}} {{ but then: {GOOD}',
        GOOD.replace(", ", ",\n\t"),
    ],
)
def test_the_scores_are_found_in_whatever_surrounds_them(text: str) -> None:
    assert parse(text) == Answer(0.75, 0.5, "young woman, calm")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing"),
        ("I'm sorry, but I can't judge people.", "can't judge people"),
        ('{"score": [0.5, 0.5], "reason": ', "holds no"),
        ('{"scores": [0.5, 0.5]}', "holds no"),
        ('{"score": [0.5]}', "two numbers"),
        ('{"score": [0.5, 0.5, 0.5]}', "two numbers"),
        ('{"score": 0.5}', "two numbers"),
        ('{"score": ["0.5", 0.5]}', "two numbers"),
        ('{"score": [true, 0.5]}', "two numbers"),
        ('{"score": [NaN, 0.5]}', "from 0 to 1"),
        ('{"score": [Infinity, 0.5]}', "from 0 to 1"),
        ('{"score": [1.01, 0.5]}', "from 0 to 1, not [1.01, 0.5]"),
        ('{"score": [0.5, -0.1]}', "from 0 to 1"),
        ('{"score": [75, 50]}', "from 0 to 1"),
        ('{"score": [1' + "0" * 400 + ", 0.5]}", "from 0 to 1"),
        ('{"a":' * 200_000, "holds no"),
        ("[" * 100_000, "holds no"),
    ],
)
def test_an_answer_without_two_proper_scores_is_not_used(text: str, reason: str) -> None:
    with pytest.raises(Unusable) as error:
        parse(text)
    assert reason in str(error.value) and len(str(error.value)) < 300


def test_a_reason_cannot_act_on_a_terminal_and_may_be_missing() -> None:
    assert parse('{"score": [1, 0], "reason": "a\\u001b[2J\\nb"}').reason == "a [2J b"
    assert parse('{"score": [1, 0]}') == Answer(1.0, 0.0, "")


def test_a_model_that_hears_nothing_says_so(server: Server) -> None:
    server.reply(said('{"score": null, "reason": "I hear no sound"}'))
    with pytest.raises(Declined, match="no score: I hear no sound"):
        asks(openai(server))
    assert len(server.asked) == 1


# --------------------------------------------------------------------------------------------- runs and the requests


def test_three_runs_are_averaged_and_kept(server: Server) -> None:
    for timbre, emotion in ((0.5, 0.25), (0.75, 0.5), (1, 0.3)):
        server.reply(said(json.dumps({"score": [timbre, emotion], "reason": f"run {timbre}"})))
    found = asks(openai(server), runs=3)
    assert (found.timbre, found.emotion) == pytest.approx((0.75, 0.35))
    assert [answer.reason for answer in found.runs] == ["run 0.5", "run 0.75", "run 1"]
    assert len(server.asked) == 3 and server.asked[0] == server.asked[2]


def test_the_request_to_the_gemini_api(server: Server) -> None:
    server.reply(gemini(GOOD))
    asks(Gemini("models/gemini-x", KEY, server.url))
    path, headers, body = server.asked[0]
    assert path == "/v1/models/gemini-x:generateContent"
    assert headers["x-goog-api-key"] == KEY and "authorization" not in headers and KEY not in json.dumps(body)
    clip, rubric = body["contents"][0]["parts"]
    assert clip["inlineData"]["mimeType"] == "video/mp4" and clip["videoMetadata"] == {"fps": 4}
    assert base64.b64decode(clip["inlineData"]["data"]) == b"a clip"
    assert rubric == {"text": "rubric"}


def test_the_request_of_a_chat_completion(server: Server) -> None:
    server.reply(said(GOOD))
    asks(openai(server))
    path, headers, body = server.asked[0]
    assert path == "/v1/chat/completions" and headers["authorization"] == f"Bearer {KEY}"
    rubric, clip = body["messages"][0]["content"]
    assert body["model"] == "a-model" and rubric == {"type": "text", "text": "rubric"}
    assert clip["video_url"]["url"] == "data:video/mp4;base64," + base64.b64encode(b"a clip").decode()


def test_pictures_and_sound_as_parts_of_their_own() -> None:
    from PIL import Image

    frames = np.stack([grey(index) for index in range(32)])
    recording = Recording(frames, Fraction(16), tone(2, 8000)[0], 8000)
    media = of_frames(recording, 4)
    *pictures, sound = OpenAI("m", KEY, "http://x").body(media, "rubric")["messages"][0]["content"][1:]
    shown = [base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,")) for part in pictures]
    greys = [np.asarray(Image.open(io.BytesIO(data))).mean() for data in shown]
    assert greys == pytest.approx([10 + 4 * index for index in range(0, 32, 4)], abs=1)
    assert sound["input_audio"]["format"] == "wav"
    with wave.open(io.BytesIO(base64.b64decode(sound["input_audio"]["data"]))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
        assert (file.getframerate(), file.getnchannels(), len(samples)) == (16_000, 1, 32_000)
    assert samples.std() == pytest.approx(0.5 / 2**0.5, abs=0.01)
    assert "8 pictures in order, 4 a second" in media.note
    kinds = [part["inlineData"]["mimeType"] for part in Gemini("m", KEY).body(media, "r")["contents"][0]["parts"][:-1]]
    assert kinds == ["image/jpeg"] * 8 + ["audio/wav"]
    assert [part.kind for part in of_file_and_sound(b"clip", "video/mp4", recording).parts] == ["video", "sound"]


def test_what_the_service_does_not_take_is_not_sent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gemini, "largest", 100)
    with pytest.raises(Unmeasurable, match="too large"):
        asks(Gemini("m", KEY, server.url))
    assert not server.asked


# ------------------------------------------------------------------------------------------------- a bad answer, 200


def test_a_malformed_answer_is_asked_for_again(server: Server) -> None:
    server.reply(said("I think it is good."))
    server.reply(said('{"score": [2, 0]}'))
    server.reply(said(GOOD))
    assert asks(openai(server)).timbre == 0.75 and len(server.asked) == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (said("no idea"), "no idea"),
        (said('{"score": [7.5, 0.5]}'), "from 0 to 1"),
        (said('{"score": [NaN, 0.5]}'), "from 0 to 1"),
        (said(None), "empty"),
        (said("", "length"), "stopped because of length"),
        ({"choices": []}, "empty"),
        ({"choices": [7]}, "empty"),
        ([1, 2], "empty"),
        (b"<html>hello</html>", "no JSON: <html>hello</html>"),
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
    ],
)
def test_answers_that_stay_of_no_use_are_given_up_and_told(server: Server, content: object, reason: str) -> None:
    server.reply(content)
    with pytest.raises(Unmeasurable) as error:
        asks(openai(server))
    assert reason in str(error.value) and "3 answers" in str(error.value) and len(server.asked) == 3


def test_what_a_model_thinks_aloud_is_no_answer(server: Server) -> None:
    reply = gemini(GOOD)
    reply["candidates"][0]["content"]["parts"].append({"text": '{"score": [0, 0]}', "thought": True})
    server.reply(reply)
    assert asks(Gemini("m", KEY, server.url)).timbre == 0.75


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, "PROHIBITED_CONTENT"),
        (gemini("", finishReason="SAFETY"), "SAFETY"),
    ],
)
def test_what_the_gemini_api_blocks_is_not_asked_again(server: Server, reply: dict, reason: str) -> None:
    server.reply(reply)
    with pytest.raises(Declined, match=reason):
        asks(Gemini("m", KEY, server.url))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (said("", "content_filter"), 200, "content_filter"),
        ({"choices": [{"message": {"content": None, "refusal": "I will not judge voices."}}]}, 200, "will not judge"),
        ({"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["x"]}}}, 403, "blocked.*flagged"),
    ],
)
def test_a_refusal_is_not_asked_again(server: Server, reply: dict, status: int, reason: str) -> None:
    server.reply(reply, status)
    with pytest.raises(Declined, match=reason):
        asks(openai(server))
    assert len(server.asked) == 1


# ------------------------------------------------------------------------------------------- errors of the service


def test_a_rate_limit_is_waited_for_as_long_as_the_service_says(server: Server) -> None:
    later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=60), usegmt=True)
    server.reply({}, 429, Retry_After="7")
    server.reply({}, 429, Retry_After=later)
    server.reply({"error": {"details": [{"@type": "x"}, {"retryDelay": "34.5s"}]}}, 429)
    server.reply(said(GOOD))
    pauses = Pauses()
    assert asks(openai(server), pauses).emotion == 0.5
    assert pauses.seconds == [7, pytest.approx(60, abs=3), 34.5]


def test_a_rate_limit_for_ever_is_the_reason_of_the_clip(server: Server) -> None:
    server.reply({"error": {"message": "slow down"}}, 429, Retry_After="soon")
    pauses = Pauses()
    with pytest.raises(Unmeasurable, match=r"slow down.*rate limit.*4 times"):
        asks(openai(server), pauses)
    assert pauses.seconds == [2, 4, 8] and len(server.asked) == 4


@pytest.mark.parametrize(
    ("content", "status", "headers", "reason"),
    [
        ({}, 429, {"Retry_After": "86400"}, "asks to wait 86400 s"),
        ({"error": {"details": [{"violations": [{"quotaId": "RequestsPerDayPerProject"}]}]}}, 429, {}, "quota"),
        ({"error": {"code": "insufficient_quota", "message": "You have run out."}}, 429, {}, "run out"),
        ({"error": {"code": 402, "message": "no credit"}}, 402, {}, "no credit"),
        ({"error": {"message": "no such model"}}, 404, {}, "--model"),
        ({"error": "forbidden"}, 403, {}, "forbidden.*check the key"),
        ({"error": {"message": "Invalid", "details": [{"reason": "API_KEY_INVALID"}]}}, 400, {}, "check the key"),
    ],
)
def test_what_no_clip_would_get_past_stops_everything(
    server: Server, content: dict, status: int, headers: dict[str, str], reason: str
) -> None:
    server.reply(content, status, **headers)
    with pytest.raises(Stop, match=reason):
        asks(openai(server))
    assert len(server.asked) == 1


def test_a_wrong_key_stops_everything_and_is_not_shown(server: Server) -> None:
    server.reply({"error": {"message": f"Incorrect API key provided: {KEY}"}}, 401)
    with pytest.raises(Stop, match=r"401.*provided: \*\*\*: check the key") as error:
        asks(openai(server))
    assert KEY not in str(error.value) and KEY not in repr(openai(server)) + repr(Gemini("m", KEY))


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({}, 500),
        (b"<h1>Bad gateway</h1>", 502),
        ({}, 503),
        ({"error": {"code": 502, "message": "upstream"}}, 200),
        ({"choices": [{"finish_reason": "error", "error": {"message": "x"}, "message": {"content": "{"}}]}, 200),
    ],
)
def test_a_failing_service_is_asked_again(server: Server, content: object, status: int) -> None:
    server.reply(content, status)
    server.reply(said(GOOD))
    pauses = Pauses()
    assert asks(openai(server), pauses).timbre == 0.75 and pauses.seconds == [2]


def test_a_request_that_the_service_does_not_like_is_not_sent_again(server: Server) -> None:
    server.reply({"detail": "video_url is unknown"}, 422)
    with pytest.raises(Unmeasurable, match="422: video_url is unknown"):
        asks(openai(server))
    assert len(server.asked) == 1


# ------------------------------------------------------------------------------------------------------- the network


def test_a_service_that_does_not_answer_in_time(server: Server) -> None:
    server.script.append(lambda handler: server.ended.wait(10))
    with pytest.raises(Unmeasurable, match=r"no whole answer came within 0\.2 s, 4 times"):
        asks(openai(server), timeout=0.2)


def head(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()


def test_an_answer_that_trickles_is_not_waited_for(server: Server) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        head(handler)
        while not server.ended.wait(0.02):
            handler.wfile.write(b" ")

    server.script.append(trickle)
    with pytest.raises(Unmeasurable, match=r"within 0.3 s"):
        asks(openai(server), timeout=0.3)


def test_an_endless_answer_is_not_read(server: Server) -> None:
    def flood(handler: BaseHTTPRequestHandler) -> None:
        head(handler)
        while not server.ended.is_set():
            handler.wfile.write(b" " * 65536)

    server.script.append(flood)
    with pytest.raises(Unmeasurable, match="larger than 1000000 bytes"):
        asks(openai(server))


def test_an_answer_that_breaks_off_is_asked_for_again(server: Server) -> None:
    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choices":')

    server.script.append(half)
    server.script.append(lambda handler: None)  # hangs up at once
    server.reply(said(GOOD))
    assert asks(openai(server)).timbre == 0.75 and len(server.asked) == 3


def test_nobody_there_stops_everything(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pauses = Pauses()
    with pytest.raises(Stop, match=f"no connection to 127.0.0.1:{port}, 4 times"):
        asks(OpenAI("m", KEY, f"http://127.0.0.1:{port}/v1"), pauses)
    assert pauses.seconds == [2, 4, 8]


@pytest.mark.parametrize("make", [Gemini, OpenAI])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_is_not_followed(server: Server, make: Callable[..., Service], status: int) -> None:
    with serving() as other:
        other.reply(said(GOOD))
        server.reply({}, status, Location=f"{other.url}/chat/completions")
        with pytest.raises(Stop, match=other.url.split("/")[2]):
            asks(make("m", KEY, server.url))
        assert not other.asked


def test_a_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.reply(said(GOOD))
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    service = OpenAI("m", KEY, "http://judge.invalid/v1")
    assert asks(service).timbre == 0.75 and server.asked[0][0] == "http://judge.invalid/v1/chat/completions"
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(Stop, match="proxy"):
        asks(service)


# ------------------------------------------------------------------------------------------------------- the command


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
    assert not server.asked and not (clips / "measured" / "judge.csv").exists()
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
        (["--runs", "0"], "--runs"),
        (["--timeout", "nan"], "--timeout"),
        (["--fps", "2"], "--form frames"),
        (["--form", "frames", "--fps", "0"], "--fps 0"),
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
