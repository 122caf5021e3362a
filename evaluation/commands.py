"""A command line of commands, each a module with ``add_arguments(parser)`` and ``main(arguments)``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

WRONG, INTERRUPTED = 2, 130


def run(package: str, summary: str, commands: Mapping[str, str], words: Sequence[str] | None) -> int:
    """Runs the command that the words (default: of the process) name; returns the exit code.

    package: that holds the modules; commands: by the name of the module, what it does
    What a module's ``main`` returns is the code, 0 for None; 2 for a wrong request, told in sentences; 130 for
    an interruption.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description=summary)
    parser.add_argument(
        "command", choices=commands, help="; ".join(f"{name}: {what}" for name, what in commands.items())
    )
    words = list(sys.argv[1:] if words is None else words)
    command = parser.parse_args(words[:1]).command
    try:
        module = import_module(f"{package}.{command}")
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
