"""One question to a service over HTTP: asked again where that may help, with pauses that the service can choose."""

from __future__ import annotations

import asyncio
import io
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from ..recording import Unmeasurable
from .answers import Declined, Unusable, plain
from .services import Broken, Service, dig

LARGEST_ANSWER = 1_000_000  # bytes
LONGEST_WAIT = 300.0  # seconds that a service may ask for before the whole command ends
FIRST_WAIT = 2.0  # seconds; doubles
CONNECT_TIME = 30.0  # seconds
SPENT = ("PerDay", "insufficient_quota")  # in a 429 of the Gemini API and of OpenAI: waiting does not help


class Stop(Exception):
    """A sentence: no clip would get an answer (wrong key, no credit, unknown model, nobody there)."""


@dataclass(frozen=True)
class Patience:
    """tries: requests for one answer, if the network or the service fails; answers: for one run, if they are no use
    timeout: seconds for one request, from the first byte sent to the last one got; sleep: seconds -> waits
    """

    tries: int = 4
    answers: int = 3
    timeout: float = 180.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True)
class _Reply:
    status: int
    headers: Mapping[str, str]  # names in any case
    data: bytes


class _Again(Exception):
    """wait: seconds that the service asks for; hopeless: whether other clips would fail alike"""

    def __init__(self, reason: str, wait: float | None = None, hopeless: bool = False):
        super().__init__(reason)
        self.wait, self.hopeless = wait, hopeless


async def ask(session: aiohttp.ClientSession, service: Service, body: bytes, patience: Patience) -> str:
    """What the model says to a request.

    Raises `Declined`, `Unusable` or another `Unmeasurable` with the reason of the last failure, and `Stop`. The key
    goes to the service's own address alone (redirections are not followed), and is in no message.
    """
    for attempt in range(patience.tries):
        try:
            reply = await _post(session, service, body, patience.timeout)
            return service.text(_checked(reply, service))
        except Broken as error:
            failure = _Again(f"the service broke off: {error}")
        except _Again as error:
            failure = error
        if failure.wait and failure.wait > LONGEST_WAIT:
            raise Stop(f"{failure}; it asks to wait {failure.wait:.0f} s: try again later")
        if attempt + 1 < patience.tries:
            await patience.sleep(FIRST_WAIT * 2**attempt if failure.wait is None else failure.wait)
    message = f"{failure}, {patience.tries} times in a row"
    raise Stop(message) if failure.hopeless else Unmeasurable(message)


async def _post(session: aiohttp.ClientSession, service: Service, body: bytes, timeout: float) -> _Reply:
    address = urlsplit(service.url)
    proxy = None if proxy_bypass(address.hostname or "") else getproxies().get(address.scheme)
    if proxy and not proxy.startswith(("http://", "https://")):
        raise Stop(f"the proxy that the environment names for {address.scheme} is none of http: name one, or none")
    headers = {"Content-Type": "application/json", **service.headers}
    limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, CONNECT_TIME))
    try:
        async with session.post(
            service.url, data=io.BytesIO(body), headers=headers, timeout=limits, allow_redirects=False, proxy=proxy
        ) as response:
            data = bytearray()
            async for chunk in response.content.iter_any():
                data += chunk
                if len(data) > LARGEST_ANSWER:
                    raise Unusable(f"it is larger than {LARGEST_ANSWER} bytes")
            return _Reply(response.status, response.headers.copy(), bytes(data))
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise _Again(f"there is no connection to {address.netloc}", hopeless=True) from error
    except asyncio.TimeoutError as error:
        raise _Again(f"no whole answer came within {timeout:g} s") from error
    except aiohttp.ClientError as error:
        raise _Again(f"the connection broke ({type(error).__name__})") from error


def _checked(reply: _Reply, service: Service) -> object:
    """The JSON of an answer that tells of no error; services tell of errors by the status, or within a good answer."""
    content = _json(reply.data)
    error, status = dig(content, "error"), reply.status
    if status == 200 and error is not None:
        code = dig(error, "code")
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    host = urlsplit(service.url).netloc
    if 300 <= status < 400:
        target = urlsplit(reply.headers.get("Location", "")).netloc or "an address of its own"
        raise Stop(f"{host} sends requests on to {plain(target, 80)}: if you trust that, give it as the endpoint")
    if status != 200:
        raise _error(status, reply, content, f"{host} answers {status}{_told(reply, content, service.key)}")
    if content is None:
        raise Unusable(f"it is no JSON: {_excerpt(reply.data, service.key, 150)}")
    return content


def _error(status: int, reply: _Reply, content: object, message: str) -> Exception:
    """What an error means for the clip and for the others."""
    text = reply.data.decode("utf-8", "replace")
    if status == 403 and dig(content, "error", "metadata", "reasons"):  # OpenRouter's moderation
        return Declined(f"the service blocked the request: {message}")
    if status in (401, 403) or (status == 400 and "API_KEY_INVALID" in text):
        return Stop(f"{message}: check the key, and whether it may use the model")
    if status == 402 or (status == 429 and any(sign in text for sign in SPENT)):
        return Stop(f"{message}: the quota is used up: try again with a new one")
    if status == 404:
        return Stop(f"{message}: check endpoint and model")
    if status == 429:
        return _Again(f"{message} (rate limit)", _asked_wait(reply, content))
    if status in (408, 425) or status >= 500:
        return _Again(message, _asked_wait(reply, content))
    return Unmeasurable(message)


def _asked_wait(reply: _Reply, content: object) -> float | None:
    """Seconds: of Retry-After (a number or a date), or of ``retryDelay`` in an error of the Gemini API."""
    details = dig(content, "error", "details")
    delays = [dig(detail, "retryDelay") for detail in details] if isinstance(details, list) else []
    delays = [delay.removesuffix("s") for delay in delays if isinstance(delay, str)]
    for text in (reply.headers.get("Retry-After", ""), *delays):
        try:
            seconds = float(text)
        except ValueError:
            try:
                seconds = (parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds()
            except (ValueError, TypeError):
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _told(reply: _Reply, content: object, key: str) -> str:
    """: what the service says of an error, if it says anything."""
    says = [dig(content, "error", "message"), dig(content, "error"), dig(content, "message"), dig(content, "detail")]
    text = next((text for text in says if isinstance(text, str) and text), None)
    shown = _excerpt(reply.data if text is None else text.encode(), key, 200)
    return f": {shown}" if shown else ""


def _excerpt(data: bytes, key: str, longest: int) -> str:
    text = data.decode("utf-8", "replace")
    return plain(text.replace(key, "***") if key else text, longest)
