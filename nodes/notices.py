"""What a node has to say while it runs, shown on the node itself: warnings, and below them how far it is.

A node whose `execute` is under `says_what_it_notices` shows every warning that the pack logs meanwhile, and in the end
why it refused: the browser's own message has that sentence only inside a report.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from comfy.model_management import InterruptProcessingException
from comfy_execution.utils import get_executing_context
from server import PromptServer

PACK = logging.getLogger(__name__.removesuffix(".nodes.notices"))  # above the loggers of nodes and core
MOST, LONGEST = 8, 400  # warnings on a node, and letters of one; the log has all of them
NOTHING = "No warnings."  # over the text of an earlier run: the browser ignores an empty one


@dataclass
class NodeText:
    """What stands on one node."""

    node_id: str
    prompt_id: str
    warnings: list[str] = field(default_factory=list)
    state: str = ""

    @property
    def text(self) -> str:
        shown = [f"⚠ {warning}" for warning in self.warnings[:MOST]]
        if len(self.warnings) > MOST:
            shown.append(f"⚠ and {len(self.warnings) - MOST} more, in the log")
        return "\n".join(filter(None, (*shown, self.state)))

    def show(self) -> None:
        server = getattr(PromptServer, "instance", None)
        if server is not None:
            server.send_progress_text(self.text or NOTHING, self.node_id, server.client_id)


class ToNode(logging.Handler):
    """Puts warnings of the thread's running node on it."""

    def emit(self, record: logging.LogRecord) -> None:
        running = _running.get()
        warning = shorten(record.getMessage())
        if running is not None and warning not in running.warnings:
            running.warnings.append(warning)
            running.show()


_running: ContextVar[NodeText | None] = ContextVar("uniavgen_node_text", default=None)
_latest: dict[tuple[str, str], NodeText] = {}  # of nodes (id, kind) that had something to say


def says_what_it_notices(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a node's `execute`, async or not: under ``@classmethod``."""
    if inspect.iscoroutinefunction(execute):

        @functools.wraps(execute)
        async def later(*args: Any, **kwargs: Any) -> Any:
            with noticing(execute.__qualname__):
                return await execute(*args, **kwargs)

        return later

    @functools.wraps(execute)
    def now(*args: Any, **kwargs: Any) -> Any:
        with noticing(execute.__qualname__):
            return execute(*args, **kwargs)

    return now


@contextmanager
def noticing(kind: str) -> Iterator[None]:
    """While this lasts, warnings of the pack are shown on the node that the host runs; outside of one, nowhere.

    kind: tells nodes of several workflows apart that have the same id
    """
    context = get_executing_context()
    if context is None:
        yield
        return
    if not any(isinstance(handler, ToNode) for handler in PACK.handlers):
        PACK.addHandler(ToNode(logging.WARNING))
    key = context.node_id, kind
    before, running = _latest.pop(key, None), NodeText(context.node_id, context.prompt_id)
    if before is not None and context.list_index and before.prompt_id == context.prompt_id:
        running.warnings = before.warnings  # the host runs the node once for each item of a list
    token = _running.set(running)
    try:
        yield
    except InterruptProcessingException:
        if running.state:  # how far it is
            running.state = "cancelled"
            running.show()
        raise
    except Exception as error:
        running.state = f"✖ {shorten(str(error) or type(error).__name__)}"
        running.show()
        raise
    finally:
        _running.reset(token)
        if running.text:
            _latest[key] = running
        elif before is not None:
            running.show()


def tell_state(state: str) -> None:
    """Shows on the running node how far it is, in place of what was told before."""
    running = _running.get()
    if running is not None:
        running.state = state
        running.show()


def shorten(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
