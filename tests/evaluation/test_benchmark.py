"""Made-up copies of GRID and of EMTD's videos -> rows; a batch and measures that only pretend -> the paper's tables."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import grey, index_of, tone, write_sound, write_video
from PIL import Image

from evaluation import __main__ as command
from evaluation import benchmark, report
from evaluation.benchmarks import emtd, grid, tables
from evaluation.report import Column, Result, Row
from scripts.batch_rows import read_rows

HEADER = "URL,Start Timecode,End Timecode\n"


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    """As those of GRID, but small and without sound."""
    path = tmp_path_factory.mktemp("video") / "clip.mpg"
    write_video(path, [grey(index % 60) for index in range(75)], fps=25, codec="mpeg1video", options={})
    return path.read_bytes()


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "clip.wav"
    write_sound(path, tone(0.5, 25_000), 25_000, codec="pcm_s16le", sample_format="s16")
    return path.read_bytes()


@pytest.fixture
def corpus(tmp_path, video, sound) -> Path:
    """s1 and s2 with two sentences each, s21 without videos."""
    folder = tmp_path / "GRID"
    for speaker, codes in {1: ("bbaf2n", "lwiz9s"), 2: ("pgwq1p", "srbazn"), 21: ("bbaf2n", "sriv3a")}.items():
        for code in codes:
            put(folder / f"audio_25k/s{speaker}/{code}.wav", sound)
            put(folder / f"alignments/s{speaker}/{code}.align", alignment(*grid.words_of(f"s{speaker}-{code}")))
            if speaker != 21:
                put(folder / f"s{speaker}/video/mpg_vcd/{code}.mpg", video)
    return folder


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def alignment(*words: str) -> bytes:
    said = ("sil", *words[:3], "sp", *words[3:], "sil")
    return "".join(f"{index * 1000} {index * 1000 + 1000} {word}\n" for index, word in enumerate(said)).encode()


def evaluate(*words: object) -> int:
    return command.main(["benchmark", *map(str, words)])


def cells_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_code_is_a_sentence():
    assert grid.words_of("s1-bbaf2n") == ("bin", "blue", "at", "f", "two", "now")
    assert grid.sentence(grid.words_of("s34-swiaza")) == "Set white in A zero again."
    assert not grid.NAME.fullmatch("bbaw2n"), "nobody of GRID says the letter W"


def test_grid_rows_are_fit_for_the_batch(corpus, tmp_path, capsys):
    output = tmp_path / "rows.csv"
    assert evaluate("grid", corpus, "--output", output, "--seed", 3) == 0
    rows = read_rows(output, tmp_path)
    assert [row.id for row in rows] == ["s1-bbaf2n", "s1-lwiz9s", "s2-pgwq1p", "s2-srbazn"]
    assert {row.task for row in rows} == {"dub"}
    assert rows[0].cells["speech_content"] == "Bin blue at F two now."
    assert {row.cells["seed"] for row in rows} == {"3"} and {row.cells["lang"] for row in rows} == {"en"}
    for row in rows:
        voice = row.files["ref_audio_path"]
        assert voice.parent.name != row.id.split("-")[0], "nobody is dubbed with his own voice"
        assert voice.stem != row.id.split("-")[1], "the words of the voice are other ones"
        assert row.cells["ref_speech_content"] == grid.sentence(grid.words_of(f"s0-{voice.stem}"))
    assert "s21 has no video: 2 utterances are voices only" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_rows(corpus, tmp_path):
    def made(seed: int, *more: object) -> str:
        evaluate("grid", corpus, "--output", tmp_path / "rows.csv", "--seed", seed, *more)
        return (tmp_path / "rows.csv").read_text()

    assert made(1) == made(1)
    assert len({made(seed) for seed in range(6)}) == 6
    drawn = {tuple(row["data_id"] for row in grid.rows_of(corpus, seed, 1).cells) for seed in range(12)}
    assert len(drawn) > 1, "the seed draws the utterances"


def test_what_is_damaged_is_named_and_left_out(corpus, tmp_path, capsys, video):
    put(corpus / "s1/video/mpg_vcd/lwiz9s.mpg", video[:700])
    put(corpus / "alignments/s2/srbazn.align", alignment("set", "red", "by", "b", "zero", "now"))
    put(corpus / "audio_25k/s1/sbby4n.wav", b"RIFF")
    put(corpus / "audio_25k/s21/bbaf2n.wav", b"RIFF")
    assert evaluate("grid", corpus, "--output", tmp_path / "rows.csv") == 1
    said = capsys.readouterr().out
    assert [row["data_id"] for row in cells_of(tmp_path / "rows.csv")] == ["s1-bbaf2n", "s2-pgwq1p"]
    assert "- s1-sbby4n: there is no video of it" in said
    assert "- s1-lwiz9s: " in said and "'set red by b zero now'" in said and "'set red by a zero now'" in said


def test_a_damaged_voice_is_not_taken(corpus):
    def check(path: Path, kind: str) -> str | None:
        return "torn" if kind == "sound" and "s21" in path.parts else None

    for seed in range(8):
        rows = grid.rows_of(corpus, seed, check=check)
        assert all("s21" not in row["ref_audio_path"].parts for row in rows.cells)
        assert set(rows.left_out.values()) <= {"torn"}


def test_a_short_video_is_damaged(tmp_path):
    path = write_video(tmp_path / "bbaf2n.mp4", [grey(0)] * 25, fps=25)
    assert grid.problem_of(path, "video") == f"{path} shows 1.00 s, and a video of GRID 3 s: copy it again"


def test_a_video_gives_its_own_sound_where_there_is_no_other(tmp_path, video):
    for speaker, code in ((1, "bbaf2n"), (2, "pgwq1p")):
        write_video(
            tmp_path / f"s{speaker}-{code}.mp4", [grey(i % 60) for i in range(75)], fps=25, sound=tone(3, 24_000)
        )
    rows = grid.rows_of(tmp_path, 0)
    assert [row["ref_audio_path"].name for row in rows.cells] == ["s2-pgwq1p.mp4", "s1-bbaf2n.mp4"]


def test_a_list_names_the_test_set(corpus, tmp_path):
    listed = tmp_path / "val.txt"
    listed.write_text("s2-srbazn|{S EH1 T}|s2|set red by a zero now\nwavs/s1/bbaf2n.wav|Bin|B\ns3-bbaf2n|x|s3|x\n")
    assert grid.read_list(listed) == ["s2-srbazn", "s1-bbaf2n", "s3-bbaf2n"]
    assert evaluate("grid", corpus, "--list", listed, "--output", tmp_path / "rows.csv") == 1
    assert [row["data_id"] for row in cells_of(tmp_path / "rows.csv")] == ["s1-bbaf2n", "s2-srbazn"]
    listed.write_text("Bossbaby@BossBaby_00_0559_00|x\n")
    with pytest.raises(ValueError, match="line 1: it names no utterance"):
        grid.read_list(listed)


def test_voices_of_another_data_set(corpus, tmp_path, sound):
    put(tmp_path / "voices/hero.wav", sound)
    (tmp_path / "voices/voices.csv").write_text("ref_audio_path,ref_speech_content\nhero.wav,Good morning.\n")
    assert evaluate("grid", corpus, "--voices", tmp_path / "voices/voices.csv", "--output", tmp_path / "rows.csv") == 0
    rows = cells_of(tmp_path / "rows.csv")
    assert {(row["ref_audio_path"], row["ref_speech_content"]) for row in rows} == {
        ("voices/hero.wav", "Good morning.")
    }


def test_one_speaker_has_no_stranger_s_voice(tmp_path, video, sound):
    put(tmp_path / "s1/bbaf2n.mpg", video)
    put(tmp_path / "s1/pgwq1p.wav", sound)
    with pytest.raises(ValueError, match="no whole voice of another speaker"):
        grid.rows_of(tmp_path, 0)


def test_nothing_is_written_where_nothing_fits(corpus, tmp_path, capsys, video):
    output = tmp_path / "rows.csv"
    assert evaluate("grid", tmp_path / "missing", "--output", output) == 2
    put(corpus / "s1/video/mpg_6000/bbaf2n.mpg", video)
    assert evaluate("grid", corpus, "--output", output) == 2
    assert "s1-bbaf2n has two video files" in capsys.readouterr().err
    assert evaluate("grid", corpus, "--output", output, "--limit", 0) == 2
    assert not output.exists()


@pytest.fixture
def videos(tmp_path) -> Path:
    """A whole video of 4 s whose pictures tell their number, and one that is cut out."""
    folder = tmp_path / "videos"
    folder.mkdir()
    pictures = [grey(index) for index in range(60)]
    stereo = tone(4, 24_000, channels=2) * np.array([[1], [0.5]], np.float32)
    write_video(folder / "abc-DEF_123.mp4", pictures, fps=15, sound=stereo)
    write_video(folder / "001_xyz.mp4", pictures[:30], fps=15, sound=tone(2, 24_000))
    return folder


@pytest.fixture
def places(tmp_path) -> Path:
    path = tmp_path / "list.txt"
    path.write_text(
        f"{HEADER}https://www.youtube.com/watch?app=desktop&v=abc-DEF_123,00:00:01.000,00:00:03.000\n"
        "https://www.youtube.com/watch?v=xyz&t=355s,00:05:17.317,00:05:19.528\n"
        "https://www.youtube.com/watch?v=gone,00:00:01.000,00:00:03.000\n"
        "https://www.youtube.com/watch?v=abc-DEF_123,00:00:03.000,00:00:09.000\n"
    )
    return path


def test_the_list_of_emtd(places):
    first, second, *_ = emtd.read_list(places)
    assert first == emtd.Place(0, "abc-DEF_123", "abc-DEF_123", Fraction(1), Fraction(3))
    assert (second.name, second.saved_as, second.end) == ("001_xyz", "xyz&t=355s", Fraction(319528, 1000))
    for line in ("https://example.org/,00:00:01,00:00:03", "https://youtu.be/?v=a,00:00:01", "x?v=a,00:00:03,00:00:01"):
        places.write_text(f"{HEADER}{line}\n")
        with pytest.raises(ValueError, match=r"list\.txt, line 2: "):
            emtd.read_list(places)


def test_emtd_rows_are_fit_for_the_batch(places, videos, tmp_path, capsys):
    output = tmp_path / "made/emtd.csv"
    assert evaluate("emtd", places, videos, "--output", output) == 1
    said = capsys.readouterr().out
    assert "002_gone: there is neither 002_gone.mp4 nor gone.mp4" in said
    assert "003_abc-DEF_123: " in said and "ends at 4.00 s, before the place at 8.80 s does" in said
    rows = read_rows(output, output.parent)
    assert [(row.id, row.task) for row in rows] == [("000_abc-DEF_123", "audio_driven"), ("001_xyz", "audio_driven")]
    assert rows[0].cells["prompt"] == benchmark.PROMPTS["emtd"]
    assert cells_of(output)[0]["audio_path"] == "emtd/sounds/000_abc-DEF_123.wav", "the folder may be moved"
    with Image.open(rows[0].files["ref_image_path"]) as picture:
        assert (picture.format, index_of(np.asarray(picture))) == ("PNG", 15 + emtd.MARGIN)
    from uniavgen_core.audio.sound import read_sound
    from uniavgen_core.video.footage import read_footage

    heard = read_sound(rows[0].files["audio_path"])
    assert heard.seconds == pytest.approx(2 - 6 / 15) and heard.waveform.shape[0] == 2
    assert float(heard.waveform[0].abs().max()) == pytest.approx(0.5, abs=0.05)
    real = read_footage(output.parent / "emtd/real/000_abc-DEF_123.mp4")
    shown = [float(pixels.mean()) for pixels in real.pictures(range(len(real.pts)))]
    assert shown == pytest.approx([float(grey(index).mean()) for index in range(18, 42)], abs=3), "drawn twice"
    assert shown == sorted(set(shown))
    assert len(read_footage(output.parent / "emtd/real/001_xyz.mp4").pts) == 30, "a cut clip is taken whole"


def test_emtd_writes_all_or_nothing(places, videos, tmp_path, monkeypatch, capsys):
    output = tmp_path / "emtd.csv"
    work, calls = emtd.cut, []

    def full_disk(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError("no space left")
        work(*arguments)

    monkeypatch.setattr(emtd, "cut", full_disk)
    assert evaluate("emtd", places, videos, "--output", output) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.txt", "videos"]
    monkeypatch.undo()
    assert evaluate("emtd", places, videos, "--output", output, "--limit", 1, "--seconds", "0.8") == 0
    assert len(cells_of(output)) == 1
    assert evaluate("emtd", places, videos, "--output", output) == 2
    assert "there is already" in capsys.readouterr().err


def result(measure: str, method: str, columns: tuple[Column, ...], *rows: dict[str, float] | None) -> Result:
    named = (Row(f"clip{index}", values, "" if values else "torn") for index, values in enumerate(rows))
    return Result(measure, method, columns, {"model": measure.upper()}, tuple(named))


WER = (Column("wer", "WER (GRID script)", "lower", 1, percent=True),)
LSE = (Column("confidence", "LSE-C", "higher", 1), Column("distance", "LSE-D", "lower", 1))

DUBBING = """\
Dubbing on GRID, setting 3.0 (paper, table 2)

| method | LSE-C ↑ | LSE-D ↓ | WER ↓ |
| --- | --- | --- | --- |
| StyleDubber (paper) | 5.94 | 9.75 | 15.40 % |
| EmoDubber (paper) | 7.25 | 6.83 | 14.72 % |
| UniAVGen (paper) | 7.59 | 6.11 | 10.64 % |
| mine | 7.00 | 6.50 | 12.50 % |
| yours | - | - | 20.00 % [20.00 %, 20.00 %] |

- mine, lipsync: 1 of 2 clips; model: LIPSYNC
- mine, words: 1 of 1 clips; model: WORDS
- yours, words: 2 of 2 clips; model: WORDS"""


def test_a_table_of_several_methods(tmp_path, capsys):
    results = [
        result("lipsync", "mine", LSE, {"confidence": 7.0, "distance": 6.5}, None),
        result("words", "mine", WER, {"wer": 0.125}),
        result("words", "yours", WER, {"wer": 0.2}, {"wer": 0.2}),
    ]
    folders = [tmp_path / str(index) for index in range(3)]
    for one, folder in zip(results, folders, strict=True):
        folder.mkdir()
        report.save(one, folder)
    files = [folder / f"{one.measure}.json" for one, folder in zip(results, folders, strict=True)]
    assert evaluate("table", "grid", *files, "--output", tmp_path / "table.md") == 0
    assert capsys.readouterr().out == f"{DUBBING}\n" == (tmp_path / "table.md").read_text("utf-8")
    assert evaluate("table", "grid", files[1], files[1]) == 2
    assert "WER of mine was given twice" in capsys.readouterr().err
    assert evaluate("table", "emtd", files[1]) == 2
    assert evaluate("table", "grid", tmp_path / "table.md") == 2


def test_the_joint_table_takes_confidence_for_its_lip_sync():
    lines = tables.text(tables.TABLES["joint"], [result("lipsync", "mine", LSE, {"confidence": 6, "distance": 7})])
    assert "| UniAVGen (paper) | 7.00 | 6.62 | 0.151 | 0.973 | 0.410 | 0.779 | 5.95 | 0.832 | 0.573 |" in lines
    assert "| mine | - | - | - | - | - | - | 6.00 | - | - |" in lines
    assert "- not measured: PQ, CU, WER, SC, DD, IQ, TC, EC" in lines


class Pretended:
    """A batch and measures that write down what they were asked; codes: what they end with, by name."""

    def __init__(self, **codes: int):
        self.codes, self.asked = codes, []

    def batch(self, words: list[str]) -> int:
        self.asked.append(["batch", *words])
        return self.codes.get("batch", 0)

    def measure(self, words: list[str]) -> int:
        self.asked.append(words)
        code = self.codes.get(words[0], 0)
        if code != 2:
            folder, method = (Path(words[words.index(f"--{name}") + 1]) for name in ("output", "method"))
            folder.mkdir(exist_ok=True)
            report.save(result(words[0], str(method), WER, {"wer": 0.25}), folder)
        return code


def run(tmp_path: Path, pretended: Pretended, *more: str) -> int:
    rows = tmp_path / "rows.csv"
    rows.write_text("data_id\n")
    parser = benchmark.argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    words = ["run", "grid", "--rows", str(rows), "--server", "http://a:1", "--server", "http://b:2"]
    options = parser.parse_args([*words, "--output", str(tmp_path / "mine"), *more])
    return benchmark.run(options, pretended.batch, pretended.measure)


def test_run_makes_measures_and_prints(tmp_path, capsys):
    pretended = Pretended()
    code = run(tmp_path, pretended, "--batch=--released --set sampler.steps=30", "--words=--recogniser 'a whisper'")
    rows, mine = str(tmp_path / "rows.csv"), tmp_path / "mine"
    servers = ["--server", "http://a:1", "--server", "http://b:2"]
    told = ["--rows", rows, "--output", str(mine / "measured"), "--method", "mine"]
    assert pretended.asked == [
        ["batch", rows, *servers, "--output", str(mine / "clips"), "--released", "--set", "sampler.steps=30"],
        ["words", str(mine / "clips"), *told, "--recogniser", "a whisper"],
    ]
    said = capsys.readouterr().out
    assert "| mine | - | - | 25.00 % |" in said
    assert "- lipsync was left out: give its options by --lipsync=OPTIONS" in said
    assert (mine / "table.md").read_text("utf-8") == said
    assert code == 1, "a measure was left out"


def test_run_goes_on_after_a_measure_that_cannot_run(tmp_path, capsys):
    pretended = Pretended(batch=1, lipsync=2)
    assert run(tmp_path, pretended, "--words=", "--lipsync=") == 1
    said = capsys.readouterr().out
    assert "| mine | - | - | 25.00 % |" in said and "- lipsync was left out: it could not run" in said
    assert "- some clips could not be made: see " in said


@pytest.mark.parametrize("code", [2, 130])
def test_run_stops_where_the_batch_does(tmp_path, code):
    pretended = Pretended(batch=code)
    assert run(tmp_path, pretended, "--words=") == code
    assert len(pretended.asked) == 1


def test_run_stops_when_a_measure_is_interrupted(tmp_path):
    assert run(tmp_path, Pretended(lipsync=130), "--words=", "--lipsync=") == 130
    assert not (tmp_path / "mine/table.md").exists()


def test_run_refuses_a_measure_of_the_other_table(tmp_path):
    with pytest.raises(ValueError, match="no numbers of frechet"):
        run(tmp_path, Pretended(), "--frechet=")


def test_run_calls_the_true_batch_and_measures(tmp_path, corpus, capfd):
    """Which refuse: the server is not there, and neither is the Whisper."""
    rows = tmp_path / "rows.csv"
    evaluate("grid", corpus, "--output", rows, "--limit", 1)
    assert benchmark.run_batch([str(rows), "--output", str(tmp_path / "clips"), "--check"]) == 0
    assert "1 rows are fit: 1 dub" in capfd.readouterr().out
    assert benchmark.run_measure(["words", str(tmp_path), "--what"]) == 2
