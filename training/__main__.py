"""The command line: ``python -m training COMMAND``.

Exit codes: 0 done, 2 something about the request is wrong (one sentence on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

WRONG, INTERRUPTED = 2, 130
# name: what it does. The module of that name has add_arguments(parser) and main(arguments).
COMMANDS = {
    "tiny": "makes data, trains every part and writes the files that the tiny model loads",
    "examples": "makes the example inputs of the repository and the picture of what comes out",
    "measure": "measures the model on what it never saw, prints tables and writes pictures",
}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__.splitlines()[0])
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
        module.main(own.parse_args(words[1:]))
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
