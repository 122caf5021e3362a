"""GRID and EMTD: rows for the batch command, and the paper's tables with one's own numbers in them.

    python -m evaluation benchmark grid GRID --output grid.csv --limit 100
    python -m evaluation benchmark emtd LIST VIDEOS --output emtd.csv
    python -m evaluation benchmark run grid --rows grid.csv --server http://127.0.0.1:8188 --output grid \\
        --batch="--released" --words="--recogniser whisper" --lipsync="--weights syncnet.pth"
    python -m evaluation benchmark table grid grid/measured/*.json other/measured/*.json

run makes the clips by scripts/run_batch.py, measures them and prints the table; what is there already is not made or
measured again. A measure runs if its options are given, and with them; --words="" gives none.
Exit codes: 1 also if something was left out, of the rows or of the table's measures.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from . import report
from .benchmarks import emtd, grid, tables
from .benchmarks.rows import Rows, check_output

BATCH = Path(__file__).resolve().parents[1] / "scripts" / "run_batch.py"
MEASURES = {"grid": ("lipsync", "words"), "emtd": ("lipsync", "frechet")}
PROMPTS = {
    "grid": "A person looks into the camera and speaks.",
    "emtd": "A person, seen from the waist up, looks into the camera, speaks and moves the hands.",
}
DONE, LEFT_OUT, WRONG = 0, 1, 2
Run = Callable[[list[str]], int]  # words of a command line -> exit code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    one = steps.add_parser("grid", help="rows that dub a local copy of GRID, setting 3.0", description=grid.__doc__)
    one.add_argument("folder", type=Path, help="the copy, with folders s1, s2, ... somewhere in it")
    one.add_argument("--list", type=Path, help="file that names the test set, as s1-bbaf2n or s1/bbaf2n.wav up to a |")
    one.add_argument(
        "--voices", type=Path, help="CSV file of voices from elsewhere: ref_audio_path, ref_speech_content"
    )
    _add_row_arguments(one, "grid", "take so many utterances, drawn by the seed")
    one = steps.add_parser("emtd", help="rows that animate EMTD's people by sound", description=emtd.__doc__)
    one.add_argument("list", type=Path, help="EMTD's list: URL, Start Timecode, End Timecode")
    one.add_argument("folder", type=Path, help="its videos: ID.mp4 as a whole, or cut out as NNN_ID.mp4")
    one.add_argument("--seconds", type=Fraction, help="use no more of each clip (default: all)")
    _add_row_arguments(one, "emtd", "take so many clips, the first ones")
    one = steps.add_parser("run", help="make the clips, measure them, print the table")
    one.add_argument("name", choices=MEASURES, help="which table")
    one.add_argument("--rows", type=Path, required=True, help="CSV file of the rows, as made by grid or emtd")
    one.add_argument("--server", action="append", default=[], metavar="URL", help="may be given again for each server")
    one.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="for the clips and the numbers")
    one.add_argument("--method", help="name of what makes the clips, for the table (default: the folder's)")
    one.add_argument("--batch", type=_split, default=[], metavar="OPTIONS", help="more options for run_batch.py")
    for name in dict.fromkeys(name for names in MEASURES.values() for name in names):
        one.add_argument(f"--{name}", type=_split, metavar="OPTIONS", help=f"measure {name}, with these options")
    one = steps.add_parser("table", help="numbers of several methods beside the paper's")
    one.add_argument("name", choices=tables.TABLES, help="which table")
    one.add_argument("results", type=Path, nargs="+", metavar="RESULT.json", help="as the measures wrote them")
    one.add_argument("--output", type=Path, metavar="FILE", help="also write the table there")


def _add_row_arguments(parser: argparse.ArgumentParser, name: str, limit: str) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--output", type=Path, required=True, help="CSV file for the rows")
    parser.add_argument("--seed", type=int, default=0, help="of the choices and of the clips (default: %(default)s)")
    parser.add_argument("--limit", type=int, help=limit)
    parser.add_argument("--prompt", default=PROMPTS[name], help="what is seen (default: %(default)r)")


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def main(options: argparse.Namespace) -> int:
    return {"grid": make_grid, "emtd": make_emtd, "run": run, "table": table}[options.step](options)


def make_grid(options: argparse.Namespace) -> int:
    _check(options)
    names = options.list and grid.read_list(options.list)
    voices = options.voices and grid.read_voices(options.voices)
    return _written(grid.rows_of(options.folder, options.seed, options.limit, names, voices), options)


def make_emtd(options: argparse.Namespace) -> int:
    _check(options)
    if options.seconds is not None and options.seconds < emtd.SHORTEST:
        raise ValueError(f"--seconds {float(options.seconds):g} is too short: give {float(emtd.SHORTEST):g} or more")
    target = options.output.with_suffix("")
    rows = emtd.rows_of(emtd.read_list(options.list), options.folder, target, options.limit, options.seconds)
    rows.notes.append(f"{target / emtd.REAL}: the real clips, for FID and FVD")
    return _written(rows, options)


def _check(options: argparse.Namespace) -> None:
    check_output(options.output)
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit {options.limit} leaves no row: give 1 or more")
    if options.seed < 0:
        raise ValueError(f"--seed {options.seed} is below 0: give 0 or more")


def _written(rows: Rows, options: argparse.Namespace) -> int:
    rows.write(options.output, {"prompt": options.prompt, "seed": str(options.seed)})
    print(rows.summary(options.output))
    return LEFT_OUT if rows.left_out else DONE


def run_batch(words: list[str]) -> int:
    return subprocess.run([sys.executable, str(BATCH), *words], check=False).returncode  # noqa: S603  no shell is asked


def run_measure(words: list[str]) -> int:
    from .__main__ import main as evaluate

    try:
        return evaluate(words)
    except SystemExit as stop:  # of argparse, which has said why
        return WRONG if stop.code else DONE


def run(options: argparse.Namespace, batch: Run = run_batch, measure: Run = run_measure) -> int:
    """Makes the clips, measures them, prints the table and writes it to OUTPUT/table.md; returns the exit code.

    Clips that could not be made and measures that could not run or were not asked for are told, and left out.
    """
    if not options.rows.is_file():
        raise FileNotFoundError(f"there is no {options.rows}: make it by 'benchmark {options.name}'")
    foreign = [name for name in sum(MEASURES.values(), ()) if name not in MEASURES[options.name]]
    if given := [name for name in foreign if getattr(options, name) is not None]:
        raise ValueError(f"the table of {options.name} has no numbers of {given[0]}: leave --{given[0]} out")
    clips, measured = options.output / "clips", options.output / "measured"
    clips.mkdir(parents=True, exist_ok=True)
    servers = [word for server in options.server for word in ("--server", server)]
    made = batch([str(options.rows), *servers, "--output", str(clips), *options.batch])
    if made not in (DONE, LEFT_OUT):
        return made
    told = ["--rows", str(options.rows), "--output", str(measured)]
    told += ["--method", options.method or options.output.resolve().name]
    codes, left_out = [made], []
    results = []
    for name in MEASURES[options.name]:
        if (own := getattr(options, name)) is None:
            left_out.append(f"{name} was left out: give its options by --{name}=OPTIONS (see {name} --help)")
            continue
        code = measure([name, str(clips), *told, *own])
        if code in (DONE, LEFT_OUT):
            results.append(report.load(measured / f"{name}.json"))
        elif code == WRONG:
            left_out.append(f"{name} was left out: it could not run, and said why above")
        else:
            return code
        codes.append(code)
    lines = [tables.text(tables.TABLES[options.name], results), *(f"- {line}" for line in left_out)]
    if made:
        lines.append(f"- some clips could not be made: see {clips / 'report.jsonl'}")
    text = "\n".join(lines)
    print(text)
    report.write_text(options.output / "table.md", f"{text}\n")
    return LEFT_OUT if any(codes) or left_out else DONE


def table(options: argparse.Namespace) -> int:
    """Prints the table, and writes it if a file is named."""
    results = []
    for path in options.results:
        try:
            results.append(report.load(path))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no result of a measure: give its MEASURE.json") from error
    text = tables.text(tables.TABLES[options.name], results)
    print(text)
    if options.output:
        report.write_text(options.output, f"{text}\n")
    return DONE
