"""What the measures have in common: clips from folders and tables, going on after a stop, tables with intervals."""

from __future__ import annotations

import argparse
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import cut_off, grey, index_of, tone, turn, write_playlist, write_video

import evaluation
from evaluation import measure, report
from evaluation.__main__ import main
from evaluation.clips import COLUMNS, Clip, clips_of
from evaluation.recording import Recording, Unmeasurable
from evaluation.report import Column, Result, Row


class Brightness:
    """A measure of the first picture; dark clips have none."""

    name = "brightness"
    columns = (Column("index", "brightness", "higher", 1),)

    def __init__(self, **settings: str):
        self.settings, self.seen = settings, []

    def of(self, clip: Clip) -> dict[str, float]:
        self.seen.append(clip.name)
        index = index_of(clip.read().frames[0])
        if index < 5:
            raise Unmeasurable("it is too dark")
        return {"index": index}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in [(10, "b"), (20, "a"), (0, "dark")]:
        write_video(tmp_path / f"{name}.mp4", [grey(index)] * 4, sound=tone(0.25, 24_000))
    cut_off(write_video(tmp_path / "torn.mp4", [grey(9)] * 40), 0.5)
    return tmp_path


def options(clips: Path, **changes) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    measure.add_arguments(parser)
    return argparse.Namespace(**(vars(parser.parse_args([str(clips)])) | changes))


@pytest.mark.case("Media", "truncated MP4: declared against decoded pictures")
def test_every_clip_is_in_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.run(Brightness(size="full"), options(folder, method="mine")) == 1
    text = capsys.readouterr().out
    assert "| mine | 15.0 [10.0, 20.0] | 2 of 4 |" in text
    assert "size: full" in text
    assert "- dark: it is too dark" in text
    assert "- torn: " in text
    assert (folder / "measured" / "brightness.md").read_text().strip() == text.strip()
    lines = (folder / "measured" / "brightness.csv").read_text().splitlines()
    assert lines[:4] == ["clip,index,reason", "a,20,", "b,10,", "dark,,it is too dark"]
    saved = json.loads((folder / "measured" / "brightness.json").read_text())
    assert saved["scores"]["index"] == {"mean": 15.0, "low": 10.0, "high": 20.0, "clips": 2}
    assert report.load(folder / "measured" / "brightness.json").text() == text.strip()


@pytest.mark.case("Media", "rotation flag")
@pytest.mark.case("Media", "variable frame rate")
@pytest.mark.case("Media", "stream in an unknown codec")
@pytest.mark.case("Media", "text playlist named .mp4")
def test_clips_are_measured_as_they_are_shown(tmp_path: Path) -> None:
    times = [Fraction(n, 16) for n in (0, 1, 2, 6, 7, 8)]
    path = write_video(tmp_path / "a.mkv", [grey(i) for i in range(6)], times=times, sound=tone(0.5, 24_000))
    path.write_bytes(path.read_bytes().replace(b"A_PCM/INT/LIT", b"A_PCX/INT/LIT"))
    found = Clip("a", path).read()
    assert not len(found.sound)
    assert sorted({index_of(frame) for frame in found.frames}) == list(range(6))
    shown = [index_of(frame) for frame in found.frames_at(16)]
    assert shown == sorted(shown) and shown.count(2) >= 3  # it stays as long as it is shown
    turned = Clip("b", turn(write_video(tmp_path / "b.mp4", [grey(1)] * 4), (0, 1, -1, 0))).read()
    assert turned.frames.shape == (4, 48, 32, 3)
    with pytest.raises(ValueError, match="not a playlist"):
        Clip("c", write_playlist(tmp_path / "c.mp4", "ffconcat", tmp_path / "b.mp4")).read()


def test_what_was_measured_is_not_measured_again(folder: Path) -> None:
    first, second, other = Brightness(), Brightness(), Brightness(size="half")
    measure.run(first, options(folder, limit=3))
    assert first.seen == ["a", "b", "dark"]
    ledger = folder / "measured" / "brightness.jsonl"
    ledger.write_text(ledger.read_text() + '{"key": "half a li')  # killed in the middle of a line
    measure.run(second, options(folder))
    assert second.seen == ["dark", "torn"]  # failures are tried again
    measure.run(other, options(folder, limit=1))
    assert other.seen == ["a"]  # with other settings it is another measure
    write_video(folder / "a.mp4", [grey(30)] * 5)
    changed = Brightness()
    measure.run(changed, options(folder, limit=2))
    assert changed.seen == ["a"]


def test_a_table_names_clips_and_what_they_were_to_say(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        'data_id,ref_image_path,ref_audio_path,speech_content,lang,seed\nx,x.png,v.wav,"One, two.",en,1\n'
    )
    (tmp_path / "made").mkdir()
    (clip,) = clips_of(options(tmp_path / "made", rows=tmp_path / "rows.csv"))
    voice, image = tmp_path / "v.wav", tmp_path / "x.png"
    assert clip == Clip("x", tmp_path / "made" / "x.mp4", "One, two.", "en", "", image, voice)
    (tmp_path / "clips.csv").write_text("clip,speech_content\nsub/a.mp4,Hello.\n")
    (clip,) = clips_of(options(tmp_path / "clips.csv"))
    assert clip == Clip("a", tmp_path / "sub" / "a.mp4", "Hello.")


def test_the_page_names_every_column_also_the_one_that_tells_clips_apart(tmp_path: Path) -> None:
    page = Path(evaluation.__file__).with_name("README.md").read_text("utf-8")
    assert not [column for column in COLUMNS if f"`{column}`" not in page]
    (tmp_path / "clips.csv").write_text("clip,data_id\na/x.mp4,one\nb/x.mp4,two\n")
    assert [clip.name for clip in clips_of(options(tmp_path / "clips.csv"))] == ["one", "two"]


def test_a_missing_clip_of_a_table_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips.csv").write_text("clip\ngone.mp4\n")
    assert measure.run(Brightness(), options(tmp_path / "clips.csv")) == 1
    assert "| clips | - | 0 of 1 |" in (text := capsys.readouterr().out)
    assert "there is no video file" in text


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "path\nx.mp4\n", "no column 'clip'"),
        ("a.csv", "clip,colour\nx.mp4,red\n", "unknown columns"),
        ("a.csv", "clip\nx.mp4,more\n", "line 2"),
        ("a.csv", "clip\nx.mp4\nsub/x.mp4\n", "twice"),
        ("a.csv", 'clip\n"x.mp4\n', "double quotes"),
        ("a.csv", "clip\n", "no clips"),
        ("a.csv", b"clip\n\xff.mp4\n", "UTF-8"),
        ("a.mp4", "", "one clip"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, name: str, content: str | bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=sentence):
        clips_of(options(tmp_path / name))


@pytest.mark.case("Disk and network", "data_id that leads elsewhere, or is no name of a file everywhere")
@pytest.mark.parametrize("name", ["../secret", "sub/../../secret", "/secret", "..\\secret", "C:\\secret"])
def test_clips_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    """A clip may be sent to a service, so a table from elsewhere is to name those of the folder alone."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"mine")
    (tmp_path / "rows.csv").write_text(f"data_id\n{name}\n")
    with pytest.raises(ValueError, match=r"rows.csv, line 2: .*secret' leads out of .*clips: name a clip in it"):
        clips_of(options(tmp_path / "clips", rows=tmp_path / "rows.csv"))


def test_wrong_requests_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["words", str(tmp_path), "--recogniser", "pocketsphinx"]) == 2
    assert "there are no clips" in capsys.readouterr().err
    assert main(["words", str(tmp_path / "none"), "--recogniser", "pocketsphinx"]) == 2
    assert "give a folder" in capsys.readouterr().err
    (tmp_path / "a.mp4").touch()
    assert main(["words", str(tmp_path), "--recogniser", "pocketsphinx", "--limit", "0"]) == 2
    assert "--limit 0" in capsys.readouterr().err


def test_a_weighted_mean_counts_words_and_not_clips() -> None:
    rows = [Row("short", {"wer": 1.0, "words": 1}), Row("long", {"wer": 0.0, "words": 9}), Row("none", None, "why")]
    result = Result("words", "mine", (Column("wer", "WER", "lower", 1, "words", percent=True),), {}, tuple(rows))
    score = result.score(result.columns[0])
    assert (score.mean, score.low, score.high, score.clips) == (0.1, 0.0, 1.0, 2)
    assert "| mine | 10.0 % [0.0 %, 100.0 %] | 2 of 3 |" in result.text()


def test_the_interval_is_that_of_the_mean() -> None:
    """For many clips, 1.96 standard errors to each side."""
    values = np.random.default_rng(0).normal(5, 2, 400)
    score = report.summarize(values, np.ones(400))
    error = 1.96 * values.std() / math.sqrt(400)
    assert (score.mean - score.low, score.high - score.mean) == pytest.approx((error, error), rel=0.1)
    assert math.isnan(report.summarize(values[:1], np.ones(1)).low)


def test_a_recording_gives_pictures_and_sound_at_other_rates() -> None:
    frames = np.stack([grey(index) for index in range(16)])
    sound = tone(1, 24_000)[0]
    recording = Recording(frames, Fraction(16), sound, 24_000)
    shown = [index_of(frame) for frame in recording.frames_at(25)]
    assert shown == [math.floor(index * 16 / 25) for index in range(25)]
    np.testing.assert_allclose(recording.sound_at(16_000)[100:-100], tone(1, 16_000)[0, 100:-100], atol=1e-3)
    silent = Recording(frames[:0], Fraction(16), np.zeros(10, np.float32), 24_000)
    with pytest.raises(Unmeasurable, match="silent"):
        silent.sound_at(16_000)
    with pytest.raises(Unmeasurable, match="no pictures"):
        silent.frames_at(25)
    with pytest.raises(ValueError, match="finite"):
        Recording(frames, Fraction(16), np.array([np.nan], np.float32), 24_000)
