"""The core's checks as the host's validation, which runs before any node does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def check_number(name: str, value: float, least: float, most: float) -> None:
    """Raises ``ValueError`` for a number outside the range, and for NaN, which passes the host's own checks."""
    if not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, not {value}")


def verdict(check: Callable[..., object], *values: Any) -> bool | str:
    """True if ``check(*values)`` passes, else the sentence of its ``ValueError``.

    A value that is None comes over a link and is not known before its node has run: the check is left to `execute`.
    Text where a number belongs the host has refused by itself.
    """
    try:
        if None not in values:
            check(*values)
    except ValueError as error:
        return str(error)
    except TypeError:
        return True
    return True
