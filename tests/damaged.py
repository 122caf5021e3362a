"""What tests of bad files share: files byte by byte, paths that are no files, and calls that must come back."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS = 60  # within which a call that waits for nothing comes back, on any machine
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 14\n"
PAGE = b"<!DOCTYPE html><html><body>Log in</body></html>"


def safetensors_bytes(header: str | bytes | dict[str, Any], data: bytes = b"") -> bytes:
    """A file with this header, right or wrong."""
    text = json.dumps(header) if isinstance(header, dict) else header
    text = text.encode() if isinstance(text, str) else text
    return len(text).to_bytes(8, "little") + text + data


def floats(*offsets: int, dtype: str = "F32", shape: list[int] | None = None) -> dict[str, Any]:
    """The entry of a tensor in a header."""
    count = (offsets[1] - offsets[0]) // 4
    return {"dtype": dtype, "shape": [count] if shape is None else shape, "data_offsets": list(offsets)}


def answer(call: Callable[[], Any]) -> Any:
    """What a call gives or raises. Fails if it waits."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert found, "it waits, or takes too long"
    return found[0]


def opening_waits(path: Path) -> bool:
    """Whether opening a path as any other file would wait; it is let go afterwards."""
    thread = threading.Thread(target=lambda: path.open("rb").close(), daemon=True)
    thread.start()
    thread.join(0.2)
    waits = thread.is_alive()
    if waits:
        os.close(os.open(path, os.O_WRONLY))
    thread.join(SECONDS)
    return waits


@contextmanager
def socket_at(path: Path) -> Iterator[None]:
    """A socket in the file system."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        yield


def make_special(kind: str, path: Path) -> Path:
    """A path that is no file, of that kind."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "circle of links":
        path.symlink_to(path)
    return path


# kind -> what is said of it
SPECIAL = {
    "pipe": "is a pipe, a socket or a device, not a file: choose a file",
    "device": "is a pipe, a socket or a device, not a file: choose a file",
    "folder": "is a folder, not a file: choose a file",
    "dangling link": "nowhere, which is not there: put the file there, or mend the link",
    "circle of links": "cannot be opened (",
}
