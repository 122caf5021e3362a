"""The command line: ``python -m training COMMAND``.

Exit codes: 0 done, 2 something about the request is wrong (one sentence on stderr), 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from evaluation.commands import run

COMMANDS = {
    "tiny": "makes data, trains every part and writes the files that the tiny model loads",
    "further": "trains the shipped model further and writes its files anew",
    "examples": "makes the example inputs of the repository and the picture of what comes out",
    "words": "tells how often the recogniser errs on speech, original and through the vocoder",
    "measure": "measures the model on what it never saw, prints tables and writes pictures",
}


def main(words: Sequence[str] | None = None) -> int:
    return run("training", __doc__.splitlines()[0], COMMANDS, words)


if __name__ == "__main__":
    sys.exit(main())
