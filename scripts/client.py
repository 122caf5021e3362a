"""A ComfyUI server over its API: one workflow with its files goes there, its results come back.

    upload, submit -> follow -> files -> download

Needs only ``aiohttp``, which ComfyUI's Python has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp

# a run may take hours, but a server that is there takes a connection and reads or writes on
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=300)
HEARTBEAT = 60.0  # seconds; a machine that was switched off closes no connection
PROXY = (502, 503, 504)  # what stands before a server says that it is away
QUIET = 20.0  # seconds without a word, after which the queue is looked at
STOPPING = 10.0  # seconds for the last words to a server
CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # what no name of a file should have: NUL, and what moves a terminal's cursor

Workflow = dict[str, dict[str, Any]]
Upload = tuple[str, str, Path]  # node id, input, file
Show = Callable[[str], None]

TEXT, MARK = 3, "⚠ "  # the host's kind of message that holds a node's text, and how a line of it that warns begins

log = logging.getLogger(__name__)


class RunError(Exception):
    """The server refused the workflow or could not finish it; the message is what it said."""


class Failed(RunError):
    """The workflow was queued and broke, or was taken away."""


class Gone(RunError):
    """The server went away while it ran the workflow."""


def address(server: str) -> str:
    """HOST:PORT or a URL -> URL without a slash at its end."""
    return (server if "://" in server else f"http://{server}").rstrip("/")


def connect() -> aiohttp.ClientSession:
    """To use with ``async with``; the functions below take it as ``session``."""
    return aiohttp.ClientSession(timeout=TIMEOUT)


async def run(
    session: aiohttp.ClientSession,
    server: str,
    workflow: Workflow,
    uploads: list[Upload],
    show: Show,
    warn: Show = log.warning,
) -> dict[str, dict[str, Any]]:
    """Uploads, submits and follows; returns what each node has put out.

    show: called with a line of progress, and with "" when there is none any more
    warn: called with what a node warns of, once each; a node whose result the server remembers warns no more
    Stops the workflow on the server if it is cancelled itself or loses the connection.
    """
    client, prompt = uuid.uuid4().hex, str(uuid.uuid4())
    url = f"{server}/ws"
    async with session.ws_connect(url, params={"clientId": client}, max_msg_size=0, heartbeat=HEARTBEAT) as socket:
        for node, name, path in uploads:
            workflow[node]["inputs"][name] = await upload(session, server, path)
        try:
            prompt = await submit(session, server, workflow, client, prompt)
            await follow(session, server, socket, prompt, workflow, show, warn)
        except (asyncio.CancelledError, aiohttp.ClientError, Gone):
            await asyncio.shield(stop(session, server, prompt))
            raise
        finally:
            show("")
    entry = await history(session, server, prompt)
    if entry is None:
        raise RunError(f"{server} knows nothing of the workflow that it has run")
    return entry["outputs"]


async def answer_of(response: aiohttp.ClientResponse, *names: str) -> dict[str, Any]:
    """The JSON object that the server answers. Raises ``RunError`` if it is none or lacks one of the names."""
    said = f"{response.url} answered {response.status} {response.reason}"
    if response.status in PROXY:
        raise Gone(said)
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
            fault = Gone if response.status in PROXY else RunError
            raise fault(f"the server did not take {path}: {response.status} {response.reason}")
        answer = await answer_of(response, "subfolder", "name")
    return str(PurePosixPath(answer["subfolder"], answer["name"]))


async def submit(session: aiohttp.ClientSession, server: str, workflow: Workflow, client: str, prompt: str) -> str:
    """Queues the workflow, as ``prompt`` if the server leaves that to its client, and returns its prompt id.

    Raises ``RunError`` with the server's reasons.
    """
    body = {"prompt": workflow, "client_id": client, "prompt_id": prompt}
    async with session.post(f"{server}/prompt", json=body) as response:
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


async def follow(
    session: aiohttp.ClientSession,
    server: str,
    socket: aiohttp.ClientWebSocketResponse,
    prompt: str,
    workflow: Workflow,
    show: Show,
    warn: Show,
) -> None:
    """Shows progress until the prompt is done. Raises ``Failed`` if it fails, ``Gone`` if the server does."""
    warned: set[str] = set()
    while True:
        try:
            message = await socket.receive(QUIET)
        except asyncio.TimeoutError:
            if await ended(session, server, prompt):
                return
            continue
        if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
            raise Gone("the server closed the connection before the run was done")
        if message.type is aiohttp.WSMsgType.ERROR:
            raise Gone(f"the connection broke before the run was done: {message.data}")
        if message.type is aiohttp.WSMsgType.BINARY:
            for warning in warnings_in(message.data, workflow):
                if warning not in warned:
                    warned.add(warning)
                    warn(warning)
        if message.type is not aiohttp.WSMsgType.TEXT:
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
        elif kind in ("execution_error", "execution_interrupted"):
            raise Failed(failure(workflow, kind, data))
        elif kind == "executing" and data["node"] is None:  # sent once the results are in the history
            return


async def ended(session: aiohttp.ClientSession, server: str, prompt: str) -> bool:
    """Whether a prompt of which nothing is heard is done. Raises ``Failed`` if it failed or is no longer there."""
    try:
        async with session.get(f"{server}/queue") as response:
            queue = await answer_of(response, "queue_running", "queue_pending")
        if any(prompt in item for item in queue["queue_running"] + queue["queue_pending"]):
            return False
        entry = await history(session, server, prompt)  # looked at last: a prompt goes from the queue to there
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        raise Gone(f"the server no longer answers: {error}") from error
    if entry is None:
        raise Failed("the workflow was taken off the server's queue")
    for kind, data in entry.get("status", {}).get("messages", []):
        if kind in ("execution_error", "execution_interrupted"):
            raise Failed(failure({}, kind, data))
    return True


async def history(session: aiohttp.ClientSession, server: str, prompt: str) -> dict[str, Any] | None:
    """What the server keeps of a prompt that has ended."""
    async with session.get(f"{server}/history/{prompt}") as response:
        return (await answer_of(response)).get(prompt)


def failure(workflow: Workflow, kind: str, data: dict[str, Any]) -> str:
    """The sentence for an event that ends a run."""
    if kind == "execution_interrupted":
        return "the run was interrupted on the server"
    title = node_title(workflow, data["node_id"]) or data.get("node_type", "a node")
    return f"{title}: {data['exception_message'].strip()}"


def warnings_in(message: bytes, workflow: Workflow) -> list[str]:
    """What a node warns of in a binary message: none in a preview."""
    kind, length = (int.from_bytes(message[start : start + 4], "big") for start in (0, 4))
    if kind != TEXT:
        return []
    node, text = (part.decode("utf-8", "replace") for part in (message[8 : 8 + length], message[8 + length :]))
    lines = [line.removeprefix(MARK) for line in text.splitlines() if line.startswith(MARK)]
    return [f"{node_title(workflow, node)}: {line}" for line in lines]


def node_title(workflow: Workflow, node: str | None) -> str:
    content = workflow.get(node or "", {})
    return content.get("_meta", {}).get("title") or content.get("class_type", "")


async def stop(session: aiohttp.ClientSession, server: str, prompt: str) -> None:
    """Takes the prompt off the queue, or interrupts it if it runs; a server that is gone needs neither."""
    with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
        timeout = aiohttp.ClientTimeout(total=STOPPING)
        await session.post(f"{server}/queue", json={"delete": [prompt]}, timeout=timeout)
        await session.post(f"{server}/interrupt", json={"prompt_id": prompt}, timeout=timeout)


def files(outputs: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Everything that nodes have saved; previews are left where they are."""
    found = [
        item
        for node in outputs.values()
        for items in node.values()
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict) and item.get("type") == "output" and item.get("filename")
    ]
    return list({(str(item.get("subfolder")), str(item["filename"])): item for item in found}.values())


def place(item: dict[str, str]) -> Path:
    """Subfolder and name of a result. Raises ``RunError`` if they lead out of the output folder, or are no names."""
    path = Path(*(str(item.get(key) or "").replace("\\", "/") for key in ("subfolder", "filename")))
    if path.anchor or ".." in path.parts or not path.name or CONTROL.search(str(path)):
        raise RunError(f"the server names a result outside its output folder, {str(path)!r}, which is not saved")
    return path


async def download(session: aiohttp.ClientSession, server: str, item: dict[str, str]) -> bytes:
    """One result, whole."""
    query = {key: item.get(key) or "" for key in ("filename", "subfolder", "type")}
    async with session.get(f"{server}/view", params=query) as response:
        if response.status != 200:
            fault = Gone if response.status in PROXY else RunError
            raise fault(f"the server did not hand out {item['filename']}: {response.status} {response.reason}")
        return await response.read()


def save(content: bytes, path: Path) -> Path:
    """Writes a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{path} cannot be written ({reason}): make room, or choose another folder") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def check_folder(path: Path) -> None:
    """Raises ``ValueError`` if no folder can be at a path because a file is there or on the way."""
    nearest = next((part for part in (path, *path.parents) if os.path.lexists(part)), path)
    if not nearest.is_dir():
        raise ValueError(f"results cannot go to {path}: {nearest} is not a folder")
