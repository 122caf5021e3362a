"""Speech text: the release's tokens, padding, and files that are no vocabulary."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uniavgen_core.config import RELEASE
from uniavgen_core.text import speech
from uniavgen_core.text.script import Script, check_fits, check_voice, divide
from uniavgen_core.text.speech import check_written, empty_speech, tokenize
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny.load import VOCABULARY

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


@pytest.mark.case("Text", "unknown characters, named in a warning")
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


@pytest.mark.case("Life", "a missing optional package disables only what needs it")
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
        pytest.param("", "the speech is empty", marks=pytest.mark.case("Text", "empty")),
        ("  \n\t", "the speech is empty"),
        ("\u200b", "the speech is empty"),
        ("\u3000", "the speech is empty"),
        ("...", "the speech is empty"),
        pytest.param("\n---\n", "the speech is empty", marks=pytest.mark.case("Text", "empty")),
        ("éé", "has none of 'é', and"),
        ("ДА", "has none of 'Д', 'А', and"),
    ],
)
def test_what_has_nothing_to_say(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Script(text, LETTERS).check()
    Script("été", LETTERS).check()  # one letter of it is known


# anything that can be written

VOCABULARIES = (LETTERS, Vocabulary.from_file(VOCABULARY), Vocabulary((*LETTERS.entries, "ni3", "hao3", "，")))


def outcome(script: Script) -> str | None:
    """The sentence of a refusal, or None: ids in range, with everything that is not spoken named."""
    known = len(script.vocabulary)
    for ids in (script.ids(), script.negative_ids()):
        assert ids.dtype == torch.int64 and ids.shape[0] == 1 and ids.shape[1] >= 1
        assert int(ids.min()) >= -1 and int(ids.max()) < known
    unsaid = [token for token in script.vocabulary.unknown(script.tokens()) if not token.isspace()]
    assert bool(unsaid) == bool(script.unknown())
    try:
        script.check()
    except ValueError as error:
        return str(error)
    return None


def check_outcome(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    sentence, letters = outcome(script), [c for c in script.text if c.isalnum()]
    script.tell_unknown()
    told = [record.getMessage() for record in caplog.records]
    if sentence is not None:
        assert sentence.startswith("the speech is empty" if not letters else "this model's vocabulary has none of ")
        told.append(sentence)
    else:
        assert letters
    for line in told:
        assert line.isprintable() and len(line) < 600  # also as one line of a log, whatever the text holds
    assert bool(caplog.records) == bool(script.unknown())


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates and NUL too


@pytest.mark.case("Text", "any text at all: read with remarks, or refused in one sentence")
@given(ANY_TEXT, ANY_TEXT, st.sampled_from(speech.LANGUAGES), st.sampled_from(VOCABULARIES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_read_or_refused(caplog, text: str, transcript: str, language: str, vocabulary: Vocabulary) -> None:
    check_outcome(Script(text, vocabulary, language, transcript.strip()), caplog)


@pytest.mark.case("Text", "any text at all: read with remarks, or refused in one sentence")
@given(st.text(st.sampled_from("你好吗，。ab 1;“-\n\0\ud800😀א"), max_size=30), st.sampled_from(speech.LANGUAGES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mixture_with_chinese_is_read_or_refused(caplog, text: str, language: str) -> None:
    check_outcome(Script(text, VOCABULARIES[2], language), caplog)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("ab\0c", r"'\x00'", marks=pytest.mark.case("Text", "NUL")),
        pytest.param("ab\ud83dc", r"'\ud83d'", marks=pytest.mark.case("Text", "lone surrogates")),
        pytest.param("ab שלום", "'ש', 'ל', 'ו', 'ם'", marks=pytest.mark.case("Text", "right-to-left")),
        pytest.param("ab \u202ec", r"'\u202e'", marks=pytest.mark.case("Text", "right-to-left")),
        pytest.param("ab 😀", "'😀'", marks=pytest.mark.case("Text", "emoji")),
        pytest.param("ab 👩‍🚀", r"'👩', '\u200d', '🚀'", marks=pytest.mark.case("Text", "emoji")),
    ],
)
@pytest.mark.parametrize("language", speech.LANGUAGES)
def test_what_is_not_spoken_is_named(caplog, text: str, named: str, language: str) -> None:
    script = Script(text, LETTERS, language)
    script.check()
    script.tell_unknown()
    assert caplog.messages == [f"not in the model's vocabulary, so not spoken: {named}"]
    assert script.ids()[0, :2].tolist() == [1, 2]  # what is known is spoken all the same


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("שלום עולם", marks=pytest.mark.case("Text", "right-to-left")),
        pytest.param("\ud800\udfff", marks=pytest.mark.case("Text", "lone surrogates")),
        pytest.param("\0", marks=pytest.mark.case("Text", "NUL")),
        pytest.param("😀👍", marks=pytest.mark.case("Text", "emoji")),
    ],
)
def test_nothing_else_than_that_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(the speech is empty|this model's vocabulary has none of)") as error:
        Script(text, LETTERS).check()
    assert str(error.value).isprintable()


@pytest.mark.case("Text", "Chinese with language English")
def test_chinese_read_as_english_says_which_language_to_choose(caplog) -> None:
    """Letter by letter no Chinese character is known, also where its syllable is."""
    vocabulary = VOCABULARIES[2]
    Script("你好", vocabulary, "zh").check()
    with pytest.raises(ValueError, match=r"has none of '你', '好', .*; Chinese is read only where the language is zh"):
        Script("你好", vocabulary, "en").check()
    Script("ab 你好", vocabulary, "en").tell_unknown()
    assert caplog.messages[0].endswith("'你', '好'; Chinese is read only where the language is zh or auto, not en")
    with pytest.raises(ValueError, match="letters that it has") as error:
        Script("да", vocabulary, "en").check()
    assert "zh or auto" not in str(error.value)


@pytest.mark.case("Text", "ten thousand characters")
def test_ten_thousand_characters(caplog) -> None:
    """Encoded they are in no time, but nobody says them in a clip; 10 000 unknown ones do not flood the log."""
    for text in ("ab " * 3334, "a" * 10_000, "你好" * 5000):
        assert Script(text, VOCABULARIES[2]).ids().shape[1] >= 10_000
        with pytest.raises(ValueError, match=r"takes about \d+ s to say and the clip lasts 5.1 s: shorten it, or ask"):
            check_fits(text, 5.0625)
        assert len(divide(text, [1.0] * 100)) == 100
    Script("a" + "".join(map(chr, range(0xAC00, 0xAC00 + 10_000))), LETTERS).tell_unknown()
    assert caplog.messages[0].endswith("'갓' and 9980 more")


@pytest.mark.parametrize(
    ("transcript", "seconds"), [("hello there, it is me again", 0.5), ("a", 0.0001), ("ab " * 3334, 100.0)]
)
@pytest.mark.case("Text", "wrong transcript")
def test_a_transcript_that_no_one_can_say_in_the_voice(transcript: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=r"the transcript takes about .* give what is said in this voice, word for"):
        check_voice(transcript, seconds)


@pytest.mark.case("Text", "wrong transcript")
def test_a_transcript_that_is_much_too_short_is_doubted(caplog) -> None:
    check_voice("hello there", 8.0)
    assert not caplog.messages
    check_voice("hello there", 12.0)
    assert caplog.messages == [
        "the transcript takes about 0.7 s to say and the reference voice lasts 12.0 s: words that it leaves out are "
        "lost or said twice in the clip"
    ]


@pytest.mark.case("Media", "conditioning that is too long")
def test_a_voice_can_be_too_long(caplog) -> None:
    check_voice("ab " * 250, 45.0)
    assert caplog.messages == ["the reference voice lasts 45 s: some seconds are enough, more only take time"]
    with pytest.raises(ValueError, match="the reference voice lasts 121 s: cut some seconds of speech out of it"):
        check_voice("ab " * 250, 121.0)


@pytest.mark.case("Text", "lone surrogates")
def test_halves_of_characters_in_a_caption() -> None:
    """No encoder reads them: SentencePiece fails in its own words, others put a question mark there silently."""
    assert check_written("caption", "été \0 שלום 😀") == "été \0 שלום 😀"
    with pytest.raises(
        ValueError, match=r"the caption holds '\\ud83d', half a character .* at place 3: write it again"
    ):
        check_written("caption", "a \ud83d face")
