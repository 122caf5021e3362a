"""The core's checks as the host's validation, which runs before any node does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def verdict(check: Callable[..., object], *values: Any) -> bool | str:
    """True if ``check(*values)`` passes, else the sentence of its ``ValueError``.

    A value that is None comes over a link and is not known before its node has run: the check is left to `execute`.
    """
    try:
        if None not in values:
            check(*values)
    except ValueError as error:
        return str(error)
    except TypeError as error:
        return f"a value is of the wrong kind ({error})"
    return True
