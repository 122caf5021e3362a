"""Two kinds of services behind one interface: the Gemini API, and chat completions as OpenAI and many others have them.

Sources: ai.google.dev/api (generateContent), developers.openai.com/api/reference (chat completions), docs.vllm.ai
(multimodal inputs) and openrouter.ai/docs (videos, errors). A video in a chat completion (``video_url``) is an addition
of vLLM and OpenRouter; OpenAI itself takes pictures and sound. vLLM shows a model only the pictures of a video.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol
from urllib.parse import quote, urlsplit

from .answers import Declined, Unusable, plain
from .media import Media, Part

GEMINI_BLOCKS = {"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"}


class Broken(Exception):
    """The service said that its answer was cut short by an error of its own: it may work the next time."""


class Service(Protocol):
    """model: its name there; key: sent to ``url`` alone; endpoint: address that requests begin with
    largest: bytes of a request that it takes, encoded; None where that is not known
    picks_rate: whether it can be told how many pictures of a video a second the model is to see
    """

    model: str
    key: str
    endpoint: str
    largest: ClassVar[int | None]
    picks_rate: ClassVar[bool]

    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """They hold the key."""
        ...

    def body(self, media: Media, rubric: str) -> dict[str, Any]:
        """The request, as JSON."""
        ...

    def text(self, reply: object) -> str:
        """What the model said, out of an answer of any form.

        Raises `Declined` if it was kept from answering, `Unusable` if it said nothing, `Broken`.
        """
        ...


@dataclass(frozen=True)
class Gemini:
    """A model of the Gemini API; the model sees ``media.fps`` pictures a second (the API's own default is 1)."""

    model: str
    key: str = field(repr=False)
    endpoint: str = "https://generativelanguage.googleapis.com/v1beta"
    largest: ClassVar[int | None] = 100_000_000  # since January 2026; 20 MB before
    picks_rate: ClassVar[bool] = True

    @property
    def url(self) -> str:
        return f"{self.endpoint}/models/{quote(self.model.removeprefix('models/'), safe='')}:generateContent"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"x-goog-api-key": self.key}

    def body(self, media: Media, rubric: str) -> dict[str, Any]:
        parts = [self._part(part, media.fps) for part in media.parts]
        return {
            "contents": [{"role": "user", "parts": [*parts, {"text": _told(media, rubric)}]}],
            "generationConfig": {"responseMimeType": "application/json"},
        }

    @staticmethod
    def _part(part: Part, fps: float | None) -> dict[str, Any]:
        shown: dict[str, Any] = {"inlineData": {"mimeType": part.mime, "data": part.encoded}}
        return shown | {"videoMetadata": {"fps": fps}} if part.kind == "video" and fps else shown

    def text(self, reply: object) -> str:
        if block := dig(reply, "promptFeedback", "blockReason"):
            raise Declined(f"the service blocked the request: {plain(str(block), 80)}")
        finish = dig(reply, "candidates", 0, "finishReason")
        if isinstance(finish, str) and finish in GEMINI_BLOCKS:
            raise Declined(f"the service blocked the answer: {finish}")
        parts = dig(reply, "candidates", 0, "content", "parts")
        said = [dig(part, "text") for part in parts if not dig(part, "thought")] if isinstance(parts, list) else []
        return _said("".join(text for text in said if isinstance(text, str)), finish)


@dataclass(frozen=True)
class OpenAI:
    """A model behind an address that takes OpenAI's chat completions."""

    model: str
    key: str = field(repr=False)
    endpoint: str
    largest: ClassVar[int | None] = None
    picks_rate: ClassVar[bool] = False

    @property
    def url(self) -> str:
        return f"{self.endpoint}/chat/completions"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def body(self, media: Media, rubric: str) -> dict[str, Any]:
        content = [{"type": "text", "text": _told(media, rubric)}, *map(self._part, media.parts)]
        return {"model": self.model, "messages": [{"role": "user", "content": content}]}

    @staticmethod
    def _part(part: Part) -> dict[str, Any]:
        if part.kind == "sound":
            return {"type": "input_audio", "input_audio": {"data": part.encoded, "format": "wav"}}
        name = {"video": "video_url", "picture": "image_url"}[part.kind]
        return {"type": name, name: {"url": part.url}}

    def text(self, reply: object) -> str:
        choice = dig(reply, "choices", 0)
        finish, said = dig(choice, "finish_reason"), dig(choice, "message", "content")
        if refusal := dig(choice, "message", "refusal"):
            raise Declined(f"the model refused: {plain(str(refusal), 200)}")
        if finish == "content_filter":
            raise Declined("the service blocked the answer: content_filter")
        if finish == "error" or dig(choice, "error"):
            reason = dig(choice, "error", "message")
            raise Broken(plain(reason if isinstance(reason, str) else "no reason given", 200))
        if isinstance(said, list):
            said = "".join(text for part in said if isinstance(text := dig(part, "text"), str))
        return _said(said if isinstance(said, str) else "", finish)


SERVICES: dict[str, type[Gemini] | type[OpenAI]] = {"gemini": Gemini, "openai": OpenAI}


def address(endpoint: str) -> str:
    """An endpoint without a slash at its end. Raises ``ValueError`` if it is none, or holds what may be a secret."""
    try:
        parts = urlsplit(endpoint)
        fit = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        fit = False
    if not fit:
        raise ValueError(f"the endpoint {endpoint} is none: give an address as https://HOST/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an endpoint is scheme, host and path alone: the key belongs into an environment variable")
    return endpoint.rstrip("/").removesuffix("/chat/completions")


def dig(value: object, *path: str | int) -> Any:
    """What lies at a path of names and places in JSON; None if anything on the way is missing or of another kind."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def _told(media: Media, rubric: str) -> str:
    return f"{media.note}\n\n{rubric}" if media.note else rubric


def _said(text: str, finish: object) -> str:
    if not text.strip():
        raise Unusable(f"it is empty (the model stopped because of {plain(str(finish), 40)})")
    return text
