"""A table of clips -> rows that are fit to be made -> an API workflow with its files for each.

The columns are those of the released code's CSV files, and a seed:

| column | holds |
|---|---|
| data_id | the name of the result |
| ref_image_path | the person; may be empty where a video is dubbed |
| ref_audio_path, ref_speech_content | how the person sounds, and what is said there; both or neither |
| video_path | footage to dub |
| audio_path | sound that drives the portrait |
| speech_content | what is said; may be empty with audio_path |
| prompt | what is seen; empty: as in the workflow |
| lang | auto, en or zh; empty: as in the workflow |
| seed | empty: as in the workflow |
"""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if __package__:
    from . import api_workflow
    from .client import Upload, Workflow
else:  # run as a file
    import api_workflow
    from client import Upload, Workflow

WORKFLOWS = Path(__file__).parents[1] / "workflows" / "api"
NEEDED = ("data_id", "ref_image_path", "speech_content")
COLUMNS = (*NEEDED, "ref_audio_path", "ref_speech_content", "video_path", "audio_path", "prompt", "lang", "seed")
OPTIONAL = {"caption": "prompt", "language": "lang"}  # input of the text node -> column
LANGUAGES = ("auto", "en", "zh")
SEEDS = 2**64
LONGEST_ID = 200  # bytes; a name of a file may have 255
UNSAFE = re.compile(r'[\x01-\x1f\x7f/\\:*?"<>|]')
# no names for files on Windows
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³]) *(\..*)?", re.IGNORECASE)

# column of a file -> the node that loads it, its input, the title of the node, and what it is to the conditions
LOADERS = {
    "ref_image_path": ("portrait", "LoadImage", "image", "Portrait", "reference_image"),
    "ref_audio_path": ("voice", "LoadAudio", "audio", "Reference voice", "reference_voice"),
    "audio_path": ("audio", "LoadAudio", "audio", "Driving audio", "driving_audio"),
    "video_path": ("footage", "LoadVideo", "file", "Video to dub", "video"),
}


@dataclass(frozen=True)
class Row:
    """One clip. files: by column; cells: of the other columns, without blanks around them"""

    id: str
    task: str
    files: dict[str, Path]
    cells: dict[str, str]


def read_rows(table: Path, root: Path) -> list[Row]:
    """The rows of a CSV file, all of them fit.

    root: the folder that paths in the table start from
    Raises ``ValueError`` with a line for each row that is not: where it stands and what to change.
    """
    rows, problems, taken = [], [], {}
    for line, cells in read_cells(table):
        name = cells.get("data_id", "")
        where = f"{table}, line {line}" + (f" (data_id {name!r})" if name else "")
        wrong = [cells["?"]] if "?" in cells else list(problems_of(cells, root))
        same = unicodedata.normalize("NFC", name).casefold()  # one file where a disk does not tell them apart
        if name and same in taken:
            wrong.append(f"line {taken[same]} has the same data_id: give each row its own")
        taken.setdefault(same, line)
        problems += [f"{where}: {problem}" for problem in wrong]
        if not wrong:
            files = {column: root / cells.pop(column) for column in LOADERS if cells.get(column)}
            rows.append(Row(name, task_of(files), files, cells))
    if problems:
        raise ValueError("\n".join(problems))
    if not rows:
        raise ValueError(f"{table} has no rows below its header")
    return rows


def read_cells(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line on which each row begins, and its cells by column; under "?" what keeps it from having them."""
    api_workflow.check_file(table, "CSV")
    try:
        text = table.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is not UTF-8: save it as 'CSV UTF-8'") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{table}, line {line}: there is a NUL character in it: delete it")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    begin = 1
    try:
        header = [name.strip() for name in next(lines, [])]
        check_header(table, header)
        begin = lines.line_num + 1
        for values in lines:
            if len(values) == len(header):
                yield begin, {name: value.strip() for name, value in zip(header, values, strict=True)}
            elif values:
                sizes = f"it has {len(values)} cells and the header {len(header)}"
                yield begin, {"?": f"{sizes}: put double quotes around text that holds a comma, and leave no cell out"}
            begin = lines.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{table}, line {begin}: {error}: check its double quotes") from error


def check_header(table: Path, header: list[str]) -> None:
    """Raises ``ValueError`` unless a table's first line names the columns."""
    if len(header) == 1 and (other := next((mark for mark in ";\t" if mark in header[0]), None)):
        raise ValueError(f"{table} separates its columns by {other!r}: save it with commas")
    if unknown := [name for name in header if name not in COLUMNS]:
        raise ValueError(
            f"{table}, line 1: unknown {'columns' if len(unknown) > 1 else 'column'} {', '.join(map(repr, unknown))}: "
            f"the columns are {', '.join(COLUMNS)}"
        )
    if twice := {name for name in header if header.count(name) > 1}:
        raise ValueError(f"{table}, line 1: {', '.join(sorted(twice))} is there twice: leave one out")
    if missing := [name for name in NEEDED if name not in header]:
        raise ValueError(f"{table}, line 1: there is no column {', '.join(missing)}: the first line names the columns")


def problems_of(cells: dict[str, str], root: Path) -> Iterator[str]:
    """What is wrong with a row by itself, and what to change."""
    if problem := id_problem(cells["data_id"]):
        yield problem
    given = {column for column in COLUMNS if cells.get(column)}
    if {"video_path", "audio_path"} <= given:
        yield "video_path and audio_path cannot both be given: a video is dubbed, or sound drives a portrait"
    elif {"ref_audio_path", "audio_path"} <= given:
        yield "ref_audio_path is of no use where audio_path gives all that is heard: leave one of the two out"
    if not given & {"ref_image_path", "video_path"}:
        yield "ref_image_path is empty: name a picture of the person"
    if not given & {"speech_content", "audio_path"}:
        yield "speech_content is empty: write what the person says"
    if "ref_audio_path" in given and "ref_speech_content" not in given:
        yield "ref_speech_content is empty: write what is said in ref_audio_path, word for word"
    if "ref_speech_content" in given and "ref_audio_path" not in given:
        yield "ref_speech_content has no ref_audio_path it belongs to: give both or neither"
    if "lang" in given and cells["lang"] not in LANGUAGES:
        yield f"unknown lang {cells['lang']!r}: choose one of {', '.join(LANGUAGES)}"
    if "seed" in given and not (re.fullmatch("[0-9]{1,20}", cells["seed"]) and int(cells["seed"]) < SEEDS):
        yield f"seed {cells['seed']!r} is no whole number from 0 to {SEEDS - 1}"
    for column in LOADERS:
        if column in given and (problem := file_problem(root, cells[column])):
            yield f"{column}: {problem}"


def id_problem(name: str) -> str | None:
    """Why a data_id cannot be the name of a file on every system."""
    if not name:
        return "data_id is empty: give the row a name of its own"
    rule = "use letters, digits, - and _"
    if found := UNSAFE.search(name):
        return f"data_id names the result and cannot have {found[0]!r} in it: {rule}"
    if name[0] == "." or name[-1] == "." or DEVICES.fullmatch(name):
        return f"data_id names the result and cannot be {name!r}: {rule}"
    if len(name.encode()) > LONGEST_ID:
        return f"data_id is longer than {LONGEST_ID} bytes: shorten it"
    return None


def file_problem(root: Path, path: str) -> str | None:
    """Why a file cannot be sent."""
    full = root / path
    try:
        if not full.is_file():
            return f"there is no file {full}: correct it, or say with --root where paths start"
        with full.open("rb") as file:
            return None if file.read(1) else f"{full} is empty"
    except OSError as error:
        return f"{full} cannot be read ({error.strerror})"


def task_of(files: dict[str, Path]) -> str:
    """What is given decides the task, and with it the workflow."""
    if "video_path" in files:
        return "dub"
    if "audio_path" in files:
        return "audio_driven"
    return "joint_voice" if "ref_audio_path" in files else "joint"


class Requests:
    """What is sent for a row: the API workflow of its task, with the settings that hold for all rows."""

    def __init__(self, released: bool, settings: list[tuple[str, str, str]], tasks: set[str]):
        """Raises ``ValueError`` for a setting that one of the tasks' workflows does not take."""
        self.released, self.settings, self.workflows = released, settings, {}
        for task in sorted(tasks):
            path = WORKFLOWS / f"{task}{'_released' if released else ''}.json"
            self.workflows[task] = api_workflow.read_workflow(path)
            for setting in settings:
                try:
                    api_workflow.change(self.workflows[task], *setting)
                except ValueError as error:
                    raise ValueError(f"{path.name}: {error}") from error

    def of(self, row: Row) -> tuple[Workflow, list[Upload]]:
        """The workflow, and the files to send with it."""
        workflow = copy.deepcopy(self.workflows[row.task])
        cells = row.cells
        text = workflow["text"]["inputs"]
        text |= {"speech": cells["speech_content"], "transcript": cells.get("ref_speech_content", "")}
        text |= {name: cells[column] for name, column in OPTIONAL.items() if cells.get(column)}
        if cells.get("seed"):
            workflow["sampler"]["inputs"]["seed"] = int(cells["seed"])
        uploads = []
        for column, path in row.files.items():
            node, kind, name, title, target = LOADERS[column]
            if node not in workflow:  # what a dubbed video may have beside it
                workflow[node] = {"class_type": kind, "inputs": {name: ""}, "_meta": {"title": title}}
                workflow["conditions"]["inputs"][target] = [node, 0]
            uploads.append((node, name, path))
        return workflow, uploads

    def digest(self, row: Row) -> str:
        """Tells whether a clip was made from the same words, files and settings."""
        words = {column: text for column, text in row.cells.items() if text and column != "data_id"}
        files = {column: hashlib.sha256(path.read_bytes()).hexdigest() for column, path in row.files.items()}
        asked = json.dumps([self.released, sorted(self.settings), words, files], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()
