"""The judge: what it asks, and what it makes of good and bad answers."""

from __future__ import annotations

import base64
import io
import json
import wave
from fractions import Fraction

import numpy as np
import pytest
from judges import GOOD, KEY, Server, asks, gemini, openai, said
from media import grey, tone

from evaluation.judging import (
    Answer,
    Declined,
    Gemini,
    OpenAI,
    Unusable,
    of_file_and_sound,
    of_frames,
)
from evaluation.judging.answers import parse
from evaluation.recording import Recording, Unmeasurable


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"Here you are:\n```json\n{GOOD}\n```\nI hope this helps {{}}.",
        f'I would begin with {{"score": [0, 0]}} {{ but then: {GOOD}',
        GOOD.replace(", ", ",\n\t"),
    ],
)
def test_the_scores_are_found_in_whatever_surrounds_them(text: str) -> None:
    assert parse(text) == Answer(0.75, 0.5, "young woman, calm")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing"),
        ("I'm sorry, but I can't judge people.", "can't judge people"),
        ('{"score": [0.5, 0.5], "reason": ', "holds no"),
        ('{"scores": [0.5, 0.5]}', "holds no"),
        ('{"score": [0.5]}', "two numbers"),
        ('{"score": [0.5, 0.5, 0.5]}', "two numbers"),
        ('{"score": 0.5}', "two numbers"),
        ('{"score": ["0.5", 0.5]}', "two numbers"),
        ('{"score": [true, 0.5]}', "two numbers"),
        ('{"score": [NaN, 0.5]}', "from 0 to 1"),
        ('{"score": [Infinity, 0.5]}', "from 0 to 1"),
        ('{"score": [1.01, 0.5]}', "from 0 to 1, not [1.01, 0.5]"),
        ('{"score": [0.5, -0.1]}', "from 0 to 1"),
        ('{"score": [75, 50]}', "from 0 to 1"),
        ('{"score": [1' + "0" * 400 + ", 0.5]}", "from 0 to 1"),
        ('{"a":' * 200_000, "holds no"),
        ("[" * 100_000, "holds no"),
    ],
)
def test_an_answer_without_two_proper_scores_is_not_used(text: str, reason: str) -> None:
    with pytest.raises(Unusable) as error:
        parse(text)
    assert reason in str(error.value) and len(str(error.value)) < 300


def test_a_reason_cannot_act_on_a_terminal_and_may_be_missing() -> None:
    assert parse('{"score": [1, 0], "reason": "a\\u001b[2J\\nb"}').reason == "a [2J b"
    assert parse('{"score": [1, 0]}') == Answer(1.0, 0.0, "")


def test_a_model_that_hears_nothing_says_so(server: Server) -> None:
    server.reply(said('{"score": null, "reason": "I hear no sound"}'))
    with pytest.raises(Declined, match="no score: I hear no sound"):
        asks(openai(server))
    assert len(server.asked) == 1


# --------------------------------------------------------------------------------------------- runs and the requests


def test_three_runs_are_averaged_and_kept(server: Server) -> None:
    for timbre, emotion in ((0.5, 0.25), (0.75, 0.5), (1, 0.3)):
        server.reply(said(json.dumps({"score": [timbre, emotion], "reason": f"run {timbre}"})))
    found = asks(openai(server), runs=3)
    assert (found.timbre, found.emotion) == pytest.approx((0.75, 0.35))
    assert [answer.reason for answer in found.runs] == ["run 0.5", "run 0.75", "run 1"]
    assert len(server.asked) == 3 and server.asked[0] == server.asked[2]


def test_the_request_to_the_gemini_api(server: Server) -> None:
    server.reply(gemini(GOOD))
    asks(Gemini("models/gemini-x", KEY, server.url))
    path, headers, body = server.asked[0]
    assert path == "/v1/models/gemini-x:generateContent"
    assert headers["x-goog-api-key"] == KEY and "authorization" not in headers and KEY not in json.dumps(body)
    clip, rubric = body["contents"][0]["parts"]
    assert clip["inlineData"]["mimeType"] == "video/mp4" and clip["videoMetadata"] == {"fps": 4}
    assert base64.b64decode(clip["inlineData"]["data"]) == b"a clip"
    assert rubric == {"text": "rubric"}


def test_the_request_of_a_chat_completion(server: Server) -> None:
    server.reply(said(GOOD))
    asks(openai(server))
    path, headers, body = server.asked[0]
    assert path == "/v1/chat/completions" and headers["authorization"] == f"Bearer {KEY}"
    rubric, clip = body["messages"][0]["content"]
    assert body["model"] == "a-model" and rubric == {"type": "text", "text": "rubric"}
    assert clip["video_url"]["url"] == "data:video/mp4;base64," + base64.b64encode(b"a clip").decode()


def test_pictures_and_sound_as_parts_of_their_own() -> None:
    from PIL import Image

    frames = np.stack([grey(index) for index in range(32)])
    recording = Recording(frames, Fraction(16), tone(2, 8000)[0], 8000)
    media = of_frames(recording, 4)
    *pictures, sound = OpenAI("m", KEY, "http://x").body(media, "rubric")["messages"][0]["content"][1:]
    shown = [base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,")) for part in pictures]
    greys = [np.asarray(Image.open(io.BytesIO(data))).mean() for data in shown]
    assert greys == pytest.approx([10 + 4 * index for index in range(0, 32, 4)], abs=1)
    assert sound["input_audio"]["format"] == "wav"
    with wave.open(io.BytesIO(base64.b64decode(sound["input_audio"]["data"]))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
        assert (file.getframerate(), file.getnchannels(), len(samples)) == (16_000, 1, 32_000)
    assert samples.std() == pytest.approx(0.5 / 2**0.5, abs=0.01)
    assert "8 pictures in order, 4 a second" in media.note
    kinds = [part["inlineData"]["mimeType"] for part in Gemini("m", KEY).body(media, "r")["contents"][0]["parts"][:-1]]
    assert kinds == ["image/jpeg"] * 8 + ["audio/wav"]
    assert [part.kind for part in of_file_and_sound(b"clip", "video/mp4", recording).parts] == ["video", "sound"]


def test_what_the_service_does_not_take_is_not_sent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gemini, "largest", 100)
    with pytest.raises(Unmeasurable, match="too large"):
        asks(Gemini("m", KEY, server.url))
    assert not server.asked


# ------------------------------------------------------------------------------------------------- a bad answer, 200


def test_a_malformed_answer_is_asked_for_again(server: Server) -> None:
    server.reply(said("I think it is good."))
    server.reply(said('{"score": [2, 0]}'))
    server.reply(said(GOOD))
    assert asks(openai(server)).timbre == 0.75 and len(server.asked) == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (said("no idea"), "no idea"),
        (said('{"score": [7.5, 0.5]}'), "from 0 to 1"),
        (said('{"score": [NaN, 0.5]}'), "from 0 to 1"),
        (said(None), "empty"),
        (said("", "length"), "stopped because of length"),
        ({"choices": []}, "empty"),
        ({"choices": [7]}, "empty"),
        ([1, 2], "empty"),
        (b"<html>hello</html>", "no JSON: <html>hello</html>"),
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
    ],
)
def test_answers_that_stay_of_no_use_are_given_up_and_told(server: Server, content: object, reason: str) -> None:
    server.reply(content)
    with pytest.raises(Unmeasurable) as error:
        asks(openai(server))
    assert reason in str(error.value) and "3 answers" in str(error.value) and len(server.asked) == 3


def test_what_a_model_thinks_aloud_is_no_answer(server: Server) -> None:
    reply = gemini(GOOD)
    reply["candidates"][0]["content"]["parts"].append({"text": '{"score": [0, 0]}', "thought": True})
    server.reply(reply)
    assert asks(Gemini("m", KEY, server.url)).timbre == 0.75


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, "PROHIBITED_CONTENT"),
        (gemini("", finishReason="SAFETY"), "SAFETY"),
    ],
)
def test_what_the_gemini_api_blocks_is_not_asked_again(server: Server, reply: dict, reason: str) -> None:
    server.reply(reply)
    with pytest.raises(Declined, match=reason):
        asks(Gemini("m", KEY, server.url))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (said("", "content_filter"), 200, "content_filter"),
        ({"choices": [{"message": {"content": None, "refusal": "I will not judge voices."}}]}, 200, "will not judge"),
        ({"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["x"]}}}, 403, "blocked.*flagged"),
    ],
)
def test_a_refusal_is_not_asked_again(server: Server, reply: dict, status: int, reason: str) -> None:
    server.reply(reply, status)
    with pytest.raises(Declined, match=reason):
        asks(openai(server))
    assert len(server.asked) == 1
