"""The page of a study, its clips and its key; tests/browser/test_study_page.py opens the page."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from media import grey, tone, write_video

from evaluation.__main__ import main
from evaluation.studying import loudness, make
from evaluation.studying.key import CRITERIA, Key, read_key
from uniavgen_core.audio.sound import read_sound

RATE = 24_000
METHODS = ("secretours", "<b>Other & co</b>")


def write_clip(path: Path, amplitude: float, mark: str = "", **how) -> Path:
    """0.75 s of grey pictures and a tone. mark: text for the tags of the file and its streams"""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name("plain.mkv" if how.pop("matroska", False) else "plain.mp4")
    sound = tone(0.75, RATE, 1000, channels=how.pop("channels", 1)) * 2 * amplitude
    write_video(plain, [grey(i) for i in range(12)], sound=sound, **how)
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        target.metadata.update(title=mark, comment=mark, artist=mark)
        streams = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        for stream in streams.values():
            stream.metadata.update(title=mark, handler_name=mark)
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)
    plain.unlink()
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[str]:
    """Two questions; in "one" the first method is far louder, in "two" the other."""
    root = tmp_path_factory.mktemp("methods")
    words = []
    for method, amplitudes in zip(METHODS, ((0.5, 0.04), (0.05, 0.4)), strict=True):
        folder = root / re.sub(r"\W", "", method)
        write_clip(folder / "one.mp4", amplitudes[0], f"made by {METHODS[0]}")
        write_clip(folder / "two.mp4", amplitudes[1], channels=2)
        words.append(f"{method}={folder}")
    return words


@pytest.fixture(scope="module")
def made(folders, tmp_path_factory) -> tuple[Path, Key]:
    page = tmp_path_factory.mktemp("made") / "page"
    words = ["study", "make", *folders, "--output", str(page), "--seed", "3", "--title", "<i>Best</i> & </script>"]
    assert main(words) == 0
    return page, read_key(page.with_name("page.key.json"))


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def told(page: str) -> str:
    """The JSON of the study that a page holds."""
    return re.search('<script type="application/json" id="study">(.*?)</script>', page)[1]


def test_the_page_tells_nothing_of_the_methods(made):
    page, key = made
    files = sorted(path for path in page.rglob("*") if path.is_file())
    assert {str(path.relative_to(page)) for path in files} == {
        "index.html",
        *(f"clips/{clip.name}.mp4" for question in key.questions for clip in question.clips),
    }
    for path in files:
        data = path.read_bytes()
        assert b"secretours" not in data and b"Other &" not in data and b"Other &amp;" not in data
    assert not re.search(r'"(one|two)"', told((page / "index.html").read_text()))
    assert all(re.fullmatch("[0-9a-f]{12}", clip.name) for question in key.questions for clip in question.clips)
    for path in files[:-1]:
        with av.open(str(path)) as container:
            tags = {**container.metadata, **{k: v for s in container.streams for k, v in s.metadata.items()}}
        assert not set(tags) & {"title", "comment", "artist"}
        assert {tags.get("handler_name")} <= {None, "VideoHandler", "SoundHandler"}


def test_the_key_knows_all(made, folders):
    page, key = made
    assert key.methods == METHODS
    assert [question.clip for question in key.questions] == ["one", "two"]
    for question in key.questions:
        assert [clip.method for clip in question.clips] == list(METHODS)
        for clip, word in zip(question.clips, folders, strict=True):
            original = Path(word.split("=", 1)[1]) / f"{question.clip}.mp4"
            assert packets(page / "clips" / f"{clip.name}.mp4") == packets(original)


def test_clips_of_a_question_are_equally_loud_and_do_not_clip(made):
    page, key = made
    for question in key.questions:
        sounds = [read_sound(page / "clips" / f"{clip.name}.mp4") for clip in question.clips]
        levels = [loudness.loudness_of(sound.waveform.numpy(), sound.sample_rate) for sound in sounds]
        assert levels[0].level == pytest.approx(levels[1].level, abs=0.3)
        assert all(level.level == pytest.approx(loudness.TARGET, abs=0.3) for level in levels)
        assert max(clip.loudness for clip in question.clips) > min(clip.loudness for clip in question.clips) + 15


def test_the_title_is_escaped_and_nothing_is_loaded_from_elsewhere(made):
    text = (made[0] / "index.html").read_text()
    assert "<title>&lt;i&gt;Best&lt;/i&gt; &amp; &lt;/script&gt;</title>" in text
    assert json.loads(told(text))["title"] == "<i>Best</i> & </script>"
    assert "@@" not in text
    assert not re.search(r"(https?:)?//[a-z]", re.sub("// [^\n]*", "", text))


def test_a_seed_gives_the_same_study_and_no_seed_another(folders, made, tmp_path):
    words = ["study", "make", *folders, "--title", made[1].title]
    assert main([*words, "--seed", "3", "--output", str(tmp_path / "same")]) == 0
    assert main([*words, "--output", str(tmp_path / "other")]) == 0
    assert read_key(tmp_path / "same.key.json") == made[1]
    other = read_key(tmp_path / "other.key.json")
    assert other.study != made[1].study
    assert {q.name for q in other.questions}.isdisjoint(q.name for q in made[1].questions)


def test_one_file_holds_the_clips(folders, tmp_path):
    assert main(["study", "make", *folders, "--output", str(tmp_path / "page"), "--one-file"]) == 0
    assert [path.name for path in (tmp_path / "page").rglob("*")] == ["index.html"]
    assert (tmp_path / "page" / "index.html").read_text().count('<script type="text/plain" id="clip-') == 4


def test_a_clip_that_a_method_lacks_is_named_and_left_out_only_if_asked(folders, tmp_path, capsys):
    paths = [Path(word.split("=", 1)[1]) for word in folders]
    for number, path in enumerate(paths):
        (tmp_path / f"m{number}").mkdir()
        for name in ("one", "two")[: 2 - number]:
            (tmp_path / f"m{number}" / f"{name}.mp4").symlink_to(path / f"{name}.mp4")
    words = ["study", "make", str(tmp_path / "m0"), str(tmp_path / "m1"), "--output", str(tmp_path / "page")]
    assert main(words) == 2
    assert "two is missing of m1" in capsys.readouterr().err
    assert not (tmp_path / "page").exists() and not (tmp_path / "page.key.json").exists()
    assert main([*words, "--common"]) == 0
    assert "left out: two is missing of m1" in capsys.readouterr().err
    assert [question.clip for question in read_key(tmp_path / "page.key.json").questions] == ["one"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda words, root: [words[0]], "2 to 9 methods"),
        (lambda words, root: ["a=" + words[0].split("=")[1], "a=" + words[1].split("=")[1]], "names of their own"),
        (lambda words, root: [words[0], str(root / "nowhere")], "is no folder"),
        (lambda words, root: [*words, "--key", str(root / "page" / "key.json")], "for all to read"),
        (lambda words, root: [*words, "--key", str(root / "taken")], "is there already"),
        (lambda words, root: [*words, "--output", str(root / "full")], "is there already"),
        (lambda words, root: [words[0], str(root / "bad")], "cannot be read as video"),
        (lambda words, root: [words[0], str(root / "mute")], "has no sound"),
        (lambda words, root: [words[0], str(root / "deep")], "yuv444p"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(folders, tmp_path, capsys, change, said):
    (tmp_path / "taken").touch()
    for name in ("full", "bad", "mute", "deep"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "something").touch()
    for name in ("one", "two"):
        (tmp_path / "bad" / f"{name}.mp4").write_bytes(b"no clip at all")
        write_video(tmp_path / "mute" / f"{name}.mp4", [grey(0)] * 4)
        write_clip(tmp_path / "deep" / f"{name}.mp4", 0.1, pix_fmt="yuv444p")
    before = sorted(tmp_path.rglob("*"))
    assert main(["study", "make", "--output", str(tmp_path / "page"), *change(folders, tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_without_pyloudnorm_it_is_said_what_to_install(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyloudnorm", None)
    assert main(["study", "make", *folders, "--output", str(tmp_path / "page")]) == 2
    assert "equal volume needs pyloudnorm: pip install pyloudnorm (" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_pictures_that_browsers_do_not_play_become_h264_with_a_note(tmp_path, capsys):
    for method in ("a", "b"):
        write_clip(tmp_path / method / "x.mkv", 0.1, matroska=True, codec="mpeg4", options={})
    assert main(["study", "make", str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "p")]) == 0
    assert capsys.readouterr().err.count("(mpeg4) were encoded anew") == 2
    for path in (tmp_path / "p" / "clips").iterdir():
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"


def test_loudness_of_known_tones():
    moments = np.arange(3 * 48_000) / 48_000
    sine = np.sin(2 * np.pi * 997 * moments)[None].astype(np.float32)
    assert loudness.loudness_of(0.1 * sine, 48_000).level == pytest.approx(-20.0, abs=0.1)  # both speakers play it
    assert loudness.loudness_of(0.1 * np.repeat(sine, 2, 0), 48_000).level == pytest.approx(-20.0, abs=0.1)
    between = np.sin(np.pi / 2 * np.arange(48_000) + np.pi / 4)[None].astype(np.float32)  # samples miss the peaks
    assert np.abs(between).max() == pytest.approx(0.7071, abs=1e-3)
    assert loudness.loudness_of(between, 48_000).peak == pytest.approx(0.0, abs=0.5)
    assert loudness.loudness_of(0 * sine, 48_000) is None
    assert loudness.loudness_of(sine[:, :9000], 48_000) is None


def test_gains_are_limited_together():
    calm, peaky = loudness.Loudness(-30, -20), loudness.Loudness(-30, -6)
    assert loudness.gains([calm, calm]) == [12, 12]
    assert loudness.gains([calm, peaky, None]) == [5, 5, 0]  # 5 dB bring the peaks from -6 to -1
    assert loudness.gains([loudness.Loudness(-10, -1)]) == [-8]


def test_every_criterion_is_asked():
    assert set(make.ASKED) == set(CRITERIA)
