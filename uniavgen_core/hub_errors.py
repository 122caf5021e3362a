"""What a download can end in -> one sentence that says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .whole import FULL

# huggingface_hub speaks HTTP through another package in each major version; these hold its errors of the network
NETWORK = {"httpx2", "httpx", "httpcore2", "httpcore", "requests", "urllib3"}
AGAIN = "ask again later; what has arrived is kept"
LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may read it"


@contextmanager
def in_words(repository: str, revision: str | None, target: Path | None = None) -> Iterator[None]:
    """Turns the errors of huggingface_hub, of the network and of a full disk into ``ValueError`` with a sentence.

    target: the file that was to be written; None while the repository is listed
    The sentence stands alone: what lies behind it can hold the user's token.
    """
    try:
        yield
    except Exception as error:
        sentence = _sentence(error, repository, revision, target)
        if sentence is None:
            raise
        raise ValueError(_without_token(sentence)) from None


def _sentence(error: Exception, repository: str, revision: str | None, target: Path | None) -> str | None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return f"{repository} cannot be reached because HF_HUB_OFFLINE is set: unset it to download"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return _answer(error, status, repository, revision, target)
    if isinstance(error, OSError) and error.errno in FULL:
        return f"the disk of {target} is full: free some space and ask again; what has arrived is kept"
    if isinstance(error, json.JSONDecodeError):
        return f"something else than the Hugging Face Hub answered for {repository}: check the network's login page"
    if _is_network(error):
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        return f"there is no connection to the Hugging Face Hub for {repository} ({reason}): check the network, {AGAIN}"
    if isinstance(error, UnicodeEncodeError):
        return "the token of HF_TOKEN or `hf auth login` holds characters that no token has: set it again"
    return None


def _answer(error: Exception, status: int, repository: str, revision: str | None, target: Path | None) -> str:
    """For an answer of the Hub that is an error."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    kinds = (
        (
            GatedRepoError,
            f"{repository} wants its terms accepted first: do so on its page on the Hugging Face Hub, and {LOGIN}",
        ),
        (RevisionNotFoundError, f"{repository} has no revision {revision!r}: choose a branch, tag or commit it has"),
        (EntryNotFoundError, f"{repository} does not hold the file for {target} any more: look there, and {AGAIN}"),
        (
            RepositoryNotFoundError,
            f"the Hugging Face Hub shows no repository {repository} ({status}): it was moved, or is private: {LOGIN}",
        ),
    )
    for kind, sentence in kinds:
        if isinstance(error, kind):
            return sentence
    if status in (401, 403):
        return f"the Hugging Face Hub refuses {repository} ({status}): {LOGIN}"
    if status == 404:
        return f"the Hugging Face Hub does not find {target or repository} ({status}): check its name"
    if status == 429:
        return f"the Hugging Face Hub wants fewer requests ({status}): wait some minutes; {LOGIN} for more of them"
    if status >= 500:
        return f"the Hugging Face Hub is out of order ({status}): {AGAIN}"
    return f"the Hugging Face Hub refuses {repository} ({status}): {AGAIN}"


def _is_network(error: Exception) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError)) or type(error).__module__.partition(".")[0] in NETWORK


def _without_token(sentence: str) -> str:
    """A header that cannot be sent is quoted by some errors."""
    from huggingface_hub import get_token

    token = get_token()
    return sentence.replace(token, "***") if token else sentence
