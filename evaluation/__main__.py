"""The command line: ``python -m evaluation COMMAND``.

Exit codes: 0 done, 1 some clips could not be measured (they are named), 2 something about the request is wrong (one
sentence on stderr), 130 interrupted; the same command goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .commands import run

COMMANDS = {
    "words": "word error rate",
    "lipsync": "SyncNet: LSE-C, LSE-D and the offset",
    "frechet": "FID and FVD between two sets of clips",
    "aesthetics": "production quality and content usefulness of the sound",
    "picture": "subject consistency, dynamic degree, image quality",
    "judge": "timbre and emotion consistency, by a multimodal model",
    "tiny": "the tables of the built-in tiny model",
    "benchmark": "GRID and EMTD: rows for the batch command, and the paper's tables",
    "study": "a page that asks people, and the tally of their answers",
}


def main(words: Sequence[str] | None = None) -> int:
    return run("evaluation", __doc__.splitlines()[0], COMMANDS, words)


if __name__ == "__main__":
    sys.exit(main())
