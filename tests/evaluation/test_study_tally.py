"""Answers of a study -> shares of votes and their intervals; what is no answer is named."""

from __future__ import annotations

import json

import pytest
from scipy.stats import binomtest

from evaluation.__main__ import main
from evaluation.studying import tally
from evaluation.studying.key import CRITERIA, Key, Made, Question, read_key


def key_of(questions: int = 2, methods: tuple[str, ...] = ("A", "B|b")) -> Key:
    found = [
        Question(f"q{i}", f"clip{i}", tuple(Made(f"q{i}m{j}", method, -20.0, 0.0) for j, method in enumerate(methods)))
        for i in range(questions)
    ]
    return Key("0123", "Title", 1, methods, tuple(found))


def sheet(number: int, choices: dict[tuple[int, str], int], **changes) -> str:
    """choices: (question, criterion) -> index of the method"""
    answers = [
        {
            "question": f"q{i}",
            "criterion": criterion,
            "choice": f"q{i}m{j}",
            "shown": [f"q{i}m1", f"q{i}m0"],
            "seconds": 2,
        }
        for (i, criterion), j in choices.items()
    ]
    return json.dumps({"study": "0123", "participant": f"{number:016x}", "answers": answers} | changes)


def every(method: int) -> dict[tuple[int, str], int]:
    return {(i, criterion): method for i in range(2) for criterion in CRITERIA}


def test_shares_and_intervals(tmp_path):
    for participant in range(8):  # all prefer A's sound, two of eight A's pictures, each is torn about coherence
        choices = {(i, "audio"): 0 for i in range(2)} | {(i, "video"): int(participant > 1) for i in range(2)}
        choices |= {(0, "coherence"): 0, (1, "coherence"): 1}
        (tmp_path / f"{participant}.json").write_text(sheet(participant, choices))
    found = tally.count(tmp_path, key_of())
    audio, video, both = (found.share("A", criterion) for criterion in CRITERIA)
    assert (audio.votes, audio.of, audio.share) == (16, 16, 1)
    wilson = binomtest(8, 8).proportion_ci(0.95, method="wilson")
    assert (audio.low, audio.high) == pytest.approx((wilson.low, wilson.high))  # 8 people, not 16 votes
    assert (video.votes, video.of, video.share) == (4, 16, 0.25)
    assert (video.low, video.high) == (0.0, 0.625)  # quantiles of a binomial of 8 people at 1/4
    assert both.share == 0.5 and both.low == pytest.approx(1 - both.high)
    assert found.share("B|b", "video").share == 0.75
    assert "| A | 100.0 % [67.6 %, 100.0 %] | 25.0 % [0.0 %, 62.5 %] |" in found.text()
    assert "| B\\|b |" in found.text() and "by chance: 50.0 %" in found.text()
    assert {vote.place for vote in found.votes if vote.method == "A"} == {2}


def test_those_who_answer_more_count_more(tmp_path):
    (tmp_path / "a.json").write_text(sheet(1, {(0, "audio"): 0, (1, "audio"): 0}))
    (tmp_path / "b.json").write_text(sheet(2, {(0, "audio"): 1}))
    found = tally.count(tmp_path, key_of())
    assert found.share("A", "audio").share == pytest.approx(2 / 3)
    assert found.share("A", "video") is None
    assert "a.json holds 2 of 6 answers, which count" in found.notices


def test_a_single_participant_has_no_interval(tmp_path):
    (tmp_path / "a.json").write_text(sheet(1, every(0)))
    found = tally.count(tmp_path, key_of())
    assert found.share("A", "audio").low is None
    assert "| A | 100.0 % |" in found.text()


def test_a_participant_counts_once(tmp_path):
    (tmp_path / "a.json").write_text(sheet(1, {(0, "audio"): 1}))
    (tmp_path / "b.json").write_text(sheet(1, every(0)))
    (tmp_path / "c.json").write_text(sheet(1, every(0)))
    found = tally.count(tmp_path, key_of())
    assert len(found.participants) == 1 and len(found.votes) == 6
    assert found.notices == ("participant 0000000000000001 is there 3 times: b.json counts, not a.json, c.json",)
    assert not found.refused


def answer(**changes) -> list[dict]:
    plain = {"question": "q0", "criterion": "audio", "choice": "q0m0", "shown": ["q0m0", "q0m1"], "seconds": 1}
    return [plain | changes]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (sheet(2, every(0), study="9999"), "another study ('9999')"),
        (sheet(2, every(0))[:100], "damaged"),
        ("[]", "damaged"),
        ("[" * 100_000, "damaged"),
        (sheet(2, {}, participant="../x"), "names no participant"),
        (sheet(2, {}, answers={}), "no list"),
        (sheet(2, {}, answers=["x"]), "answer 1 is damaged"),
        (sheet(2, {}, answers=answer(question="q7")), "answer 1 is damaged"),
        (sheet(2, {}, answers=answer(question=["q0"])), "answer 1 is damaged"),
        (sheet(2, {}, answers=answer(criterion="taste")), "none that could be given"),
        (sheet(2, {}, answers=answer(criterion=["audio"])), "answer 1 is damaged"),
        (sheet(2, {}, answers=answer(choice="q1m0")), "none that could be given"),
        (sheet(2, {}, answers=answer(shown=["q0m0"])), "none that could be given"),
        (sheet(2, {}, answers=answer(seconds=float("nan"))), "none that could be given"),
        (sheet(2, {}, answers=answer(seconds="soon")), "answer 1 is damaged"),
        (sheet(2, {}, answers=answer() * 2), "answers a question twice"),
        ("\udcff", "damaged"),
    ],
)
def test_what_is_no_answer_is_named_and_left_out(tmp_path, text, said):
    (tmp_path / "good.json").write_text(sheet(1, every(1)))
    (tmp_path / "bad.json").write_bytes(text.encode(errors="surrogateescape"))
    found = tally.count(tmp_path, key_of())
    assert len(found.refused) == 1 and found.refused[0].startswith("bad.json: ") and said in found.refused[0]
    assert len(found.votes) == 6
    assert "1 files were left out" in found.text()


def test_the_command_writes_the_tables(tmp_path, capsys):
    (tmp_path / "answers").mkdir()
    (tmp_path / "key.json").write_text(key_of().text())
    words = ["study", "tally", str(tmp_path / "answers"), "--key", str(tmp_path / "key.json")]
    assert main(words) == 2
    assert "there is no answer to study 0123" in capsys.readouterr().err
    (tmp_path / "answers" / "a.json").write_text(sheet(1, every(0)))
    assert main([*words, "--output", str(tmp_path / "answers")]) == 2
    assert main(words) == 0
    folder = tmp_path / "answers" / "tally"
    assert (folder / "study.md").read_text().startswith("| method | audio quality ↑ |")
    assert json.loads((folder / "study.json").read_text())["shares"][0] == {
        **{"method": "A", "criterion": "audio", "votes": 2, "of": 2, "share": 1.0, "low": None, "high": None}
    }
    assert (folder / "study.csv").read_text().splitlines()[1] == "0000000000000001,clip0,audio,A,2,2.0"
    (tmp_path / "answers" / "b.json").write_text("{")
    assert main(words) == 1
    assert "b.json: it is damaged" in capsys.readouterr().out


def test_a_key_that_is_none_is_refused(tmp_path):
    (tmp_path / "key.json").write_text('{"study": 1}')
    with pytest.raises(ValueError, match="is not the key of a study"):
        read_key(tmp_path / "key.json")
