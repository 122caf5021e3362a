"""Sockets shut: whoever is to connect or look a name up in this process gets an error, and is counted.

python shut.py FILE COMMANDS imports all of this project's modules and runs the commands, which are JSON of
[[MODULE, WORD ...] ...]; FILE gets as JSON the exit code of each, and who tried to connect.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ASKED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto")
PACKAGES = ("uniavgen_core", "evaluation", "training", "scripts", "benchmarks")


def shut() -> list[str]:
    """Shuts them for good. Returns the list of who tried, which grows: Python reports it, whatever the library."""
    tried: list[str] = []

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ASKED:
            tried.append(f"{event}: {arguments[-1] if event in ('socket.connect', 'socket.sendto') else arguments[0]}")
            raise OSError("the sockets are shut")

    sys.addaudithook(refuse)
    return tried


def run(module: str, *words: str) -> int:
    try:
        return importlib.import_module(module).main(list(words)) or 0
    except SystemExit as stop:  # of --help
        return stop.code or 0


def import_everything() -> None:
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            importlib.import_module(module.name)


if __name__ == "__main__":
    tried = shut()
    sys.path[0] = str(ROOT)
    import_everything()
    imports = list(tried)
    codes = [run(*command) for command in json.loads(sys.argv[2])]
    Path(sys.argv[1]).write_text(json.dumps({"imports": imports, "codes": codes, "tried": tried}))
