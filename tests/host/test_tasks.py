"""Every workflow on media in a real ComfyUI, and its file taken apart.

With UNIAVGEN_MEDIA on the media of that folder, else on small ones made here (see conftest.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from host.hosts import ROOT, Failed, Refused
from media import grey, tone, write_sound, write_video
from PIL import Image

from scripts.released_workflows import originals

STEPS = 2


@dataclass(frozen=True)
class File:
    """What an MP4 holds. times: of its pictures, in seconds; frames uint8 [F, H, W, 3]; sound [channels, samples]"""

    codecs: tuple[str, str]
    rate: Fraction
    times: list[Fraction]
    frames: np.ndarray
    sound: np.ndarray
    sample_rate: int
    tags: dict[str, str]


def read(path: Path) -> File:
    with av.open(str(path), format="mp4") as container:
        video = container.streams.video[0]
        sound = container.streams.audio[0] if container.streams.audio else None
        codecs = video.codec_context.name, sound and sound.codec_context.name
        rate, sample_rate, tags = video.average_rate, sound and sound.rate, dict(container.metadata)
        frames = list(container.decode(video))
    with av.open(str(path), format="mp4") as container:
        parts = [frame.to_ndarray() for frame in container.decode(audio=0)] if sound else [np.zeros((1, 0))]
    times = [frame.pts * frame.time_base for frame in frames]
    pixels = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    return File(codecs, rate, times, pixels, np.concatenate(parts, axis=1), sample_rate, tags)


def load(name: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """An API workflow with few steps and other changes: ``{"node.input": value}``, None takes the input away."""
    graph = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text())
    steps = "schedule.steps" if name == "custom_sampling" else "sampler.steps"
    for target, value in {steps: STEPS, **(changes or {})}.items():
        node, key = target.split(".")
        if value is None:
            del graph[node]["inputs"][key]
        else:
            graph[node]["inputs"][key] = value
    return graph


def run(server, graph: dict[str, Any]) -> Path:
    return saved(server, server.run(graph))


def saved(server, outputs: dict[str, Any], node: str = "save") -> Path:
    """The file that a run has saved."""
    (item,) = outputs[node]["images"]
    return server.base / "output" / item["subfolder"] / item["filename"]


@pytest.mark.parametrize("name", originals())
def test_every_workflow_gives_a_whole_clip(server, inputs, name):
    graph = load(name, {"earlier.file": "earlier.mp4"} if name == "continue" else {})
    result = read(run(server, graph))
    assert result.codecs == ("h264", "aac")
    seconds = len(result.frames) / result.rate
    assert result.sound.shape[1] == round(seconds * result.sample_rate)
    assert result.times == [i / result.rate for i in range(len(result.frames))]
    assert np.isfinite(result.sound).all() and np.abs(result.sound).max() > 1e-3
    assert all(frame.std() > 1 for frame in result.frames) or name in ("dub", "continue")
    brought = json.loads(result.tags["prompt"])  # the file brings its workflow along
    assert [node["inputs"] for node in brought.values()] == [node["inputs"] for node in graph.values()]
    source = {"dub": "clip.mp4", "continue": "earlier.mp4"}.get(name)
    if name == "dub":
        original = read(inputs / source)
        assert result.rate == original.rate
        assert np.array_equal(result.frames, original.frames)
    elif name == "continue":
        original = read(inputs / source)
        assert result.rate == 16
        assert len(result.frames) == len(original.frames) + 81 - 21
        shrunk = original.frames.mean(axis=(1, 2, 3))
        assert np.abs(result.frames[: len(shrunk)].mean(axis=(1, 2, 3)) - shrunk).max() < 4
    else:
        frames = {"long": 161}.get(name, 81)
        if name == "audio_driven":
            with av.open(str(inputs / "speech.wav")) as container:
                needed = float(container.duration / av.time_base) * 16
            frames = int(-(-(needed - 1) // 4) * 4 + 1)
        assert (result.rate, len(result.frames)) == (16, frames)


def test_driving_audio_reaches_the_file(server, inputs):
    """As it is, in stereo and at its own rate, not through the model."""
    result = read(run(server, load("audio_driven")))
    with av.open(str(inputs / "speech.wav")) as container:
        frames = [frame.to_ndarray().reshape(-1, container.streams.audio[0].channels) for frame in container.decode()]
        rate = container.streams.audio[0].rate
    original = np.concatenate(frames).T / 32768
    assert (result.sample_rate, result.sound.shape[0]) == (rate, original.shape[0])
    n = min(original.shape[1], result.sound.shape[1])
    assert np.corrcoef(original[0, :n], result.sound[0, :n])[0, 1] > 0.95
    assert np.abs(result.sound[:, n:]).max(initial=0) < 0.05  # silence to the end of the pictures


@pytest.mark.case("Text", "empty")
def test_nothing_need_be_said_where_sound_drives(server, inputs):
    small = {"conditions.width": 64, "conditions.height": 64, "text.speech": ""}
    assert len(read(run(server, load("audio_driven", small))).frames) > 33


def test_a_continued_clip_keeps_its_own_sound(server, inputs):
    """A quiet clip in stereo at 44.1 kHz stays so; what goes on is as loud as it, not as loud as the model."""
    quiet = 0.02 * tone(2.5, 44_100, channels=2)
    write_video(inputs / "quiet.mp4", [grey(i) for i in range(40)], fps=16, sound=quiet, sample_rate=44_100)
    small = {"conditions.width": 64, "conditions.height": 64, "conditions.frames": 33, "earlier.file": "quiet.mp4"}
    original = read(inputs / "quiet.mp4")
    result = read(run(server, load("continue", {**small, "text.speech": "Hi."})))
    assert (result.sample_rate, result.sound.shape) == (44_100, (2, round((40 + 12) / 16 * 44_100)))
    seam = round(2.4 * 44_100)
    assert np.corrcoef(original.sound[0, 4_000:seam], result.sound[0, 4_000:seam])[0, 1] > 0.99
    assert np.abs(result.sound[:, :seam]).max() == pytest.approx(np.abs(original.sound[:, :seam]).max(), rel=0.2)
    assert 0 < np.abs(result.sound[:, 2 * 55_125 + 4_000 :]).max() < 0.05
    loud = read(run(server, load("continue", {**small, "earlier.file": "earlier.mp4", "text.speech": "Hi."})))
    assert np.abs(loud.sound).max() > 0.1


@pytest.mark.parametrize("name", ["long", "custom_sampling"])
def test_every_sampler_goes_on_from_a_clip(server, inputs, name):
    """Through windows and through SamplerCustomAdvanced: not a frame is lost or doubled."""
    small = {"conditions.width": 64, "conditions.height": 64, "conditions.frames": 49, "text.speech": "Hi there."}
    graph = load(name, {**small, **({"sampler.window": 33} if name == "long" else {})})
    graph["earlier"] = {"class_type": "LoadVideo", "inputs": {"file": "earlier.mp4"}}
    graph["conditions"]["inputs"].update(earlier_video=["earlier", 0], continued_latents=3)
    graph["mux"]["inputs"].update(earlier=["earlier", 0], latent=["sampler", 0])
    original, result = read(inputs / "earlier.mp4"), read(run(server, graph))
    count = round(len(original.frames) / original.rate * 16)
    assert len(result.frames) == count + 49 - 9
    assert result.sound.shape[1] == round(len(result.frames) / 16 * result.sample_rate)


def test_a_long_clip_is_whole_and_runs_on(server, inputs):
    """One progress bar over all windows; the clip of the windows differs from window to window."""
    small = {"conditions.width": 64, "conditions.height": 64, "conditions.frames": 65, "sampler.window": 33}
    graph = load("long", {**small, "text.speech": "One two three. Four five six. Seven eight nine."})
    graph["masks"] = {"class_type": "MaskToImage", "inputs": {"mask": ["sampler", 1]}}
    graph["seen"] = {"class_type": "PreviewImage", "inputs": {"images": ["masks", 0]}}
    outputs = server.run(graph)
    assert len(outputs["seen"]["images"]) == 65  # a face mask for each frame
    result = read(saved(server, outputs))
    assert len(result.frames) == 65


def test_windows_as_long_as_the_clip_are_the_joint_sampler(server, inputs):
    """The same pictures to the last bit."""
    small = {"conditions.width": 64, "conditions.height": 64, "conditions.frames": 33, "text.speech": "Hello there."}
    long = read(run(server, load("long", {**small, "sampler.seed": 5})))
    joint = read(run(server, load("joint", {**small, "sampler.seed": 5})))
    assert np.array_equal(long.frames, joint.frames)


def test_previews_are_pictures(server, inputs):
    """The overlay has one for each frame, the mel is one."""
    outputs = server.run(load("joint_voice", {"conditions.frames": 5, "text.speech": "Hi."}))
    assert (len(outputs["seen"]["images"]), len(outputs["heard"]["images"])) == (5, 1)
    for node in ("seen", "heard"):
        pixels = np.asarray(Image.open(server.base / "temp" / outputs[node]["images"][0]["filename"]).convert("RGB"))
        assert pixels.std() > 5


RATES = ["16", "24000/1001", "25", "30000/1001", "30", "60"]


def mux(footage: str, **inputs: Any) -> dict[str, Any]:
    return {
        "footage": {"class_type": "LoadVideo", "inputs": {"file": footage}},
        "audio": {"class_type": "LoadAudio", "inputs": {"audio": "speech.wav"}},
        "mux": {
            "class_type": "UniAVGenMux",
            "inputs": {"audio": ["audio", 0], "fps": 16.0, "source": ["footage", 0], **inputs},
        },
        "save": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["mux", 0], "filename_prefix": "mux/clip", "format": "mp4", "codec": "h264"},
        },
    }


@pytest.mark.case("Media", "23.976, 29.97 and 60 pictures a second")
@pytest.mark.parametrize("rate", RATES)
def test_a_source_keeps_its_pictures_times_and_rate(server, inputs, rate):
    name = f"source-{rate.replace('/', '-')}.mp4"
    write_video(inputs / name, [grey(i) for i in range(41)], fps=Fraction(rate))
    original, result = read(inputs / name), read(run(server, mux(name)))
    assert result.rate == Fraction(rate)
    assert result.times == original.times
    assert np.array_equal(result.frames, original.frames)
    assert result.sound.shape[1] == round(41 / Fraction(rate) * result.sample_rate)


@pytest.mark.case("Media", "23.976, 29.97 and 60 pictures a second")
@pytest.mark.parametrize(("fps", "exact"), [(23.976, "24000/1001"), (29.97, "30000/1001"), (12.5, "25/2")])
def test_rates_of_pictures_are_exact(server, inputs, fps, exact):
    graph = mux("clip.mp4", fps=fps, images=["components", 0])
    del graph["mux"]["inputs"]["source"]
    graph["components"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["footage", 0]}}
    original, result = read(inputs / "clip.mp4"), read(run(server, graph))
    assert result.rate == Fraction(exact)
    assert result.times == [i / Fraction(exact) for i in range(len(original.frames))]
    assert result.sound.shape[1] == round(len(original.frames) / Fraction(exact) * result.sample_rate)


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_the_original_sound_is_mixed_below(server, inputs, level):
    """A 3 kHz tone in the source below a 440 Hz one, at the level asked for."""
    write_video(inputs / "tone.mp4", [grey(i) for i in range(32)], fps=16, sound=tone(2.0, 24_000, 3000.0))
    write_sound(inputs / "low.wav", 0.4 * tone(2.0, 48_000), 48_000, codec="pcm_s16le", sample_format="s16")
    graph = mux("tone.mp4", original_level=level)
    graph["audio"]["inputs"]["audio"] = "low.wav"
    result = read(run(server, graph))
    assert (result.sample_rate, result.sound.shape[1]) == (48_000, 96_000)
    spectrum = np.abs(np.fft.rfft(result.sound[0, 24_000:72_000])) / 24_000  # amplitudes, 1 Hz a bin
    assert spectrum[430:450].max() == pytest.approx(0.2, rel=0.1)
    assert spectrum[2990:3010].max() == pytest.approx(0.5 * level, rel=0.1, abs=0.005)


def test_a_dubbed_video_goes_on_as_video(server, inputs):
    """Other nodes see the source's pictures with the new sound, and so does another container."""
    graph = mux("clip.mp4")
    graph["components"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["mux", 0]}}
    graph["again"] = {
        "class_type": "CreateVideo",
        "inputs": {"images": ["components", 0], "audio": ["components", 1], "fps": ["components", 2]},
    }
    graph["save"]["inputs"]["video"] = ["again", 0]
    original, result = read(inputs / "clip.mp4"), read(run(server, graph))
    assert len(result.frames) == len(original.frames)
    assert result.sample_rate == 44_100


@pytest.mark.case("Media", "variable frame rate")
def test_variable_rates_are_read_by_their_times(server, inputs):
    """Pictures that come ever later: the dubbed file shows them when the source does."""
    times = [Fraction(i * i, 200) for i in range(20)]  # 0 to 1.8 s
    write_video(inputs / "variable.mp4", [grey(3 * i) for i in range(20)], times=times)
    graph = load("dub", {"footage.file": "variable.mp4", "text.speech": "Hello."})
    original, result = read(inputs / "variable.mp4"), read(run(server, graph))
    assert result.times == original.times
    assert np.array_equal(result.frames, original.frames)


def test_a_latent_is_continued(server, inputs):
    """The new clip begins with the end of the earlier latent, and needs no picture."""
    graph = load("joint", {"conditions.frames": 33, "text.speech": "Hello, please."})
    graph["more"] = {
        "class_type": "UniAVGenConditions",
        "inputs": {
            **graph["conditions"]["inputs"],
            **{"width": 0, "height": 0, "earlier_latent": ["sampler", 0], "continued_latents": 3},
        },
    }
    del graph["more"]["inputs"]["reference_image"]
    graph["next"] = json.loads(json.dumps(graph["sampler"]))
    graph["next"]["inputs"].update(positive=["more", 0], negative=["more", 1], latent=["more", 2], seed=1)
    for node, source in (("video2", "video"), ("sound2", "sound"), ("mux2", "mux"), ("save2", "save")):
        graph[node] = json.loads(json.dumps(graph[source]))
    graph["video2"]["inputs"]["samples"] = graph["sound2"]["inputs"]["latent"] = ["next", 0]
    graph["mux2"]["inputs"].update(images=["video2", 0], audio=["sound2", 0])
    graph["save2"]["inputs"].update(video=["mux2", 0], filename_prefix="next/clip")
    outputs = server.run(graph)
    first, second = (read(saved(server, outputs, node)) for node in ("save", "save2"))
    assert len(second.frames) == 33
    same = np.abs(first.frames[-9:].astype(float) - second.frames[:9].astype(float)).mean()
    other = np.abs(first.frames[-9:].astype(float) - second.frames[9:18].astype(float)).mean()
    assert same < 2.5  # of 255: decoded, encoded, decoded; measured 1.7
    assert same < other  # a talking face hardly moves but for its mouth


TINY_CLIP = {"conditions.frames": 5, "text.speech": "Hi."}

# workflow, changes -> what the answer must contain
REFUSED = [
    ("joint_voice", {"text.transcript": ""}, "the reference voice needs its transcript"),
    ("joint", {"text.transcript": "Hello."}, "there is a transcript but no reference voice"),
    ("joint", {"conditions.reference_image": None}, "there is no one to see: give a picture of the person"),
    ("audio_driven", {"conditions.reference_voice": ["audio", 0]}, "a reference voice is of no use where all sound"),
    ("audio_driven", {"conditions.video": ["footage", 0]}, "sound and footage cannot be given together"),
    ("audio_driven", {"conditions.earlier_video": ["footage", 0]}, "sound and an earlier clip cannot be given"),
    ("dub", {"conditions.earlier_video": ["footage", 0]}, "footage and an earlier clip cannot be given together"),
    ("continue", {"conditions.earlier_latent": ["blank", 0]}, "connect earlier_video or earlier_latent, not both"),
    ("audio_driven", {"conditions.as_long_as_given": False, "conditions.frames": 33}, "the sound lasts"),
    ("dub", {"conditions.as_long_as_given": False, "conditions.frames": 17}, "the footage lasts"),
    ("continue", {"earlier.file": "silent.mp4"}, "has no sound: give a file with a sound track"),
    ("continue", {"earlier.file": "short.mp4"}, "to go on from 6 latents it needs at least 21"),
    (
        "continue",
        {"conditions.frames": 17, "text.speech": "Hi."},
        "6 latents, 21 frames, of an earlier clip leave nothing to make in 17 frames",
    ),
    ("continue", {"conditions.frames": 21, "text.speech": "Hi."}, "leave nothing to make in 21 frames"),
    ("continue", {"conditions.frames": 25, "text.speech": "word " * 10}, "1.6 s, 0.2 s of them new: shorten it"),
    ("continue", {"mux.latent": None, **TINY_CLIP, "conditions.frames": 25}, "connect 'latent' with the AV LATENT"),
    ("joint", {"text.speech": " ", **{"conditions.frames": 5}}, "the speech is empty: write what the person says"),
    ("joint", {"text.speech": "Да", **{"conditions.frames": 5}}, "vocabulary has none of 'Д', 'а'"),
    (
        "long",
        {"conditions.frames": 33, "sampler.window": 17, "sampler.overlap": 1, "text.speech": "Hi.\n---\n" + "ab " * 15},
        "and the clip lasts 1.1 s: shorten it",
    ),
    ("dub", {"footage.file": "sound.mp4"}, "has no pictures"),
    ("dub", {"footage.file": "cut.mkv"}, "it was cut off or is damaged"),
    ("dub", {"footage.file": "list.mp4"}, "cannot be read as video"),
    ("joint", {"text.speech": "word " * 100}, "takes about 33 s to say and the clip lasts 5.1 s: shorten it"),
    ("audio_driven", {"conditions.driving_audio": ["fakes", 6], "text.speech": ""}, "samples that are NaN or infinite"),
    ("joint_voice", {"conditions.reference_voice": ["fakes", 6]}, "samples that are NaN or infinite"),
    ("long", {"text.speech": "\n---\n".join("abcde")}, "5 parts between lines of dashes"),
    ("long", {"sampler.vae": ["fakes", 2]}, "this VAE makes latents of 16 channels"),
    ("joint", {"mux.images": None, **TINY_CLIP}, "there are no pictures: connect images, or the source"),
    (
        "joint",
        {"mux.original_level": 0.5, **TINY_CLIP},
        "original_level mixes in the sound of a source, and none is connected",
    ),
    ("dub", {"mux.original_level": 0.5, "footage.file": "silent.mp4"}, "has no sound"),
    ("continue", {"mux.fps": 25.0, **TINY_CLIP, "conditions.frames": 25}, "set fps to 16"),
]
REFUSED_AT_ONCE = [
    ("long", {"sampler.window": 82}, "The next ones are 81 and 85"),
    ("long", {"sampler.overlap": 21}, "windows of 21 latents can overlap by 1 to 20 latents, not 21"),
    ("long", {"sampler.steps": 0}, "sampling needs at least 1 step"),
    ("dub", {"mux.original_level": float("nan")}, "the original sound must be from 0 (none) to 1"),
    ("dub", {"conditions.continued_latents": 0}, "smaller than min"),
    ("joint_voice", {"voice.audio": "missing.wav"}, "Invalid audio file"),
    ("dub", {"footage.file": "missing.mp4"}, "Invalid video file"),
]


@pytest.fixture(scope="module")
def faulty(inputs) -> Path:
    """Files that are something else than they should be, beside the others."""
    write_video(inputs / "silent.mp4", [grey(i) for i in range(40)], fps=16)
    write_video(inputs / "short.mp4", [grey(i) for i in range(10)], fps=16, sound=tone(0.6, 24_000))
    write_sound(inputs / "sound.mp4", tone(2.0, 24_000), 24_000, codec="aac")
    whole = write_video(inputs / "whole.mkv", [grey(i) for i in range(60)], fps=16).read_bytes()
    (inputs / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (inputs / "list.mp4").write_text("ffconcat version 1.0\nfile 'clip.mp4'\n")
    return inputs


def with_extras(graph: dict[str, Any]) -> dict[str, Any]:
    """The graph with the nodes that faulty wires come from, where it does not have them."""
    graph.setdefault("footage", {"class_type": "LoadVideo", "inputs": {"file": "earlier.mp4"}})
    graph["fakes"] = {"class_type": "UniAVGenTestFakes", "inputs": {}}
    graph["blank"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
    return graph


def case_name(case: Any) -> str:
    return ",".join(f"{key}={str(value)[:20]}" for key, value in case.items()) if isinstance(case, dict) else ""


@pytest.mark.case("Media", "conditioning that is too long")
@pytest.mark.case("Text", "missing transcript")
@pytest.mark.case("Text", "transcript without a voice")
@pytest.mark.parametrize(("name", "changes", "sentence"), REFUSED, ids=case_name)
def test_refused_with_a_sentence(server, faulty, name, changes, sentence):
    with pytest.raises(Failed) as failure:
        server.run(with_extras(load(name, {"conditions.width": 64, "conditions.height": 64, **changes})))
    assert sentence in str(failure.value)


@pytest.mark.parametrize(("name", "changes", "sentence"), REFUSED_AT_ONCE, ids=case_name)
def test_refused_before_anything_runs(server, faulty, name, changes, sentence):
    with pytest.raises(Refused) as refusal:
        server.submit(load(name, changes))
    assert sentence in str(refusal.value)
