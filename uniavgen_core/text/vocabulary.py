"""The list of speech tokens the model knows; a token's id is its line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..files import impostor_of, read_small

MOST_BYTES = 1 << 20  # of a vocabulary: the released one has 11 thousand
RELEASED_SHA256 = "4e173934be56219eb38759fa8d4c48132d5a34454f0c44abce409bcf6a07ec46"  # with LF line ends
UNKNOWN = 0  # released behaviour: an unknown token is looked up as line 0, the space


@dataclass(frozen=True)
class Vocabulary:
    """Speech tokens in the order of their ids. Entry 0 is the space, which also stands for unknown tokens.

    The published weights need the 2545 entries of F5-TTS `Emilia_ZH_EN_pinyin`. Raises ``ValueError`` when entry 0
    is not a space or an entry occurs twice.
    """

    entries: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", {token: index for index, token in enumerate(self.entries)})
        if not self.entries or self.entries[0] != " ":
            raise ValueError("not a speech vocabulary: its first line must be a single space")
        if len(self._ids) != len(self.entries):
            twice = next(token for index, token in enumerate(self.entries) if self._ids[token] != index)
            raise ValueError(f"not a speech vocabulary: the entry {twice!r} occurs twice")

    @classmethod
    def from_file(cls, path: str | Path) -> Vocabulary:
        """Reads one entry a line, UTF-8, with LF or CRLF line ends. Raises ``ValueError`` with a sentence."""
        data = read_small(Path(path), MOST_BYTES)
        if not data.startswith(b" ") and (sentence := impostor_of(data)):
            raise ValueError(f"{path} {sentence}")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a speech vocabulary: it is not UTF-8 text") from error
        # only these line ends count: str.splitlines would also split at characters that are entries
        lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        try:
            return cls(tuple(lines))
        except ValueError as error:
            raise ValueError(f"{path} is {error}") from error

    @classmethod
    def released(cls, path: str | Path) -> Vocabulary:
        """The vocabulary the published weights speak by. Raises ``ValueError`` for any other."""
        if text_sha256(read_small(Path(path), MOST_BYTES)) != RELEASED_SHA256:
            raise ValueError(
                f"{path} is not the vocabulary of the published weights, which would speak wrong words by it: remove "
                "it and fetch the right one with `python -m uniavgen_core download vocabulary`"
            )
        return cls.from_file(path)

    def __len__(self) -> int:
        return len(self.entries)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids of the tokens; 0 for a token that is not in the vocabulary."""
        return [self._ids.get(token, UNKNOWN) for token in tokens]

    def unknown(self, tokens: Iterable[str]) -> list[str]:
        """The distinct tokens that are not in the vocabulary, in the order they occur."""
        return [token for token in dict.fromkeys(tokens) if token not in self._ids]


def text_sha256(data: bytes) -> str:
    """SHA-256 of a text, the same for LF and CRLF line ends."""
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()
