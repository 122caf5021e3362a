"""Files that are there whole or not at all, whatever ends the work: an error, a full disk, Ctrl-C or a kill."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # on Windows, where a file that is open cannot be removed anyway
    fcntl = None

FULL = {errno.ENOSPC, errno.EDQUOT}
HEX = "[0-9a-f]" * 32


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path``, which becomes ``path`` at the end, or vanishes if anything is raised.

    What programs that were killed have left in the folder under such names is removed first.
    Raises ``OSError`` that names ``path``, with a sentence if its disk is full.
    """
    for left in filter(Path.is_file, path.parent.glob(f".{HEX}.unfinished")):
        remove_abandoned(left)
    unfinished = None
    try:
        unfinished, file = begin(path)
        with file:
            yield unfinished
            if fcntl:  # as long as it is locked, nobody takes it for abandoned
                os.replace(unfinished, path)
        if not fcntl:
            os.replace(unfinished, path)
    except OSError as error:
        if error.errno in FULL:
            raise OSError(
                f"the disk of {path} is full: make room, or choose another folder; nothing was written"
            ) from error
        if error.errno and (error.filename is None or str(error.filename).endswith(".unfinished")):
            advice = "check the rights of its folder, or choose another folder"
            raise OSError(error.errno, f"{error.strerror}: {advice}", str(path)) from error
        raise
    finally:
        if unfinished:
            unfinished.unlink(missing_ok=True)


def begin(path: Path) -> tuple[Path, BinaryIO]:
    """A new temporary file beside ``path``, locked as long as it is open."""
    while True:
        unfinished = path.with_name(f".{uuid.uuid4().hex}.unfinished")
        file = unfinished.open("xb")
        if fcntl:
            with suppress(OSError):  # a disk without locks, where nothing counts as abandoned
                fcntl.flock(file, fcntl.LOCK_EX)
        if unfinished.exists():  # not removed by another program before it was locked
            return unfinished, file
        file.close()


def remove_abandoned(unfinished: Path) -> None:
    """Removes a temporary file, unless a program still writes to it."""
    with suppress(OSError):
        if fcntl:
            with unfinished.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                unfinished.unlink()
        else:
            unfinished.unlink()
