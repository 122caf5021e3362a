"""Speech text: the release's tokens, padding, and files that are no vocabulary."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from uniavgen_core.config import RELEASE
from uniavgen_core.text import speech
from uniavgen_core.text.script import Script
from uniavgen_core.text.speech import empty_speech, tokenize
from uniavgen_core.text.vocabulary import Vocabulary

CASES = json.loads((Path(__file__).parent / "data" / "speech_text.json").read_text(encoding="utf-8"))
LETTERS = Vocabulary((" ", *"abcdefghijklmnopqrstuvwxyz"))


@pytest.mark.parametrize("case", CASES, ids=[case["text"] for case in CASES])
@pytest.mark.parametrize("auto", [False, True])
def test_tokens_are_the_release_s(case: dict, auto: bool) -> None:
    if case["lang"] == "zh":
        pytest.importorskip("jieba", reason="Chinese speech needs jieba and pypinyin")
        pytest.importorskip("pypinyin", reason="Chinese speech needs jieba and pypinyin")
    assert tokenize(case["text"], "auto" if auto else case["lang"]) == case["tokens"]


def test_ids_are_the_release_s() -> None:
    """With the published entries that the cases need at their lines, and others elsewhere."""
    entries = [" ", *(f"<{line}>" for line in range(1, RELEASE.speech_vocab))]
    for case in CASES:
        for token, line in zip(case["tokens"], case["ids"], strict=True):
            if line:
                entries[line] = token
    vocabulary = Vocabulary(tuple(entries))
    for case in CASES:
        assert vocabulary.encode(case["tokens"]) == case["ids"], case["text"]
        assert set(vocabulary.unknown(case["tokens"])) == {
            token for token, line in zip(case["tokens"], case["ids"], strict=True) if not line and token != " "
        }


def test_what_cannot_be_said_is_named_as_it_is_written() -> None:
    script = Script("Hello 今天, é! 今", LETTERS)
    assert script.unknown() == ["H", ",", "é", "!", "今", "天"]
    assert Script("今 a", LETTERS, "en").unknown() == ["今"]
    pinyin = Vocabulary((*LETTERS.entries, "jin1"))
    assert Script("今天", pinyin).unknown() == ["天"]
    with pytest.raises(ValueError, match="has none of '今', '天', and the speech has nothing else"):
        Script("今天。", LETTERS).check()


def test_english_ignores_the_rules_for_chinese() -> None:
    assert tokenize("a; “b”", "en") == ["a", ";", " ", "“", "b", "”"]
    assert tokenize("好", "en") == ["好"]


def test_a_word_after_an_opening_mark_gets_no_space() -> None:
    pytest.importorskip("jieba", reason="Chinese speech needs jieba and pypinyin")
    assert tokenize('"ok" no', "zh") == list('"ok" no')
    assert tokenize("(ok", "zh") == ["(", " ", "o", "k"]


def test_chinese_without_its_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    speech._chinese_tools.cache_clear()
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(ImportError, match="pip install jieba pypinyin"):
        tokenize("你好")
    assert tokenize("hello") == list("hello")


def test_unknown_language() -> None:
    with pytest.raises(ValueError, match="unknown language 'fr': choose one of auto, en, zh"):
        tokenize("bonjour", "fr")


def test_short_speech_is_filled_up_to_ten() -> None:
    ids = Script("ab!", LETTERS).ids()
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[1, 2, 0, *[-1] * 7]]
    assert Script("abcdefghijk", LETTERS).ids().tolist() == [list(range(1, 12))]
    assert empty_speech().tolist() == [[-1]]


def test_a_transcript_comes_before_the_text_in_both_passes() -> None:
    """The release: transcript, a space, text; without the text, the transcript and a space."""
    script = Script("de fghijkl", LETTERS, "en", "abc")
    assert script.ids().tolist() == [[1, 2, 3, 0, 4, 5, 0, *range(6, 13)]]
    assert script.negative_ids().tolist() == [[1, 2, 3, 0, *[-1] * 6]]
    assert script.saying("x").ids().tolist() == [[1, 2, 3, 0, 24, *[-1] * 5]]
    assert Script("de", LETTERS).negative_ids().tolist() == empty_speech().tolist()
    assert Script("é", LETTERS, "en", "ü").unknown() == ["ü", "é"]


def test_unknown_tokens_are_named_once_in_their_order() -> None:
    assert LETTERS.unknown("zürich ß ü") == ["ü", "ß"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_vocabulary_files_keep_their_spaces(tmp_path: Path, end: str, last: bool) -> None:
    path = tmp_path / "vocab.txt"
    entries = [" ", "a", "\u3000", "\x85", "\u2028", "b "]  # some would be line ends to str.splitlines
    path.write_bytes((end.join(entries) + end * last).encode())
    assert Vocabulary.from_file(path).entries == tuple(entries)


@pytest.mark.case("Files", "empty file")
@pytest.mark.case("Files", "HTML page in place of weights")
@pytest.mark.case("Files", "Git-LFS pointer in place of weights")
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty: download it again"),
        (b"a\nb\n", "first line must be a single space"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git-LFS pointer"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b" \n" + b"a" * (1 << 20), "has more than 1048576 bytes"),
        (b" \na\na\n", "'a' occurs twice"),
        (b" \n\xff\xfe\n", "not UTF-8"),
    ],
)
def test_other_files_are_no_vocabulary(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as error:
        Vocabulary.from_file(path)
    assert str(path) in str(error.value)


def test_lines_of_dashes_are_not_spoken() -> None:
    assert Script("ab\n---\n cd", LETTERS).tokens() == list("ab cd")
    assert Script("ab -- cd", LETTERS).tokens() == list("ab -- cd")


def test_nothing_to_say_is_what_the_unconditional_pass_says() -> None:
    for transcript in ("", "abc"):
        script = Script(" \n", LETTERS, transcript=transcript)
        assert torch.equal(script.ids(), script.negative_ids())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the speech is empty"),
        ("  \n\t", "the speech is empty"),
        ("\u200b", "the speech is empty"),
        ("\u3000", "the speech is empty"),
        ("...", "the speech is empty"),
        ("\n---\n", "the speech is empty"),
        ("éé", "has none of 'é', and"),
        ("ДА", "has none of 'Д', 'А', and"),
    ],
)
def test_what_has_nothing_to_say(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Script(text, LETTERS).check()
    Script("été", LETTERS).check()  # one letter of it is known
