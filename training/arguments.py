"""What the commands check before anything is made."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from uniavgen_core.options import check_device

SEEDS = 2**32


def at_least(lowest: int) -> Callable[[str], int]:
    """For ``type`` of an argument: a whole number, none below ``lowest``."""

    def read(text: str) -> int:
        number = int(text)
        if number < lowest:
            raise argparse.ArgumentTypeError(f"it must be {lowest} or more, not {number}")
        return number

    read.__name__ = "whole number"  # what argparse calls it
    return read


def positive(text: str) -> float:
    """For ``type`` of an argument: a finite number above zero."""
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"it must be a number above 0, not {text}")
    return number


def seed(text: str) -> int:
    """For ``type`` of an argument: a number that every generator takes."""
    number = int(text)
    if not 0 <= number < SEEDS:
        raise argparse.ArgumentTypeError(f"it must be 0 to {SEEDS - 1}, not {number}")
    return number


def device(text: str) -> str:
    """For ``type`` of an argument: a device that can be used here."""
    try:
        return check_device(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
