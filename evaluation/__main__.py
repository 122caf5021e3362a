"""The command line: ``python -m evaluation COMMAND``.

Exit codes: 0 done, 1 some clips could not be measured (they are named), 2 something about the request is wrong (one
sentence on stderr), 130 interrupted; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

WRONG, INTERRUPTED = 2, 130
# name: what it does. The module of that name has add_arguments(parser) and main(arguments), which may return a code.
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
    parser = argparse.ArgumentParser(prog="python -m evaluation", description=__doc__.splitlines()[0])
    parser.add_argument(
        "command", choices=COMMANDS, help="; ".join(f"{name}: {what}" for name, what in COMMANDS.items())
    )
    words = list(sys.argv[1:] if words is None else words)
    command = parser.parse_args(words[:1]).command
    try:
        module = import_module(f".{command}", __package__)
        own = argparse.ArgumentParser(
            prog=f"{parser.prog} {command}",
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(own)
        return module.main(own.parse_args(words[1:])) or 0
    except (ValueError, OSError, ImportError) as error:
        print(*(f"error: {line}" for line in str(error).splitlines()), sep="\n", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
