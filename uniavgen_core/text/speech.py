"""What is said, as tokens: characters for English, pinyin syllables with their tone for Chinese.

speech -> tokenize -> Vocabulary.encode -> pad_ids -> ids [1, N]
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

FILLER = -1
MIN_TOKENS = 10
LANGUAGES = ("auto", "en", "zh")

IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_CHINESE_PUNCTUATION = str.maketrans({";": ",", "“": '"', "”": '"', "‘": "'", "’": "'"})
_OPENING = (" ", ":", "'", '"')  # after these a foreign word gets no space


def tokenize(text: str, language: str = "auto") -> list[str]:
    """Speech text -> tokens, as the release does (spec: signals, speech).

    language: "en" keeps every character as it is; "zh" turns Chinese into pinyin, with a space before every
        syllable and before a foreign word; "auto" is "zh" if the text holds a Chinese character.
    Raises ``ValueError`` for an unknown language and ``ImportError`` if Chinese needs a package that is missing.
    """
    if language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}: choose one of {', '.join(LANGUAGES)}")
    if language == "en" or (language == "auto" and not IDEOGRAPH.search(text)):
        return list(text)
    return list(_chinese_tokens(text.translate(_CHINESE_PUNCTUATION)))


def spoken_words(text: str) -> list[str]:
    """What is said, word for word in Latin letters: Chinese as its pinyin syllables. Lines of dashes are no words."""
    words = []
    for word in text.split():
        read = "".join(_chinese_tokens(word)).split() if IDEOGRAPH.search(word) else [word]
        words += [part for part in read if any(c.isalnum() for c in part)]
    return words


def pad_ids(ids: list[int]) -> Tensor:
    """Ids -> [1, N] int64, N >= 10, short texts filled up with -1."""
    return torch.tensor([ids + [FILLER] * (MIN_TOKENS - len(ids))], dtype=torch.int64)


def empty_speech() -> Tensor:
    """The speech of the unconditional pass: ids [1, 1], filler.

    The release takes ten, which say the same: all have the same value in attention. Attention to one is free.
    """
    return torch.full((1, 1), FILLER, dtype=torch.int64)


def check_speech(text: str) -> str:
    """Returns the text unchanged if it has something to say, else raises ``ValueError``."""
    if not any(c.isalnum() for c in text):
        raise ValueError("the speech is empty: write what the person says, in words")
    return text


def check_written(name: str, text: str) -> str:
    """Returns the text unchanged if it can be written to a file, else raises ``ValueError``: JSON and the command line
    let halves of characters through."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the {name} holds {text[error.start]!r}, half a character or one of another encoding, at place "
            f"{error.start + 1}: write it again, in UTF-8"
        ) from error
    return text


def _chinese_tokens(text: str) -> Iterator[str]:
    cut, pinyin = _chinese_tools()
    last = None
    for word in cut(text):
        tokens = _word_tokens(word, pinyin)
        if word.isascii() and len(word) > 1 and last is not None and last not in _OPENING:
            tokens = [" ", *tokens]
        yield from tokens
        last = tokens[-1] if tokens else last


def _word_tokens(word: str, pinyin: Callable[[str], list[str]]) -> list[str]:
    """One segment -> tokens. A wholly Chinese word is read as a whole, so tones and readings depend on each other."""
    syllables = pinyin(word) if all(_three_bytes(c) for c in word) else []
    if len(syllables) != len(word):  # Latin, mixed, or with characters that have no reading
        syllables = [pinyin(c)[0] if _is_chinese(c) else c for c in word]
    pairs = zip(word, syllables, strict=True)
    return [token for c, syllable in pairs for token in ([" ", syllable] if _is_chinese(c) else [syllable])]


def _is_chinese(character: str) -> bool:
    return "\u3100" <= character <= "\u9fff"  # the range of the release; not the same as IDEOGRAPH


def _three_bytes(character: str) -> bool:
    return 0x800 <= ord(character) <= 0xFFFF  # in UTF-8: the release's test for a wholly Chinese word


@lru_cache(maxsize=1)
def _chinese_tools() -> tuple[Callable[[str], Iterator[str]], Callable[[str], list[str]]]:
    """(segmentation into words, pinyin of a word). The segmenter is an own one: no one else adds words to it."""
    try:
        import jieba
        from pypinyin import Style, lazy_pinyin
    except ImportError as error:
        raise ImportError(
            f"Chinese speech needs the package {error.name}, which is not installed: run `pip install jieba pypinyin`"
        ) from error
    jieba.setLogLevel(logging.WARNING)  # else it reports on stderr how it loads its dictionary

    def pinyin(word: str) -> list[str]:
        return lazy_pinyin(word, style=Style.TONE3, tone_sandhi=True)

    return jieba.Tokenizer().cut, pinyin
