"""The joint task through a real ComfyUI, from the API workflow to the file."""

from __future__ import annotations

import io
import subprocess
import sys

import av
import numpy as np
import pytest
from host.hosts import API_WORKFLOW, PORTRAIT, SCRIPT, run_script
from host.listening import hear
from PIL import Image


def test_workflow_gives_a_clip(server, tmp_path):
    """As it is, over the API, with an uploaded portrait: codec, length, rate, sound and first frame."""
    upload = f"portrait.image={PORTRAIT}"
    done = run_script(
        server, "--upload", upload, "--set", "text.speech=It is good to see you.", "--output", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "video").iterdir()  # the server's subfolder
    assert done.stdout.strip() == str(path)
    assert "UniAVGen Joint Sampler 50/50" in done.stderr

    with av.open(str(path), format="mp4") as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert video.average_rate == 16 and sound.rate == 24000
        assert float(sound.duration * sound.time_base) == pytest.approx(81 / 16, abs=0.01)
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video)])
    with av.open(str(path), format="mp4") as container:
        waveform = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert frames.shape == (81, 128, 128, 3)
    assert all(frame.std() > 5 for frame in frames)  # not one colour
    moved = np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(0, 3))  # of each pixel
    assert moved[76:110, 42:86].mean() > max(1, 10 * np.median(moved))  # the mouth does, and hardly anything else
    assert np.abs(waveform).max() > 1e-3  # it sounds
    portrait = np.asarray(Image.open(PORTRAIT).convert("RGB").resize((128, 128)), dtype=float)
    assert np.corrcoef(portrait.ravel(), frames[0].ravel())[0, 1] > 0.9


def test_same_seed_same_latents(server, workflow):
    """The sampler gives the same clip again: the host has cached it, so a changed and restored seed is needed."""

    def saved(seed):
        graph = workflow({"sampler.seed": seed, "save.filename_prefix": "same/clip"})
        (item,) = server.run(graph)["save"]["images"]
        return (server.base / "output" / item["subfolder"] / item["filename"]).read_bytes()

    first, other, again = saved(3), saved(4), saved(3)
    assert pictures(first) == pictures(again) != pictures(other)


def pictures(mp4: bytes) -> bytes:
    """The coded pictures of a file, without the metadata around them."""
    with av.open(io.BytesIO(mp4), format="mp4") as container:
        return b"".join(bytes(packet) for packet in container.demux(video=0))


@pytest.mark.parametrize("browser", [True, False])
def test_progress_and_preview_arrive(server, workflow, browser):
    """The websocket brings a step count and a picture of the video for each step, to old clients too."""
    heard = hear(server, workflow({"sampler.steps": 3, "sampler.seed": 11 + browser}), browser=browser)
    assert heard.steps_of("sampler") == [(1, 3), (2, 3), (3, 3)]
    assert len(heard.pictures) >= 3
    assert all(picture.std() > 0 for _, picture in heard.pictures)


def test_script_names_a_server_that_is_not_there(tmp_path):
    command = [sys.executable, str(SCRIPT), str(API_WORKFLOW), "--server", "http://127.0.0.1:9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no ComfyUI answers at http://127.0.0.1:9" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "nobody.steps=3"], "no nodes are called 'nobody'"),
        (["--upload", "portrait.image=missing.png"], "there is no file missing.png to upload"),
        (["--set", "steps=3"], "not of the form NODE.INPUT=VALUE"),
    ],
)
def test_script_refuses(arguments, sentence):
    done = subprocess.run([sys.executable, str(SCRIPT), str(API_WORKFLOW), *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_script_reports_the_nodes_sentence(server):
    """Once, although the host repeats it for every input that was checked."""
    done = run_script(server, "--set", "sampler.steps=0")
    assert done.returncode == 1
    assert done.stderr == "error: sampler: sampling needs at least 1 step, not 0\n"
    done = run_script(server, "--set", "sampler.steps=1", "--set", "sampler.skip_layer=99")
    assert done.returncode == 1
    assert "UniAVGen Joint Sampler: layer 99 cannot be skipped: the model has layers 0 to 5" in done.stderr
