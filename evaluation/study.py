"""A study of users: a page that asks people which method's clips are best, and the tally of their answers.

    python -m evaluation study make ours=clips/ours other=clips/other --output page
    python -m evaluation study tally answers --key page.key.json

Clips of the same name make one question, asked for audio quality, video quality and audio-visual coherence. The page
tells nothing of the methods; page.key.json does: keep it. Give people the folder page, by a web server or as it is,
put the files that they send back in one folder, and tally it.
Exit code of the tally: 1 if a file was left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .studying import make, tally
from .studying.key import read_key

LEFT_OUT = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    one = steps.add_parser("make", help="a page from folders of clips", description=make.__doc__)
    one.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="of clips, one a method; NAME=FOLDER names the method"
    )
    one.add_argument("--output", type=Path, required=True, metavar="PAGE_FOLDER", help="new folder for the page")
    one.add_argument("--key", type=Path, help="what each clip is, for the tally (default: PAGE_FOLDER.key.json)")
    one.add_argument("--title", default="Which clip is best?", help="of the page, for all to see")
    one.add_argument("--seed", type=int, help="of the neutral names (default: one that nobody can guess)")
    one.add_argument("--common", action="store_true", help="leave out clips that are not in every folder")
    one.add_argument("--one-file", action="store_true", help="put the clips inside index.html")
    one = steps.add_parser("tally", help="shares of votes from a folder of answers", description=tally.__doc__)
    one.add_argument("answers", type=Path, metavar="ANSWERS_FOLDER", help="the files that participants sent back")
    one.add_argument("--key", type=Path, required=True, help="the file that make wrote")
    one.add_argument("--output", type=Path, help="folder for the tables (default: ANSWERS_FOLDER/tally)")


def main(options: argparse.Namespace) -> int:
    return {"make": _make, "tally": _tally}[options.step](options)


def _make(options: argparse.Namespace) -> int:
    output = options.output
    key_file = options.key or output.with_name(f"{output.resolve().name}.key.json")
    sources = make.sources_of(options.folders)
    names, lacking = make.common(sources)
    left_out = [f"{name} is missing of {', '.join(methods)}" for name, methods in lacking.items()]
    if not names:
        raise ValueError("no clip is in every folder: clips of the same name make a question")
    if left_out and not options.common:
        raise ValueError(
            "\n".join(["not every clip is in every folder: add it, or leave it out by --common", *left_out])
        )
    make.check_places(output, key_file)
    key, notices = make.make(
        sources, names, output, key_file, title=options.title, seed=options.seed, one_file=options.one_file
    )
    for line in (*(f"left out: {line}" for line in left_out), *(f"note: {line}" for line in notices)):
        print(line, file=sys.stderr)
    print(f"study {key.study}: {len(key.questions)} questions with {len(key.methods)} clips each")
    print(f"page, to give to people: {output / 'index.html' if options.one_file else output}")
    print(f"key, to keep to yourself: {key_file}")
    return 0


def _tally(options: argparse.Namespace) -> int:
    key = read_key(options.key)
    output = options.output or options.answers / "tally"
    if output.resolve() == options.answers.resolve():
        raise ValueError(f"{output} holds the answers themselves: give another folder for the tables")
    found = tally.count(options.answers, key)
    print(found.text())
    tally.save(found, output)
    return LEFT_OUT if found.refused else 0
