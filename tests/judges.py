"""A service on this machine that answers a judge as a test tells it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from evaluation.judging import (
    Judgement,
    OpenAI,
    Patience,
    Service,
    judge,
    of_file,
)

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
