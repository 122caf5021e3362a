"""A Hugging Face Hub on this machine that serves files from memory and misbehaves on request."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What it holds, how it misbehaves, and what was asked of it.

    files: repository -> path -> content; those of more than ``lfs_from`` bytes have a SHA-256, others git's name
    sent: path -> content sent in place of what is announced
    answers: path or repository -> (status, X-Error-Code, body) in place of a right answer
    cut: path -> bytes after which the connection breaks, for good
    stall: path -> bytes after which nothing comes until ``go`` is set
    cdn: the address that large files are sent from instead
    """

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    lfs_from: int = 1000
    licence: str = "license:apache-2.0"
    sent: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    stall: dict[str, int] = field(default_factory=dict)
    ranges: bool = True
    cdn: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, range
    tokens: set[str | None] = field(default_factory=set)
    cdn_tokens: set[str | None] = field(default_factory=set)

    def listing(self, repository: str) -> dict:
        """As the Hub describes a repository and its files."""
        siblings = []
        for path, data in self.files[repository].items():
            entry = {
                "rfilename": path,
                "size": self.sizes.get(path, len(data)),
                "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
            }
            if len(data) > self.lfs_from:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        return {"id": repository, "modelId": repository, "sha": COMMIT, "tags": [self.licence], "siblings": siblings}

    def ranges_of(self, path: str) -> list[str | None]:
        """The ranges in which a file was asked for."""
        return [asked for name, asked in self.asked if name == path]


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path).strip("/")
        if path == "api/agent-harnesses":  # huggingface_hub asks this of its own accord
            self.answer(404)
            return
        if path.startswith("cdn/"):
            repository, _, name = path.removeprefix("cdn/").partition("/resolve/")
            hub.asked.append((name, self.headers.get("Range")))
            hub.cdn_tokens.add(self.headers.get("Authorization"))
            self.send_file(name, hub.files[repository][name])
            return
        hub.tokens.add(self.headers.get("Authorization"))
        if path.startswith("api/models/"):
            repository, _, revision = path.removeprefix("api/models/").partition("/revision/")
            if repository in hub.answers:
                self.answer(*hub.answers[repository])
            elif repository not in hub.files:
                self.answer(401, "RepoNotFound")
            elif revision not in ("", "main", COMMIT):
                self.answer(404, "RevisionNotFound")
            else:
                self.answer(200, "", json.dumps(hub.listing(repository)).encode())
            return
        repository, _, rest = path.partition("/resolve/")
        commit, _, name = rest.partition("/")
        if hub.cdn and len(hub.files[repository][name]) > hub.lfs_from:
            self.send_response(302)
            self.send_header("Location", f"{hub.cdn}/cdn/{repository}/resolve/{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        hub.asked.append((name, self.headers.get("Range")))
        if name in hub.answers:
            self.answer(*hub.answers[name])
        elif commit != COMMIT or name not in hub.files[repository]:
            self.answer(404, "EntryNotFound")
        else:
            self.send_file(name, hub.sent.get(name, hub.files[repository][name]))

    def answer(self, status: int, code: str = "", body: bytes = b"") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, name: str, data: bytes) -> None:
        hub, start = self.hub, 0
        asked = self.headers.get("Range")
        if asked and hub.ranges:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        self.close_connection = True
        limit = hub.cut.get(name, len(data))
        middle = max(start, min(hub.stall.get(name, limit), limit))
        self.wfile.write(data[start:middle])
        self.wfile.flush()
        if name in hub.stall:
            hub.stalled.set()
            hub.go.wait(60)
        self.wfile.write(data[middle:limit])

    def log_message(self, *_: object) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    """Clients that leave early are no news."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def fake_hub() -> Iterator[Hub]:
    hub = Hub()
    server = QuietServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.go.set()
        server.shutdown()
        server.server_close()
        thread.join()
