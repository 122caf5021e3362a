"""Runs an API workflow on a ComfyUI server and saves what comes back.

    python scripts/run_workflow.py workflows/api/joint.json \
        --upload portrait.image=face.png --set text.speech="Hello there." --output results

Nodes are named by their id in the workflow, or by their title or class where only one has it. A value is read as what
stands in the workflow: text as it is written, a whole number, a number, or true / false.
Exit codes: 0 done, 1 the server refused or failed, 2 the request is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import aiohttp

if __package__:
    from . import api_workflow, client
else:  # run as a file
    import api_workflow
    import client

FAILED, WRONG, INTERRUPTED = 1, 2, 130


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        workflow = api_workflow.read_workflow(options.workflow)
        for setting in options.set:
            api_workflow.change(workflow, *setting)
        uploads = [find_upload(workflow, *parts) for parts in options.upload]
        client.check_folder(options.output)
        for path in asyncio.run(run(client.address(options.server), workflow, uploads, options.output)):
            print(path)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except aiohttp.ClientError as error:
        print(f"error: no ComfyUI answers at {options.server} ({error})", file=sys.stderr)
        return FAILED
    except client.RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Runs an API workflow on a ComfyUI server and saves what comes back.")
    parser.add_argument("workflow", type=Path, help="workflow in API format (.json)")
    parser.add_argument("--server", default="http://127.0.0.1:8188", help="default: %(default)s")
    api_workflow.add_set(parser, "changes an input")
    parser.add_argument(
        "--upload",
        action="append",
        default=[],
        type=api_workflow.assignment,
        metavar="NODE.INPUT=FILE",
        help="sends a file to the server and sets the input to it",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("."), metavar="FOLDER", help="where results go (default: .)"
    )
    return parser


def find_upload(workflow: client.Workflow, node: str, name: str, path: str) -> client.Upload:
    """NODE.INPUT=FILE as node id, input and file. Raises ``ValueError`` if the input does not take a file's name."""
    node = api_workflow.find_node(workflow, node)
    if not isinstance(api_workflow.present(workflow, node, name), str):
        raise ValueError(f"{node}.{name} does not take a file: it is no text in the workflow")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path} to upload")
    return node, name, Path(path)


async def run(server: str, workflow: client.Workflow, uploads: list[client.Upload], output: Path) -> list[Path]:
    """Each result comes under its own subfolder and name."""
    async with client.connect() as session:
        outputs = await client.run(session, server, workflow, uploads, show, warn)
        paths = []
        for item in client.files(outputs):
            path = output / client.place(item)
            paths.append(client.save(await client.download(session, server, item), path))
        return paths


def show(text: str) -> None:
    """One line of progress that overwrites the last on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    clear = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{clear}warning: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
