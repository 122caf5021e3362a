"""The tiny model's own tables: tasks, guidance, and by --part ablations interaction, layers, site and mask.

Its faces and voices are drawn and synthetic, so that mouths, words and voices are measured against what is true (see
`training.measure`, which this is) and not by networks made for real people.
"""

from __future__ import annotations

import argparse

from .packages import need


def add_arguments(parser: argparse.ArgumentParser) -> None:
    need("the tiny model's tables", "scipy", "vocos", "matplotlib")
    from training import measure

    measure.add_arguments(parser)


def main(options: argparse.Namespace) -> None:
    from training import measure

    measure.main(options)
