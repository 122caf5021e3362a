"""Files before anything is made of them: what keeps one from being read, small ones with a bound, strict JSON."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

# how a file begins that is often found in the place of another: what it is and what to do
POINTERS_AND_PAGES = (
    (
        b"version https://git-lfs",
        "is a Git-LFS pointer, not the file itself: run `git lfs pull` in its folder, or download the file itself",
    ),
    (b"<", "is a web page: the download was answered with a page. Download the file itself again"),
)
BEFORE = b"\xef\xbb\xbf \r\n\t"  # what may stand before that
LONGEST = 100  # letters of what a file says that are repeated in a message


def fault_of(path: Path) -> str:
    """What keeps a path from being read as a file, and what to do; empty if nothing does.

    Nothing but an ordinary file is opened: a pipe would wait for its other end, a device may have none.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb"):
                return ""
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            return f"{path} is a link to {os.readlink(path)}, which is not there: put the file there, or mend the link"
        return f"there is no file {path}: check the path, or download the file to it"
    except (OSError, ValueError) as error:  # ValueError: a name that no system has
        return f"{path} cannot be opened ({getattr(error, 'strerror', None) or error}): check its name and rights"
    if stat.S_ISDIR(mode):
        return f"{path} is a folder, not a file: choose a file"
    return f"{path} is a pipe, a socket or a device, not a file: choose a file"


def impostor_of(data: bytes) -> str:
    """What is known to lie in the place of files, and what to do; empty for anything else."""
    if not data:
        return "is empty: download it again"
    return next(
        (sentence for signature, sentence in POINTERS_AND_PAGES if data.lstrip(BEFORE).startswith(signature)), ""
    )


def read_small(path: Path, most: int) -> bytes:
    """A file of at most so many bytes. Raises ``ValueError`` with a sentence."""
    if fault := fault_of(path):
        raise ValueError(fault)
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{path} has more than {most} bytes, too many for what it should hold: choose another file")
    return data


def parse_json(data: bytes) -> Any:
    """JSON in UTF-8. Raises ``ValueError`` for anything else, also names that stand there twice and nesting without
    end."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ValueError(f"{shortened(name)} stands there twice")
            found[name] = value
        return found

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def shortened(text: str) -> str:
    """A name out of a file, for a message."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def are_counts(values: Any, most: int) -> bool:
    """Whether it is a list of at most so many whole numbers from 0 to what 8 bytes hold."""
    return isinstance(values, list) and len(values) <= most and all(map(is_count, values))


def is_count(value: Any, most: int = 2**63 - 1) -> bool:
    return type(value) is int and 0 <= value <= most


def in_bytes(size: float) -> str:
    """A number of bytes as people write it."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.{2 if size < 100 * scale else 0}f} {unit}"
    return f"{size:.0f} bytes"
