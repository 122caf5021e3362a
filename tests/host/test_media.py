"""The nodes on media and texts as people have them: what is not right is refused before a VAE runs, or is told."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from host.hosts import Host, run_inside
from media import cut_off, grey, tone, turn, write_playlist, write_sound, write_video

TIMES = [Fraction(i * i, 200) for i in range(20)]


@pytest.fixture(scope="module")
def found(host: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    files = tmp_path_factory.mktemp("media")
    pictures, voice = [grey(i) for i in range(24)], tone(1.5, 24_000)
    left = np.full((32, 48, 3), 20, np.uint8)
    left[:, :24] = 220
    turn(write_video(files / "turned.mp4", [left] * 24), (0, 1, -1, 0))  # shown turned clockwise: bright above
    write_playlist(files / "list.mp4", "ffconcat", write_video(files / "secret.ts", pictures))
    cut_off(write_video(files / "cut.mp4", pictures, container_options={"movflags": "+faststart"}), 0.6)
    write_sound(files / "sound.m4a", voice, 24_000, codec="aac")
    unknown = write_video(files / "unknown.mkv", pictures, sound=voice)
    unknown.write_bytes(unknown.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEGX/ISO/AVC"))
    write_video(files / "variable.mp4", [grey(i) for i in range(20)], times=TIMES)
    return run_inside(host, tmp_path_factory.mktemp("packs"), "in_process_media.py", str(files))


EMPTY, NOT_FINITE = "with samples, not [1, 0]", "samples that are NaN or infinite: export it again"
SOUNDS = {
    "zero samples": EMPTY,
    "no sound in the batch": "an AUDIO must be [batch, channels, samples], with a sound, not [0, 1, 9]",
    "no batch": "an AUDIO must be [batch, channels, samples], with a sound, not [1, 9]",
    "NaN": NOT_FINITE,
    "rate 0": "a sample rate of 0 Hz is not usable",
    "rate NaN": "a sample rate of nan Hz is not usable",
}


@pytest.mark.case("Media", "zero samples")
@pytest.mark.case("Media", "numbers that are NaN")
@pytest.mark.case("Media", "odd sample rates")
@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize("given", ["driving", "voice"])
def test_sounds_that_cannot_be_heard(found, given: str, name: str) -> None:
    assert SOUNDS[name] in found[f"{given} {name}"]


@pytest.mark.case("Media", "conditioning that is too long")
@pytest.mark.case("Media", "conditioning that is too short")
@pytest.mark.case("Text", "wrong transcript")
def test_sounds_that_do_not_fit(found) -> None:
    assert "the sound lasts 1.00 s, the clip of 5 frames 0.31 s: ask for 17 frames" in found["driving too long"]
    assert "the transcript takes about 0.8 s to say and the reference voice lasts 0.1 s" in found["voice too short"]
    assert "the reference voice lasts 130 s: cut some seconds of speech out of it" in found["voice too long"]
    (told,) = found["told slow voice"]
    assert told.startswith("the transcript takes about 0.8 s to say and the reference voice lasts 20.0 s: words")


@pytest.mark.case("Media", "silence stays silence")
@pytest.mark.case("Media", "three and more channels")
@pytest.mark.case("Media", "odd sample rates")
def test_sounds_that_drive(found) -> None:
    assert found["tokens silence"] == [[1, 80, 31], True]
    assert found["tokens 6 channels"] == [[1, 80, 31], False]
    assert found["told silence"] == found["told 6 channels"] == []


@pytest.mark.case("Media", "batch above one")
def test_of_a_batch_the_first_is_used_and_the_node_says_so(found) -> None:
    assert found["told batch"] == ["2 are connected to driving_audio: only the first is used"]
    assert "2 are connected to reference_image: only the first is used" in found["told image batch"]
    assert found["image batch"]
    assert found["mux two"] == [1, 12_000, 24_000]  # sounds of two clips, whose pictures come one after the other


PICTURES = {
    "one channel": "a picture must be [1, height, width, 3], not [1, 64, 64, 1]: give one RGB picture",
    "NaN": "the picture holds numbers that are NaN or infinite",
    "gigapixel": "more than 67 million pixels, which no clip can show: make it smaller (30000 x 40000)",
    "empty": "not [0, 64, 64, 3]: give one RGB picture",
}


@pytest.mark.case("Media", "numbers that are NaN")
@pytest.mark.case("Media", "pictures with another number of channels")
@pytest.mark.case("Media", "gigapixel pictures")
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_that_are_none(found, name: str) -> None:
    assert PICTURES[name] in found[f"image {name}"]


@pytest.mark.case("Media", "pictures of 1 x 1")
@pytest.mark.case("Media", "odd sizes")
@pytest.mark.case("Media", "RGBA pictures")
def test_pictures_of_any_size_and_with_transparency(found) -> None:
    assert found["image 1 x 1"] and found["image odd"]
    assert found["told image 1 x 1"] == [
        "the reference image is 1 x 1 and the clip 64 x 64: it is enlarged 64.0 times and will look soft"
    ]
    assert found["image RGBA"] and found["image RGBA is not its colours"]  # white, as in a picture file


VIDEOS = {
    "list.mp4": "list.mp4 cannot be read as video: give a whole file",
    "cut.mp4": "it was cut off or is damaged; copy or export it again",
    "sound.m4a": "sound.m4a has no pictures: give a video file",
    "unknown.mkv": "in a format that cannot be read here: export it again as H.264",
    "mute": "turned.mp4 has no sound: give a file with a sound track",
}


@pytest.mark.case("Media", "text playlist named .mp4")
@pytest.mark.case("Media", "truncated MP4: declared against decoded pictures")
@pytest.mark.case("Media", "sound only where pictures are needed")
@pytest.mark.case("Media", "no audio track where one is needed")
@pytest.mark.case("Media", "stream in an unknown codec")
@pytest.mark.parametrize("name", VIDEOS)
def test_videos_that_are_none(found, name: str) -> None:
    assert VIDEOS[name] in found[f"video {name}"]


@pytest.mark.case("Media", "text playlist named .mp4")
def test_the_host_itself_follows_a_playlist(found) -> None:
    """Which is why its own loading is not used where a VIDEO is a file."""
    assert found["host follows a playlist"] == 24


@pytest.mark.case("Media", "rotation flag")
def test_turned_videos_come_out_upright(found) -> None:
    """By the file; by the host's own reading (not by 0.9's), which a part of a file goes through; and in the dub."""
    assert found["we turn"] == [[48, 32], "top"]
    assert found["host turns"] in ([[48, 32], "top"], [[32, 48], "left"])
    assert found.get("a part is turned", [[48, 32], "top", 8]) == [[48, 32], "top", 8]
    assert found["dubbed"] == [48, 32] and found["dubbed flag"] is False
    latent = found["dubbed latent"]
    assert latent[3] > latent[4]  # a clip of upright shape


@pytest.mark.case("Media", "variable frame rate")
def test_variable_rates(found) -> None:
    assert found["variable"] == pytest.approx([float(time) for time in TIMES])


JOINED = {
    "one channel": "the pictures must be [frames, height, width, 3], not [8, 32, 48, 1]",
    "no pictures": "the pictures must be [frames, height, width, 3], not [0, 32, 48, 3]",
    "NaN pictures": "the pictures hold numbers that are NaN or infinite",
    "NaN sound": "the sound holds numbers that are NaN or infinite",
    "no batch": SOUNDS["no batch"],
    "no sound in the batch": SOUNDS["no sound in the batch"],
}


@pytest.mark.case("Media", "numbers that are NaN")
@pytest.mark.case("Media", "pictures with another number of channels")
@pytest.mark.parametrize("name", JOINED)
def test_what_cannot_be_joined(found, name: str) -> None:
    assert JOINED[name] in found[f"mux {name}"]


@pytest.mark.case("Media", "sound beyond full scale (clipping)")
@pytest.mark.case("Media", "zero samples")
@pytest.mark.case("Media", "three and more channels")
@pytest.mark.case("Media", "odd sample rates")
@pytest.mark.case("Media", "23.976, 29.97 and 60 pictures a second")
def test_what_is_joined_is_as_long_as_the_pictures(found) -> None:
    assert found["mux loudest"] == 1.0
    (told,) = found["told mux loud"]
    assert told == "the sound is up to 2.00 times too loud for a file: its peaks are cut off; turn it down"
    assert found["mux zero samples"] == [1, 12_000, 24_000]
    assert found["told mux zero samples"] == [
        "the sound lasts 0.00 s and the pictures 0.50 s: the last 0.50 s are silent"
    ]
    assert found["mux 5.1"] == found["mux odd rate"] == [1, 24_000, 48_000]
    assert found["mux 23.976"] == ["24000/1001", 0] and found["mux 29.97"] == ["30000/1001", 0]
    assert found["mux 60.0"] == ["60", 0]


UNSPOKEN = "not in the model's vocabulary, so not spoken: "
TEXTS = {
    "NUL": [UNSPOKEN + r"'\x00'"],
    "surrogate": [UNSPOKEN + r"'\ud83d'"],
    "right-to-left": [UNSPOKEN + "'ש', 'ל', 'ו', 'ם'"],
    "emoji": [UNSPOKEN + "'😀'"],
    "Chinese": [UNSPOKEN + "'你', '好'; Chinese is read only where the language is zh or auto, not en"],
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("NUL", marks=pytest.mark.case("Text", "NUL")),
        pytest.param("surrogate", marks=pytest.mark.case("Text", "lone surrogates")),
        pytest.param("right-to-left", marks=pytest.mark.case("Text", "right-to-left")),
        pytest.param("emoji", marks=pytest.mark.case("Text", "emoji")),
        pytest.param("Chinese", marks=pytest.mark.case("Text", "Chinese with language English")),
    ],
)
def test_what_is_not_spoken_is_named(found, name: str) -> None:
    assert found[f"text {name}"] == TEXTS[name]


REFUSED = {
    "text long": r"the speech takes about 680 s to say and the clip lasts 0.3 s: shorten it, or ask for \d+ frames",
    "text empty": "the speech is empty: write what the person says",
    "text only emoji": "the speech is empty: write what the person says",
    "text only Hebrew": "this model's vocabulary has none of 'ש', 'ל', 'ו', 'ם', and the speech has nothing else",
    "text only half": "the speech is empty: write what the person says",
    "text only Chinese": "has none of '你', '好', .* Chinese is read only where the language is zh or auto",
    "caption half": r"the caption holds '\\udce9', half a character .* at place 3: write it again",
}


@pytest.mark.case("Text", "ten thousand characters")
@pytest.mark.case("Text", "empty")
@pytest.mark.case("Text", "emoji")
@pytest.mark.case("Text", "right-to-left")
@pytest.mark.case("Text", "lone surrogates")
@pytest.mark.case("Text", "Chinese with language English")
@pytest.mark.parametrize("name", REFUSED)
def test_texts_that_are_refused(found, name: str) -> None:
    assert re.search(REFUSED[name], found[name])


@pytest.mark.case("Text", "caption beyond what the model reads, cut visibly")
@pytest.mark.case("Text", "ten thousand characters")
@pytest.mark.case("Text", "empty")
def test_long_and_empty_captions(found) -> None:
    assert found["caption long"] == [
        "the caption has 600 tokens, of which the model reads the first 512: the rest has no effect"
    ]
    assert found["caption bytes"] == [
        "the caption has 10000 bytes, of which the tiny model reads the first 255: the last 9745 are cut off"
    ]
    assert found["caption empty"] == []


def test_the_host_goes_on_working(found) -> None:
    assert found["goes on"]
