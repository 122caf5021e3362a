"""A browser's ear: runs a workflow and keeps what the host sends over the websocket meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import aiohttp
import numpy as np
from host.hosts import Server
from PIL import Image

PICTURE, TEXT, PICTURE_WITH_METADATA = 1, 3, 4  # the host's numbers of binary messages
FEATURES = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
ENDS = ("execution_success", "execution_error", "execution_interrupted")


@dataclass
class Heard:
    """events: all in JSON; texts: (node, text); pictures: (node or None, uint8 [H, W, 3]); seconds_to_end: from the
    interrupt to the end of the run, if there was one"""

    events: list[dict[str, Any]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[tuple[str | None, np.ndarray]] = field(default_factory=list)
    seconds_to_end: float | None = None

    @property
    def end(self) -> str:
        return self.events[-1]["type"]

    def texts_on(self, node: str) -> list[str]:
        return [text for name, text in self.texts if name == node]

    def pictures_on(self, node: str) -> list[np.ndarray]:
        return [picture for name, picture in self.pictures if name == node]

    def steps_of(self, node: str) -> list[tuple[int, int]]:
        found = [event["data"] for event in self.events if event["type"] == "progress"]
        return [(data["value"], data["max"]) for data in found if data["node"] == node and data["value"]]

    def take(self, message: bytes) -> None:
        """A binary message."""
        kind, rest = int.from_bytes(message[:4], "big"), message[4:]
        length = int.from_bytes(rest[:4], "big")
        if kind == TEXT:
            self.texts.append((rest[4 : 4 + length].decode(), rest[4 + length :].decode()))
        elif kind == PICTURE:
            self.pictures.append((None, pixels(rest[4:])))
        elif kind == PICTURE_WITH_METADATA:
            self.pictures.append((json.loads(rest[4 : 4 + length])["node_id"], pixels(rest[4 + length :])))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def hear(
    server: Server,
    workflow: dict[str, Any],
    *,
    browser: bool = True,
    interrupt: str | None = None,
    after: float = 0.3,
    seconds: float = 180,
) -> Heard:
    """Runs a workflow to its end.

    browser: as one that knows to which node a picture belongs; interrupt: the node that is cancelled ``after`` so many
    seconds of it
    """
    return asyncio.run(asyncio.wait_for(_hear(server, workflow, browser, interrupt, after), seconds))


async def _hear(server: Server, workflow: dict[str, Any], browser: bool, interrupt: str | None, after: float) -> Heard:
    heard, asked, tasks = Heard(), [], []

    async def cancel(session: aiohttp.ClientSession) -> None:
        await asyncio.sleep(after)
        asked.append(time.monotonic())
        await session.post(f"{server.url}/interrupt", json={})

    address = f"{server.url}/ws?clientId=listener"
    async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
        if browser:
            await socket.send_json(FEATURES)
        body = {"prompt": workflow, "client_id": "listener"}
        async with session.post(f"{server.url}/prompt", json=body) as response:
            prompt = (await response.json())["prompt_id"]
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                heard.take(message.data)
                continue
            event = json.loads(message.data)
            if event.get("data", {}).get("prompt_id") != prompt:
                continue
            heard.events.append(event)
            if interrupt and event["type"] == "executing" and event["data"]["node"] == interrupt:
                tasks.append(asyncio.create_task(cancel(session)))
            if event["type"] in ENDS:
                if asked:
                    heard.seconds_to_end = time.monotonic() - asked[0]
                return heard
    raise AssertionError("the connection ended early")
