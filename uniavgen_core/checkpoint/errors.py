"""The error of everything about weights, and how it lists names."""

from __future__ import annotations

from collections.abc import Iterable

NAMES_LISTED = 20


class CheckpointError(ValueError):
    """Weights that cannot be used; the message names the file and says what to do."""


def listing(names: Iterable[str], most: int = NAMES_LISTED) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
