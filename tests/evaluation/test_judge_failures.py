"""The judge: every way in which a service or the network fails, on a server of this machine."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler

import pytest
from judges import GOOD, KEY, Pauses, Server, asks, openai, said, serving

from evaluation.judging import (
    Gemini,
    OpenAI,
    Service,
    Stop,
)
from evaluation.recording import Unmeasurable

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
        ({"error": {"message": "no such model"}}, 404, {}, "check endpoint and model"),
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
