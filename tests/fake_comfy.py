"""A small server that speaks ComfyUI's API and behaves, or misbehaves, as a test says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

Workflow = dict[str, dict[str, Any]]


class FakeComfy:
    """Takes any workflow and says at once that it is done; its results are ``saved``, (subfolder, name) -> content.

    behave: workflow -> what becomes of it, one of
        "done"; "refused"; "error", "interrupted" while it runs; "dropped" from the queue without a word;
        "waits" until it is interrupted or `release` is called; "dies": nothing is answered until `up` is called
    cut: whether results end before they are whole
    texts: what the first node tells of itself, one after the other, while it runs
    """

    def __init__(self, saved: dict[tuple[str, str], bytes], behave: Callable[[Workflow], str] = lambda _: "done"):
        self.saved, self.behave = saved, behave
        self.prompts: list[Workflow] = []
        self.uploads: dict[str, bytes] = {}
        self.stopped: list[str] = []  # prompts that were interrupted
        self.not_json = ""  # a path that answers with a web page
        self.cut = self.down = False
        self.texts: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.open: set[str] = set()  # prompts on the queue
        self.url = ""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.page])
        app.add_routes([web.get("/ws", self.socket), web.post("/prompt", self.prompt), web.get("/view", self.view)])
        app.add_routes([web.post("/upload/image", self.upload), web.get("/history/{prompt}", self.history)])
        app.add_routes([web.get("/queue", self.queue), web.post("/queue", self.nothing)])
        app.add_routes([web.post("/interrupt", self.interrupt)])
        return app

    @web.middleware
    async def page(self, request: web.Request, handler) -> web.StreamResponse:
        if self.down:
            request.transport.abort()
        if self.not_json and request.path.startswith(self.not_json):
            return web.Response(text="<html>Log in</html>", content_type="text/html")
        return await handler(request)

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for _ in socket:
            pass
        return socket

    async def say(self, kind: str, **data: Any) -> None:
        for socket in self.sockets[-1:]:  # none if the client polls
            await socket.send_json({"type": kind, "data": data})

    async def prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        workflow, prompt = body["prompt"], body.get("prompt_id", "p")
        what = self.behave(workflow)
        if what == "refused":
            return web.json_response({"error": {"message": "Node 'X' not found."}, "node_errors": {}}, status=400)
        self.prompts.append(workflow)
        node = next(iter(workflow))
        for text in self.texts:
            message = (3).to_bytes(4, "big") + len(node).to_bytes(4, "big") + node.encode() + text.encode()
            await self.sockets[-1].send_bytes(message)
        if what == "done":
            await self.say("progress", node=node, prompt_id=prompt, value=1, max=1)
            await self.say("executing", node=None, prompt_id=prompt)
        elif what == "error":
            await self.say("execution_error", node_id=node, prompt_id=prompt, exception_message="it is too long\n")
        elif what == "interrupted":
            await self.say("execution_interrupted", node_id=node, prompt_id=prompt)
        elif what == "waits":
            self.open.add(prompt)
        elif what == "dies":
            self.down = True
            request.transport.abort()
            self.sockets[-1]._req.transport.abort()
        return web.json_response({"prompt_id": prompt})

    async def release(self) -> None:
        for prompt in list(self.open):
            self.open.discard(prompt)
            await self.say("executing", node=None, prompt_id=prompt)

    def up(self) -> None:
        self.down, self.behave = False, lambda _: "done"

    async def queue(self, request: web.Request) -> web.Response:
        return web.json_response({"queue_running": [[0, prompt] for prompt in self.open], "queue_pending": []})

    async def nothing(self, request: web.Request) -> web.Response:
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        prompt = (await request.json())["prompt_id"]
        self.stopped.append(prompt)
        self.open.discard(prompt)
        return web.Response()

    async def upload(self, request: web.Request) -> web.Response:
        file = (await request.post())["image"]
        self.uploads[file.filename] = file.file.read()
        return web.json_response({"name": file.filename, "subfolder": "sent", "type": "input"})

    async def history(self, request: web.Request) -> web.Response:
        if not self.prompts or self.behave(self.prompts[-1]) == "dropped":
            return web.json_response({})
        items = [{"subfolder": folder, "filename": name, "type": "output"} for folder, name in self.saved]
        outputs = {"save": {"images": items, "animated": [True]}}
        entry = {"outputs": outputs, "status": {"status_str": "success", "messages": []}}
        return web.json_response({request.match_info["prompt"]: entry})

    async def view(self, request: web.Request) -> web.StreamResponse:
        content = self.saved[request.query["subfolder"], request.query["filename"]]
        if self.cut:
            response = web.StreamResponse(headers={"Content-Length": str(len(content) + 1)})
            await response.prepare(request)
            await response.write(content)
            request.transport.abort()
            return response
        return web.Response(body=content) if content else web.Response(status=404)


@contextmanager
def serve(fake: FakeComfy) -> Iterator[FakeComfy]:
    """Answers on a free port of this machine, from a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    runner = web.AppRunner(fake.app(), shutdown_timeout=1)
    try:
        wait(runner.setup())
        wait(web.TCPSite(runner, "127.0.0.1", 0).start())
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        fake.loop = loop
        yield fake
    finally:
        wait(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
