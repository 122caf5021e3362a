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
import json
import math
import os
import sys
import uuid
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp

FAILED, WRONG, INTERRUPTED = 1, 2, 130
KINDS = {bool: "true or false", int: "a number", float: "a finite number"}
Workflow = dict[str, dict[str, Any]]


class RunError(Exception):
    """The server refused the workflow or could not finish it; the message is what it said."""


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        workflow = read_workflow(options.workflow)
        for node, name, value in options.set:
            node = find_node(workflow, node)
            workflow[node]["inputs"][name] = parse(value, present(workflow, node, name), f"{node}.{name}")
        uploads = [find_upload(workflow, *parts) for parts in options.upload]
        check_folder(options.output)
        for path in asyncio.run(run(address(options.server), workflow, uploads, options.output)):
            print(path)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except aiohttp.ClientError as error:
        print(f"error: no ComfyUI answers at {options.server} ({error})", file=sys.stderr)
        return FAILED
    except RunError as error:
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
    parser.add_argument(
        "--set", action="append", default=[], type=assignment, metavar="NODE.INPUT=VALUE", help="changes an input"
    )
    parser.add_argument(
        "--upload",
        action="append",
        default=[],
        type=assignment,
        metavar="NODE.INPUT=FILE",
        help="sends a file to the server and sets the input to it",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("."), metavar="FOLDER", help="where results go (default: .)"
    )
    return parser


def assignment(text: str) -> tuple[str, str, str]:
    """NODE.INPUT=VALUE -> its three parts."""
    target, equals, value = text.partition("=")
    node, dot, name = target.rpartition(".")
    if not (equals and dot and node and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NODE.INPUT=VALUE")
    return node, name, value


def address(server: str) -> str:
    """HOST:PORT or a URL -> URL without a slash at its end."""
    return (server if "://" in server else f"http://{server}").rstrip("/")


def present(workflow: Workflow, node: str, name: str) -> Any:
    """The value that an input has in the workflow. Raises ``ValueError`` if there is none, or a link instead."""
    inputs = workflow[node]["inputs"]
    if name not in inputs:
        raise ValueError(f"{node} has no input {name!r} in the workflow; it has {', '.join(inputs) or 'none'}")
    if isinstance(inputs[name], list) and inputs[name]:
        raise ValueError(f"{node}.{name} is linked to node {inputs[name][0]!r}: only inputs with a value can be set")
    return inputs[name]


def parse(text: str, old: Any, target: str) -> str | bool | int | float:
    """The value in place of an old one: text stays as it is written, a number is a number, true or false a boolean.

    Browsers write 5.0 as 5, so a whole number may become a fraction. Raises ``ValueError`` for another kind.
    """
    if isinstance(old, str):
        return text
    kind = KINDS.get(type(old))
    if kind is None:
        raise ValueError(f"{target} is {json.dumps(old)} in the workflow: only text, numbers and booleans can be set")
    try:
        value = json.loads(text, parse_int=float if isinstance(old, float) else int)
    except ValueError:
        value = None
    numbers = (int, float) if type(old) in (int, float) else (type(old),)
    if type(value) not in numbers or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{target} must be {kind}, as in the workflow ({json.dumps(old)}), not {text!r}")
    return value


def find_upload(workflow: Workflow, node: str, name: str, path: str) -> tuple[str, str, Path]:
    """NODE.INPUT=FILE as node id, input and file. Raises ``ValueError`` if the input does not take a file's name."""
    node = find_node(workflow, node)
    if not isinstance(present(workflow, node, name), str):
        raise ValueError(f"{node}.{name} does not take a file: it is no text in the workflow")
    return node, name, existing(path)


def check_folder(path: Path) -> None:
    """Raises ``ValueError`` if no folder can be at a path because a file is there or on the way."""
    nearest = next((part for part in (path, *path.parents) if os.path.lexists(part)), path)
    if not nearest.is_dir():
        raise ValueError(f"results cannot go to {path}: {nearest} is not a folder")


def existing(path: str) -> Path:
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path} to upload")
    return Path(path)


def read_workflow(path: Path) -> Workflow:
    """Raises ``ValueError`` if the file is not a workflow in API format."""
    try:
        workflow = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(workflow, dict) or not all(
        isinstance(node, dict) and "class_type" in node and "inputs" in node for node in workflow.values()
    ):
        raise ValueError(f"{path} is not in API format: in ComfyUI, choose Workflow > Export (API)")
    return workflow


def find_node(workflow: Workflow, name: str) -> str:
    """The id of the node with that id, or of the only one with that title or class. Raises ``ValueError``."""
    if name in workflow:
        return name
    found = [
        node
        for node, content in workflow.items()
        if name in (content.get("_meta", {}).get("title"), content["class_type"])
    ]
    if len(found) != 1:
        raise ValueError(f"{len(found) or 'no'} nodes are called {name!r}; the workflow has {', '.join(workflow)}")
    return found[0]


async def run(server: str, workflow: Workflow, uploads: list[tuple[str, str, Path]], output: Path) -> list[Path]:
    """Uploads, submits, follows and downloads. Interrupts the prompt on the server if it is cancelled itself."""
    client = uuid.uuid4().hex
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server}/ws", params={"clientId": client}, max_msg_size=0) as socket,
    ):
        for node, name, path in uploads:
            workflow[node]["inputs"][name] = await upload(session, server, path)
        prompt = await submit(session, server, workflow, client)
        try:
            await follow(socket, prompt, workflow)
        except asyncio.CancelledError:
            await asyncio.shield(stop(session, server, prompt))
            raise
        async with session.get(f"{server}/history/{prompt}") as response:
            outputs = (await answer_of(response, prompt))[prompt]["outputs"]
        return [await download(session, server, item, output) for item in files(outputs)]


async def answer_of(response: aiohttp.ClientResponse, *names: str) -> dict[str, Any]:
    """The JSON object that the server answers. Raises ``RunError`` if it is none or lacks one of the names."""
    said = f"{response.url} answered {response.status} {response.reason}"
    try:
        answer = json.loads(await response.read())
    except ValueError as error:
        raise RunError(f"{said} with something other than JSON: check that --server is ComfyUI itself") from error
    if not isinstance(answer, dict) or not answer.keys() >= set(names):
        raise RunError(f"{said} without {' and '.join(names) or 'an object'}: check that --server is ComfyUI itself")
    return answer


async def upload(session: aiohttp.ClientSession, server: str, path: Path) -> str:
    """Sends a file into the server's input folder and returns its name there."""
    form = aiohttp.FormData()
    form.add_field("image", path.read_bytes(), filename=path.name)
    async with session.post(f"{server}/upload/image", data=form) as response:
        if response.status != 200:
            raise RunError(f"the server did not take {path}: {response.status} {response.reason}")
        answer = await answer_of(response, "subfolder", "name")
    return str(PurePosixPath(answer["subfolder"], answer["name"]))


async def submit(session: aiohttp.ClientSession, server: str, workflow: Workflow, client: str) -> str:
    """Queues the workflow and returns its prompt id. Raises ``RunError`` with the server's reasons."""
    async with session.post(f"{server}/prompt", json={"prompt": workflow, "client_id": client}) as response:
        if response.status != 200:
            raise RunError(refusal(await answer_of(response)))
        return (await answer_of(response, "prompt_id"))["prompt_id"]


def refusal(answer: dict[str, Any]) -> str:
    """Why a workflow was not queued: one line for each node's reason."""
    lines = {}
    for node, errors in (answer.get("node_errors") or {}).items():
        for error in errors["errors"]:
            # the host repeats a node's own sentence once for each input that it checks
            own = error["type"] == "custom_validation_failed"
            reason = error["details"].split(" - ", 1)[-1] if own else f"{error['message']}: {error['details']}"
            lines[f"{node}: {reason}"] = None
    return "\n".join(lines) or answer.get("error", {}).get("message", str(answer))


async def follow(socket: aiohttp.ClientWebSocketResponse, prompt: str, workflow: Workflow) -> None:
    """Prints progress until the prompt is done. Raises ``RunError`` if it fails."""
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.TEXT:  # previews
            continue
        event = json.loads(message.data)
        kind, data = event["type"], event.get("data", {})
        if data.get("prompt_id") != prompt:
            continue
        title = node_title(workflow, data.get("node"))
        if kind == "executing" and title:
            show(title)
        elif kind == "progress":
            show(f"{title} {data['value']}/{data['max']}")
        elif kind == "execution_error":
            show("")
            raise RunError(f"{node_title(workflow, data['node_id'])}: {data['exception_message'].strip()}")
        elif kind == "execution_interrupted":
            show("")
            raise RunError("the run was interrupted on the server")
        elif kind == "executing" and data["node"] is None:  # sent once the results are in the history
            show("")
            return
    raise RunError("the server closed the connection before the run was done")


def node_title(workflow: Workflow, node: str | None) -> str:
    content = workflow.get(node or "", {})
    return content.get("_meta", {}).get("title") or content.get("class_type", "")


def show(text: str) -> None:
    """One line of progress that overwrites the last on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


async def stop(session: aiohttp.ClientSession, server: str, prompt: str) -> None:
    """Takes the prompt off the queue, or interrupts it if it runs."""
    await session.post(f"{server}/queue", json={"delete": [prompt]})
    await session.post(f"{server}/interrupt", json={"prompt_id": prompt})


def files(outputs: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Everything that nodes have saved; previews are left where they are."""
    found = [
        item
        for node in outputs.values()
        for items in node.values()
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict) and item.get("type") == "output" and item.get("filename")
    ]
    return list({(item.get("subfolder"), item["filename"]): item for item in found}.values())


def place(item: dict[str, str]) -> Path:
    """Subfolder and name of a result. Raises ``RunError`` if they lead out of the output folder."""
    path = Path(*((item.get(key) or "").replace("\\", "/") for key in ("subfolder", "filename")))
    if path.anchor or ".." in path.parts or not path.name:
        raise RunError(f"the server names a result outside its output folder, {str(path)!r}, which is not saved")
    return path


async def download(session: aiohttp.ClientSession, server: str, item: dict[str, str], output: Path) -> Path:
    """Saves one result under its own subfolder and name, whole or not at all."""
    path = output / place(item)
    query = {key: item.get(key) or "" for key in ("filename", "subfolder", "type")}
    async with session.get(f"{server}/view", params=query) as response:
        if response.status != 200:
            raise RunError(f"the server did not hand out {item['filename']}: {response.status} {response.reason}")
        content = await response.read()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
