"""`python -m uniavgen_core download`: says what would be fetched, asks, and fetches it."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from .hub import HubFile, Listing, fetch, in_bytes, list_parts
from .parts import BUNDLE, PARTS, Part

USUAL = [part.name for part in PARTS if part.usual]
SUMMARY = "the published files are fetched from the Hugging Face Hub"


def add_download(tasks: argparse._SubParsersAction, **shared: object) -> None:
    """Adds the command; ``shared`` goes to its parser."""
    lines = [f"{part.name}: {part.what} ({in_bytes(part.about)}, {part.licence}, {part.repository})" for part in PARTS]
    parser = tasks.add_parser("download", help=SUMMARY, description=f"{SUMMARY}. {'; '.join(lines)}.", **shared)
    parser.add_argument(
        "parts", nargs="*", type=part_name, metavar="PART", help=f"what to fetch (default: {', '.join(USUAL)})"
    )
    for part in PARTS:
        if not part.usual:
            parser.add_argument(
                f"--{part.name}", action="append_const", dest="more", const=part.name, help=f"also {part.what}"
            )
    parser.add_argument("--all", action="store_true", help="all parts")
    parser.add_argument("--to", metavar="FOLDER", type=Path, default=models_folder(), help="the models folder")
    parser.add_argument("--revision", help=f"branch, tag or commit of {BUNDLE} (default: its main branch)")
    parser.add_argument("--verify", action="store_true", help="read what is there and compare its checksums")
    parser.add_argument("--yes", action="store_true", help="fetch without asking")
    parser.set_defaults(run=run)


def part_name(text: str) -> str:
    """A PART of the command line."""
    names = [part.name for part in PARTS]
    if text not in names:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(names)}")
    return text


def models_folder() -> Path:
    """ComfyUI's models folder if this is one of its custom nodes, else ``models`` where the command is given."""
    pack = Path(__file__).parents[1]
    inside = pack.parent.parent / "models"
    return inside if pack.parent.name == "custom_nodes" and inside.is_dir() else Path("models")


def run(options: argparse.Namespace) -> None:
    """The command. Raises ``ValueError`` or ``OSError`` with a sentence, and ``KeyboardInterrupt`` with another."""
    import huggingface_hub  # noqa: F401  before Ctrl-C is an exception, which an import could swallow

    for sent in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)):
        if callable(signal.getsignal(sent)):
            signal.signal(sent, signal.default_int_handler)
    try:
        listings = list_parts(chosen(options), lambda name: options.to / name, {BUNDLE: options.revision})
        if options.verify:
            print("comparing the checksums of what is there")
        missing = [file for listing in listings for file in listing.files if not file.is_there(options.verify)]
        show(listings, missing, options.to)
        if missing and agreed(missing, options.yes):
            fetch(missing)
            print(f"fetched and verified: {counted(missing)}")
    except KeyboardInterrupt:
        raise KeyboardInterrupt("what has arrived is kept; the same command goes on from there") from None


def chosen(options: argparse.Namespace) -> list[Part]:
    """The parts that are asked for, in the order of the table."""
    names = {*(options.parts or USUAL), *(options.more or ())}
    return [part for part in PARTS if options.all or part.name in names]


def show(listings: list[Listing], missing: list[HubFile], models: Path) -> None:
    """Says what is fetched, from where, under which licence, and to where."""
    print(f"models folder: {models.absolute()}")
    for listing in listings:
        part = listing.part
        print(
            f"  {part.name:13} {in_bytes(listing.size):>9}  {part.folder:14} {part.repository}, "
            f"licence {listing.licence}: {counted([file for file in listing.files if file in missing])} to fetch"
        )
    for file in missing:
        if file.target.exists():
            print(f"  {file.target} is not the published file and will be replaced")


def agreed(missing: list[HubFile], yes: bool) -> bool:
    """The user's word. Raises ``ValueError`` where nobody can be asked."""
    if yes:
        return True
    if not can_ask():
        raise ValueError("nothing was fetched, as there is nobody to ask: say --yes to fetch without being asked")
    try:
        answer = input(f"Fetch {counted(missing)}? [y/N] ")
    except EOFError:
        answer = ""
    return answer.strip().lower() in ("y", "yes")


def can_ask() -> bool:
    return sys.stdin.isatty()


def counted(files: list[HubFile]) -> str:
    size = in_bytes(sum(file.size for file in files))
    return f"{len(files)} file{'' if len(files) == 1 else 's'}, {size}" if files else "nothing"
