"""Lip-sync score and judge in the host: what they load, refuse, measure and send."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest
from host.hosts import Failed, Host, Refused, Server, run_inside, serve
from host.listening import hear
from judges import GOOD, KEY, said, serving
from judges import Server as Service
from media import tone, write_video
from PIL import Image
from syncnets import write_syncnet, write_talking

from evaluation.clips import Clip
from evaluation.sync import detector, network, score

LATE = 3
MARK = (255, 160, 60)  # of the least distance in the plot


@pytest.fixture(scope="module")
def measured(host: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("models")
    return run_inside(host, tmp_path_factory.mktemp("packs"), "in_process_measuring.py", str(folder))


def test_nothing_of_evaluation_is_loaded_until_a_node_measures(measured):
    assert measured["loaded at start"] == measured["loaded by refusals"] == measured["loaded by others"] == []
    assert measured["beside the pack"] == []  # and then as a part of the pack


@pytest.mark.case("Life", "a package for measuring is not installed")
@pytest.mark.parametrize(
    ("module", "package"), [("dlib", "dlib-bin"), ("python_speech_features", "python_speech_features")]
)
def test_missing_packages_are_named_with_the_command_and_other_nodes_work(measured, module, package):
    for when in ("queued", "run"):
        sentence = measured[f"{when} without {module}"]
        assert f"the lip-sync score needs {package}, which ComfyUI does not bring along" in sentence
        assert re.search(rf'run "\S+python\S*" -m pip install {package}$', sentence)
    assert measured["others work"]


@pytest.mark.case("Disk and network", "the download of SyncNet is cancelled")
def test_syncnet_is_fetched_on_the_users_word(measured):
    assert "there is no syncnet_v2.model in models/syncnet: choose syncnet_v2.model and switch" in measured["missing"]
    assert measured["to be fetched"] is True
    assert measured["cancelled leaves"] == []
    assert measured["fetched"] == "published" and measured["fetched once"]


def test_the_choices_are_those_of_evaluation(measured):
    assert measured["same choices"] and measured["same file"]


@pytest.fixture(scope="module")
def measuring(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A host with a key, a SyncNet whose answer is known, and clips."""
    base = tmp_path_factory.mktemp("measuring")
    for folder in ("models/syncnet", "input"):
        (base / folder).mkdir(parents=True)
    write_syncnet(base / "models/syncnet/known.model")
    (base / "models/syncnet/broken.model").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    write_talking(base / "input/late.mp4", LATE)
    write_talking(base / "input/long.mp4", frames=250)
    write_talking(base / "input/faceless.mp4", face=False)
    pictures = [np.full((64, 64, 3), 90, np.uint8)] * 16
    write_video(base / "input/mute.mp4", pictures)
    write_video(base / "input/silent.mp4", pictures, sound=tone(1, 24_000) * 0)
    write_video(base / "input/other.mkv", pictures, sound=tone(1, 24_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIAVGEN_JUDGE_KEY", KEY)
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        with serve(host, base) as running:
            yield running


@pytest.fixture
def lips(host: Host, measuring: Server) -> Server:
    """Where the lip-sync score can run."""
    lacks = subprocess.run([host.python, "-c", "import dlib, python_speech_features"], capture_output=True, text=True)
    if lacks.returncode:
        pytest.skip(f"{host.python} lacks {lacks.stderr.split()[-1]}: pip install dlib-bin python_speech_features")
    return measuring


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def graph(name: str, measure: dict[str, Any], clip: str, taken_apart: bool = False) -> dict[str, Any]:
    """A clip that is loaded, and perhaps taken apart and made again, for a node that measures."""
    again = {
        "parts": node("GetVideoComponents", video=["film", 0]),
        "made": node("CreateVideo", images=["parts", 0], audio=["parts", 1], fps=["parts", 2]),
    }
    measure["inputs"]["video"] = ["made" if taken_apart else "film", 0]
    return {"film": node("LoadVideo", file=clip), **(again if taken_apart else {}), name: measure}


def scored(clip: str, taken_apart: bool = False, weights: str = "known.model") -> dict[str, Any]:
    return graph("score", node("UniAVGenLipSyncScore", weights=weights, download=False), clip, taken_apart)


def judged(clip: str, at: Service | None = None, taken_apart: bool = False, **changes: Any) -> dict[str, Any]:
    asked = {
        "service": "openai",
        "model": "a-model",
        "endpoint": at.url if at else "https://judge.invalid/v1",
    }
    asked |= {"key_variable": "UNIAVGEN_JUDGE_KEY", "runs": 3, "form": "file", "send": True}
    return graph("judge", node("UniAVGenJudge", **{**asked, **changes}), clip, taken_apart)


def test_a_known_shift_is_found_and_shown(lips: Server):
    """As the command line measures the same file; the node shows it, and the plot marks it."""
    base = lips.base
    workflow = scored("late.mp4")
    workflow["plot"] = node("SaveImage", images=["score", 3], filename_prefix="plot")
    workflow["numbers"] = node("PreviewAny", source=["score", 2])
    heard = hear(lips, workflow)
    assert heard.end == "execution_success"
    by_command = score.lip_sync(
        Clip("late", base / "input/late.mp4").read(),
        network.load(base / "models/syncnet/known.model"),
        detector.dlib_detector(),
    )
    assert by_command.offset == LATE
    told = f"LSE-C {by_command.confidence:.2f}, LSE-D {by_command.distance:.2f}, offset +3: the lips come 0.12 s after"
    assert heard.texts_on("score")[-1] == f"{told} the sound"
    outputs = {event["data"]["node"]: event["data"]["output"] for event in heard.events if event["type"] == "executed"}
    assert outputs["score"]["text"] == [f"{told} the sound"] and outputs["numbers"]["text"] == ["3"]
    (image,) = outputs["plot"]["images"]
    pixels = np.asarray(Image.open(base / "output" / image["filename"]).convert("RGB"))
    assert pixels.shape == (440, 720, 3)
    _, columns = (pixels[56:377] == MARK).all(axis=2).nonzero()
    assert columns.mean() == pytest.approx(64 + (LATE + 15) / 30 * (720 - 64 - 72), abs=1)
    again = hear(lips, workflow)  # as the host keeps what it knows
    assert [event["data"] for event in again.events if event["type"] == "progress"] == []


def test_a_video_that_is_no_file_is_measured_alike(lips: Server):
    told = lips.run(scored("late.mp4", taken_apart=True))["score"]["text"]
    assert "offset +3: the lips come 0.12 s after the sound" in told[0]


@pytest.mark.case("Media", "a clip in which no face is found, for the lip-sync score")
def test_a_clip_without_a_face(lips: Server):
    with pytest.raises(Failed, match="the clip has no lip-sync score: no face was found: one must face the camera"):
        lips.run(scored("faceless.mp4"))


@pytest.mark.case("Media", "a clip without sound, for the lip-sync score")
@pytest.mark.parametrize(("clip", "reason"), [("mute.mp4", "it has no sound"), ("silent.mp4", "its sound is silent")])
@pytest.mark.parametrize("taken_apart", [False, True])
def test_a_clip_without_sound(lips: Server, clip: str, reason: str, taken_apart: bool):
    with pytest.raises(Failed, match=f"the clip has no lip-sync score: {reason}"):
        lips.run(scored(clip, taken_apart))


@pytest.mark.case("Files", "a file that is no SyncNet")
def test_another_file_than_syncnets(lips: Server):
    with pytest.raises(Failed, match=r"broken\.model is a Git-LFS pointer, not the file itself: download syncnet"):
        lips.run(scored("late.mp4", weights="broken.model"))
    with pytest.raises(Refused, match=r"there is no gone\.model in models/syncnet"):
        lips.submit(scored("late.mp4", weights="gone.model"))


@pytest.mark.case("Life", "cancelled while lip sync is measured")
def test_cancelling_the_lip_sync_score(lips: Server):
    heard = hear(lips, scored("long.mp4"), interrupt="score", after=1.0)
    assert (heard.end, heard.events[-1]["data"]["node_id"]) == ("execution_interrupted", "score")
    assert heard.seconds_to_end < 1


def test_until_send_is_on_nothing_is_sent(measuring: Server, service: Service):
    service.reply(said(GOOD))
    workflow = judged("late.mp4", service, send=False, key_variable="UNIAVGEN_NOT_SET")
    workflow["number"] = node("PreviewAny", source=["judge", 0])
    workflow["reasons"] = node("PreviewAny", source=["judge", 2])
    heard = hear(measuring, workflow)
    assert heard.end == "execution_success" and not service.asked
    outputs = {event["data"]["node"]: event["data"]["output"] for event in heard.events if event["type"] == "executed"}
    (plan,) = outputs["judge"]["text"]
    assert f"To {service.url.removesuffix('/v1')}, model a-model:" in plan
    assert "1 of 1 clips, 3 times each: 3 requests, " in plan and "Nothing was sent: switch 'send' on" in plan
    assert heard.texts_on("judge") == [plan] and outputs["reasons"]["text"] == [plan]
    assert "number" not in outputs  # there is none


@pytest.mark.case("Parameters", "a switch given as text")
@pytest.mark.parametrize("send", ["false", "off", "no", "what?", {}, 0])
def test_a_switch_given_as_text_is_read(measuring: Server, service: Service, send: Any):
    """The host takes any text for on. What stands beside it, broken, changes nothing."""
    service.reply(said(GOOD))
    workflow = judged("late.mp4", service, send=send, key_variable="UNIAVGEN_NOT_SET")
    broken = {"0": None, "1": {}, "2": {"class_type": ["UniAVGenJudge"], "inputs": 1}}
    with suppress(Refused):  # as some hosts do with the broken ones
        measuring.submit({**broken, **workflow})
    assert "Nothing was sent" in measuring.run(workflow)["judge"]["text"][0]
    assert not service.asked
    workflow = judged("late.mp4", service, send="True", runs=1)
    assert measuring.run(workflow)["judge"]["text"][0].startswith("TC ") and len(service.asked) == 1


def test_scores_and_reasons(measuring: Server, service: Service):
    """The file goes as it is; the same graph is not sent twice; the key is nowhere but in the request."""
    for timbre in (0.5, 0.75, 1.0):
        service.reply(said(f'{{"score": [{timbre}, 0.5], "reason": "because {timbre}"}}'))
    workflow = judged("late.mp4", service)
    workflow["number"] = node("PreviewAny", source=["judge", 0])
    outputs = measuring.run(workflow)
    assert outputs["number"]["text"] == ["0.75"]
    told, *reasons = outputs["judge"]["text"][0].splitlines()
    assert told == "TC 0.750, EC 0.500"
    assert reasons == [f"{i}. TC {t:g}, EC 0.5: because {t}" for i, t in enumerate((0.5, 0.75, 1.0), 1)]
    assert len(service.asked) == 3 and service.asked[0][1]["authorization"] == f"Bearer {KEY}"
    sent = service.asked[0][2]["messages"][0]["content"][1]["video_url"]["url"]
    assert base64.b64decode(sent.partition(",")[2]) == (measuring.base / "input/late.mp4").read_bytes()
    measuring.run(workflow)
    assert len(service.asked) == 3
    assert KEY not in str(measuring.get("/history")) + (measuring.base / "log.txt").read_text()


@pytest.mark.parametrize(("form", "kinds"), [("file+sound", ["video_url", "input_audio"]), ("frames", ["image_url"])])
def test_a_video_that_is_no_file_is_sent_in_each_form(measuring: Server, service: Service, form: str, kinds: list[str]):
    service.reply(said(GOOD))
    measuring.run(judged("late.mp4", service, taken_apart=True, form=form, runs=1))
    content = service.asked[0][2]["messages"][0]["content"][1:]
    assert [part["type"] for part in content[: len(kinds)]] == kinds
    if form != "frames":
        data = base64.b64decode(content[0]["video_url"]["url"].partition(",")[2])
        with av.open(BytesIO(data), format="mp4") as container:
            assert container.streams.video[0].frames == 40 and len(container.streams.audio) == 1


REFUSED = [
    ({"model": " "}, "there is no model: give its name at the service"),
    ({"endpoint": ""}, "openai needs an endpoint"),
    ({"endpoint": "judge.invalid"}, "give an address as https://HOST/v1"),
    ({"endpoint": "https://me:hidden@judge.invalid/v1"}, "the key belongs into an environment variable"),
    ({"key_variable": ""}, "openai needs a key variable"),
    ({"key_variable": "UNIAVGEN_NOT_SET"}, "there is no key: put it into the environment variable"),
    ({"key_variable": "UNIAVGEN_no-name"}, "not the key itself"),
    (
        {"service": "gemini", "endpoint": "", "key_variable": ""},
        "there is no key: put it into the environment variable",
    ),
    ({"runs": 0}, "runs must be a number from 1 to 20"),
    ({"service": "another"}, "there is no service 'another': choose gemini, openai"),
    ({"form": "whole"}, "there is no form 'whole': choose file, file+sound, frames"),
    pytest.param(
        {"key_variable": "sk-hidden"},
        "that begins with UNIAVGEN_",
        marks=pytest.mark.case("Parameters", "an API key in place of the name of its variable"),
    ),
    pytest.param(
        {"key_variable": "HOME"},
        "could be a secret that a workflow from elsewhere sends anywhere",
        marks=pytest.mark.case("Parameters", "a workflow that would send another secret of the machine"),
    ),
    pytest.param(
        {"service": "gemini", "key_variable": ""},
        "GEMINI_API_KEY goes to Google alone",
        marks=pytest.mark.case("Parameters", "a workflow that would send Google's key to another address"),
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSED)
def test_the_judge_refuses_before_anything_runs(measuring: Server, changes: dict[str, Any], sentence: str):
    with pytest.raises(Refused) as refusal:
        measuring.submit(judged("late.mp4", **changes))
    assert sentence in str(refusal.value)


@pytest.mark.case("Media", "a clip that cannot be judged")
@pytest.mark.parametrize(
    ("clip", "sentence"),
    [
        ("mute.mp4", "the clip cannot be judged: it has no sound"),
        ("silent.mp4", "the clip cannot be judged: its sound is silent"),
        ("other.mkv", "services take no .mkv files: make it an MP4, or choose the form frames"),
    ],
)
def test_clips_that_cannot_be_judged(measuring: Server, service: Service, clip: str, sentence: str):
    with pytest.raises(Failed) as failure:
        measuring.run(judged(clip, service))
    assert sentence in str(failure.value) and not service.asked


@pytest.mark.case("Disk and network", "the judge's service refuses or talks nonsense")
@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        ({"error": {"message": f"bad key {KEY}"}}, 401, "the clip cannot be judged: .*bad key .{3}: check the key"),
        (said("I would rather not."), 200, "3 answers in a row are no use; of the last: it holds no"),
    ],
)
def test_a_service_that_does_not_judge(
    measuring: Server, service: Service, content: object, status: int, sentence: str
):
    service.reply(content, status)
    with pytest.raises(Failed, match=sentence) as failure:
        measuring.run(judged("late.mp4", service))
    assert KEY not in str(failure.value)


@pytest.mark.case("Life", "cancelled while a judge is waited for")
def test_cancelling_the_judge(measuring: Server, service: Service):
    """Also in the middle of a request that is never answered."""
    service.script.append(lambda handler: service.ended.wait(60))
    heard = hear(measuring, judged("late.mp4", service), interrupt="judge", after=2.0)
    assert heard.end == "execution_interrupted" and len(service.asked) == 1
    assert heard.seconds_to_end < 1
