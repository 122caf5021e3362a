"""Makes a clip for each row of a CSV file, on one or several ComfyUI servers.

    python scripts/run_batch.py clips.csv --server http://127.0.0.1:8188 --server http://127.0.0.1:8189 --output results

The columns are those of the released code (see `batch_rows`); what a row gives decides its task. Every row is checked
before the first is sent. A server gets the next row when it is free; a row whose server goes away is made by another,
or by the same one when it is back. results/DATA_ID.mp4 appears when it is whole, and the same command goes on where an
earlier one stopped: rows that failed are tried again, those with a clip are not, unless the row has changed.
results/report.jsonl gets a line for each row that was tried.
Exit codes: 0 all rows have a clip, 1 some failed, 2 the request is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import sys
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import aiohttp

if __package__:
    from . import api_workflow, client
    from .batch_rows import Requests, Row, read_rows
else:  # run as a file
    import api_workflow
    import client
    from batch_rows import Requests, Row, read_rows

FAILED, WRONG, INTERRUPTED = 1, 2, 130
REPORT = "report.jsonl"
TRIES = 2  # of a row on a server that goes away meanwhile
POLL, LONGEST_PAUSE = 0.1, 10.0  # seconds
PROBE = aiohttp.ClientTimeout(total=10)


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    servers = list(dict.fromkeys(client.address(server) for server in options.server or [options.default_server]))
    try:
        rows = read_rows(options.table, options.root or options.table.parent)
        requests = Requests(options.released, options.set, {row.task for row in rows})
        client.check_folder(options.output)
        if options.check:
            print(f"{len(rows)} rows are fit: {counted(row.task for row in rows)}")
            return 0
        open_rows, there = still_to_make(rows, requests, options.output)
        open_rows = open_rows[: options.limit]
        with Report(options.output / REPORT) as report:
            batch = Batch(open_rows, servers, requests, report, options.output, options.wait)
            try:
                asyncio.run(batch.run())
            finally:
                batch.sum_up(there)
    except (KeyboardInterrupt, asyncio.CancelledError):  # Ctrl-C, SIGTERM
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except client.RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except (ValueError, OSError) as error:
        print(*(f"error: {line}" for line in str(error).splitlines()), sep="\n", file=sys.stderr)
        return WRONG
    return FAILED if batch.failures else 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Makes a clip for each row of a CSV file, on one or several ComfyUI servers. The same command "
        "again goes on where it stopped."
    )
    parser.set_defaults(default_server="http://127.0.0.1:8188")
    parser.add_argument("table", type=Path, help="CSV file with the columns of the released code, and a seed if wanted")
    parser.add_argument("--server", action="append", metavar="URL", help="may be given again for each server")
    parser.add_argument("--output", type=Path, default=Path("results"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--released", action="store_true", help="with the published model, not the tiny one")
    parser.add_argument("--root", type=Path, metavar="FOLDER", help="where its paths start (default: the CSV's folder)")
    parser.add_argument("--limit", type=positive, metavar="N", help="makes no more than N of the rows without a clip")
    api_workflow.add_set(
        parser, "changes an input of the workflows, as sampler.steps=30; a row's own cells come after it"
    )
    parser.add_argument(
        "--wait",
        type=positive,
        default=60,
        metavar="SECONDS",
        help="how long to wait when no server answers any more (default: %(default)s)",
    )
    parser.add_argument("--check", action="store_true", help="checks the CSV and its files, and sends nothing")
    return parser


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def counted(names: Any) -> str:
    """2 dub, 1 joint"""
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(names).items()))


def clip_of(output: Path, row: Row) -> Path:
    return output / f"{row.id}.mp4"


def is_made(clip: Path) -> bool:
    """Whether a clip is there: a link is none, nor is an empty file."""
    return clip.is_file() and not clip.is_symlink() and clip.stat().st_size > 0


def still_to_make(rows: list[Row], requests: Requests, output: Path) -> tuple[list[Row], int]:
    """The rows without a clip or with one of other words, files or settings; and how many have theirs."""
    made_from = Report.read(output / REPORT)
    missing, changed = [], []
    for row in rows:
        if not is_made(clip_of(output, row)):
            missing.append(row)
        elif made_from.get(row.id, digest := requests.digest(row)) != digest:
            changed.append(row)
    if changed:
        names = ", ".join(row.id for row in changed[:5]) + (", ..." if len(changed) > 5 else "")
        print(f"changed since their clips were made, so made again: {names}", file=sys.stderr)
    wanted = {row.id for row in missing + changed}
    return [row for row in rows if row.id in wanted], len(rows) - len(wanted)


class Report:
    """A JSON object a line, added as each row ends: data_id, task, server, seconds, file or error, made_from and
    warnings."""

    def __init__(self, path: Path):
        self.path = path
        self.file: TextIO | None = None

    def __enter__(self) -> Report:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_symlink():
            raise ValueError(f"{self.path} is a link, and nothing is written through links: move it away")
        torn = self.path.is_file() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size
        self.file = self.path.open("a", encoding="utf-8")
        if torn:
            self.file.write("\n")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, **entry: Any) -> None:
        self.file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.file.flush()

    @staticmethod
    def read(path: Path) -> dict[str, str]:
        """What the latest clip of each row was made from; a line that was cut off counts as none."""
        found = {}
        for line in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []:
            try:
                entry = json.loads(line)
                if entry.get("file"):
                    found[entry["data_id"]] = entry["made_from"]
            except (ValueError, KeyError, AttributeError):
                continue
        return found


class Screen:
    """Lines that stay, and on a terminal one below them that tells what each server does."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}

    def state(self, server: str, text: str) -> None:
        self.states[server] = text
        if sys.stderr.isatty():
            shown = " | ".join(f"{name.partition('://')[2]} {text}" for name, text in self.states.items() if text)
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{shown[:width]}", end="", file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        clear = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{clear}{text}", file=sys.stderr, flush=True)


@dataclass
class Job:
    """A row on its way.

    began: when it was first tried, 0 before; tries, reasons: by server that did not make it; warnings: of the last try
    """

    row: Row
    began: float = 0
    tries: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Batch:
    """The rows that wait, and a worker for each server that takes them."""

    def __init__(
        self, rows: list[Row], servers: list[str], requests: Requests, report: Report, output: Path, wait: float
    ):
        """wait: seconds until a server is given up, where no other is at work"""
        self.waiting = deque(Job(row) for row in rows)
        self.count, self.running, self.made = len(rows), 0, 0
        self.failures: dict[str, str] = {}
        self.live = list(servers)  # not given up
        self.away: set[str] = set()  # of these, those that do not answer now
        self.heard = time.monotonic()  # when something was last at work
        self.requests, self.report, self.output, self.wait = requests, report, output, wait
        self.screen = Screen()

    async def run(self) -> None:
        """Until every row has a clip or has failed. Raises ``RunError`` if no server answers at the beginning."""
        if not self.waiting:
            return
        with contextlib.suppress(NotImplementedError, RuntimeError):  # Windows, a thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
        async with client.connect() as self.session:
            answers = await asyncio.gather(*(self.problem(server) for server in self.live))
            for server, problem in zip(self.live, answers, strict=True):
                if problem:
                    self.away.add(server)
                    self.screen.line(f"warning: no ComfyUI answers at {server} ({problem})")
            if len(self.away) == len(self.live):
                raise client.RunError("no server answers: nothing was queued")
            self.heard = time.monotonic()
            workers = [asyncio.create_task(self.work(server)) for server in self.live]
            try:  # `gather` would cancel them too, and a second time is in the way of stopping what runs
                await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                for worker in workers:
                    worker.cancel()
                answers = await asyncio.gather(*workers, return_exceptions=True)
            for error in filter(None, answers):
                raise error

    async def work(self, server: str) -> None:
        """Makes rows on one server as long as there are any."""
        while self.waiting or self.running:
            if server in self.away and not await self.back(server):
                return
            job = next((job for job in self.waiting if self.may(job, server)), None)
            if job is None:
                await asyncio.sleep(POLL)
                continue
            self.waiting.remove(job)
            self.running += 1
            try:
                await self.attempt(job, server)
            finally:
                self.running -= 1
                self.heard = time.monotonic()

    def may(self, job: Job, server: str) -> bool:
        return server in self.live and job.tries[server] < TRIES

    async def attempt(self, job: Job, server: str) -> None:
        """Makes one row, or puts it back if the fault is the server's."""
        began = time.monotonic()
        job.began = job.began or began
        try:
            digest = await self.make(job, server)
        except aiohttp.ClientConnectorError as error:  # it was away before, which is not the row's fault
            self.lost(server, str(error))
            self.put_back(job, server, str(error), 0)
        except (client.Gone, aiohttp.ClientError, asyncio.TimeoutError) as error:
            reason = str(error) or "it takes too long"
            self.lost(server, reason)
            self.put_back(job, server, reason, 1)
        except client.Failed as error:
            self.fail(job, server, str(error))
        except client.RunError as error:  # another server may have the nodes and models that this one lacks
            self.put_back(job, server, str(error), TRIES)
        else:
            self.made += 1
            path, seconds = clip_of(self.output, job.row), time.monotonic() - began
            warned = {"warnings": job.warnings} if job.warnings else {}
            self.tell(job.row, server, seconds, file=str(path), made_from=digest, **warned)
            self.screen.line(f"{self.progress()} {path} ({job.row.task}, {seconds:.0f} s on {server})")

    async def make(self, job: Job, server: str) -> str:
        """Saves the clip of a row, and tells what it was made from."""
        row, job.warnings = job.row, []
        workflow, uploads = self.requests.of(row)
        # a name of its own, so that the server saves again what it may remember
        workflow["save"]["inputs"]["filename_prefix"] = f"batch/{uuid.uuid4().hex[:8]}_{row.id}"

        def show(text: str) -> None:
            self.screen.state(server, f"{row.id}: {text}" if text else "")

        def warn(text: str) -> None:
            job.warnings.append(text)
            self.screen.line(f"warning: {row.id}: {text}")

        try:
            digest = self.requests.digest(row)
            outputs = await client.run(self.session, server, workflow, uploads, show, warn)
        except (aiohttp.ClientError, asyncio.TimeoutError):  # some are OSError too
            raise
        except OSError as error:
            raise client.Failed(f"a file of the row cannot be read: {error}") from error
        items = client.files({"save": outputs.get("save", {})})
        if not items:
            raise client.Failed("the workflow ended without a clip")
        content = await client.download(self.session, server, items[0])
        if not content:
            raise client.RunError("the server handed out an empty file")
        client.save(content, clip_of(self.output, row))
        return digest

    def put_back(self, job: Job, server: str, reason: str, tries: int) -> None:
        """Before the others, for a server that may still make it."""
        job.tries[server] += tries
        job.reasons[server] = reason
        self.waiting.appendleft(job)
        self.sweep()

    def sweep(self) -> None:
        """Rows that no server will make have failed."""
        for job in list(self.waiting):
            if not any(self.may(job, server) for server in self.live):
                self.waiting.remove(job)
                reasons = job.reasons or {"": f"no server answered for {self.wait:g} s"}
                several = len(reasons) > 1
                said = "; ".join(f"{server}: {reason}" if several else reason for server, reason in reasons.items())
                self.fail(job, ", ".join(job.reasons), said)

    def fail(self, job: Job, server: str, error: str) -> None:
        row, seconds = job.row, time.monotonic() - job.began if job.began else 0
        self.failures[row.id] = error
        self.tell(row, server, seconds, error=error)
        self.screen.line(f"{self.progress()} {row.id} failed ({row.task} on {server or 'no server'}): {error}")

    def tell(self, row: Row, server: str, seconds: float, **outcome: Any) -> None:
        self.report.add(data_id=row.id, task=row.task, server=server, seconds=round(seconds, 1), **outcome)

    def progress(self) -> str:
        return f"[{self.made + len(self.failures)}/{self.count}]"

    def lost(self, server: str, reason: str) -> None:
        self.away.add(server)
        self.screen.line(f"{server} is away ({reason})")

    async def back(self, server: str) -> bool:
        """Waits until a server answers again. False if no row is left, or nothing is at work for too long."""
        pause = 0.5
        while self.waiting or self.running:
            await asyncio.sleep(min(pause, self.wait / 4))
            if not await self.problem(server):
                self.away.discard(server)
                self.screen.line(f"{server} answers")
                return True
            if self.running:
                self.heard = time.monotonic()
            if time.monotonic() - self.heard > self.wait:
                self.screen.line(f"{server} is given up")
                self.live.remove(server)
                self.sweep()
                return False
            pause = min(2 * pause, LONGEST_PAUSE)
        return False

    async def problem(self, server: str) -> str:
        """Why a server cannot be used now, or nothing."""
        try:
            async with self.session.get(f"{server}/queue", timeout=PROBE) as response:
                await client.answer_of(response, "queue_running")
        except (aiohttp.ClientError, asyncio.TimeoutError, client.RunError, ValueError) as error:
            return str(error) or "it takes too long"
        return ""

    def sum_up(self, there: int) -> None:
        """What came of it, with every failure once more."""
        left = self.count - self.made - len(self.failures)
        parts = {"made": self.made, "there already": there, "failed": len(self.failures), "not made": left}
        said = ", ".join(f"{count} {name}" for name, count in parts.items() if count or name == "made")
        self.screen.line(f"{said}; report: {self.report.path}")
        for name, error in self.failures.items():
            self.screen.line(f"  {name}: {error}")


if __name__ == "__main__":
    sys.exit(main())
