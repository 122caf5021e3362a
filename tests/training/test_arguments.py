"""What the commands of training refuse before anything is made."""

from __future__ import annotations

import pytest

pytest.importorskip("espeakng_loader")

from training import __main__ as command


@pytest.mark.parametrize("name", ["tiny", "further"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--device", "foo"], "the device 'foo' cannot be used here"),
        (["--seed", "-1"], "it must be 0 to 4294967295, not -1"),
        (["--seed", str(2**64)], "it must be 0 to 4294967295"),
        (["--processes", "0"], "it must be 1 or more, not 0"),
        (["--processes", "two"], "invalid whole number value: 'two'"),
    ],
)
def test_both_trainings(name: str, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    refuse(name, words, sentence, capsys)


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("further", ["--steps", "0"], "it must be 1 or more, not 0"),
        ("further", ["--steps", "-1"], "it must be 1 or more, not -1"),
        ("further", ["--tokens", "0"], "it must be 1 or more, not 0"),
        ("further", ["--makers", "-1"], "it must be 0 or more, not -1"),
        ("further", ["--rate", "nan"], "it must be a number above 0, not nan"),
        ("measure", ["--clips", "0"], "it must be 1 or more, not 0"),
        ("measure", ["--seeds", "0"], "it must be 1 or more, not 0"),
        ("measure", ["--scales", "2", "-1"], "it must be a number above 0, not -1"),
        ("words", ["--utterances", "0"], "it must be 1 or more, not 0"),
    ],
)
def test_numbers(name: str, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    refuse(name, words, sentence, capsys)


def refuse(name: str, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([name, *words])
    assert ended.value.code == 2
    assert f"argument {words[0]}: " in (said := capsys.readouterr().err) and sentence in said
