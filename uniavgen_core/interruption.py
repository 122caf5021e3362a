"""Where long work asks whether it should go on, once for each picture, packet, tensor or part."""

from __future__ import annotations

from collections.abc import Callable


def _go_on() -> None:
    """What is asked where nobody can cancel."""


_check: Callable[[], None] = _go_on


def ask_before_going_on(check: Callable[[], None]) -> None:
    """From now on ``check`` is called between the parts of long work of this process; what it raises ends the work."""
    global _check
    _check = check


def check_interruption() -> None:
    """Raises whatever ends the work, if it is to end."""
    _check()
