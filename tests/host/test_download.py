"""Load UniAVGen fetches the published files on the user's word, from a Hub on this machine."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from fake_hub import Hub, fake_hub
from host.hosts import SCRIPT, Failed, Host, Server, serve
from host.released_files import model_files

from uniavgen_core.hub import STAGING
from uniavgen_core.parts import BUNDLE

VOCODER_CONFIG = "code2wav_bigvgan_model/config.json"
VOCODER = "code2wav_bigvgan_model/model.safetensors"
WORDS = b" \na\n"
PIECE = 10 * 2**20  # bytes huggingface_hub writes at once
PUBLISHED = {"load.file": "UniAVGen (published)"}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """The tiny model in the layout of the release, a vocoder that takes a while, and another vocabulary."""
    vocoder = {VOCODER_CONFIG: b"{}", VOCODER: random.Random(0).randbytes(2 * PIECE + 5)}
    with fake_hub() as running:
        running.files = {
            BUNDLE: {**model_files(), **vocoder},
            "SWivid/F5-TTS": {"F5TTS_v1_Base/vocab.txt": WORDS},
        }
        yield running


@pytest.fixture(scope="module")
def asking(host: Host, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A host whose huggingface_hub asks the Hub of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        with serve(host, tmp_path_factory.mktemp("asking")) as running:
            yield running


@pytest.mark.case("Disk and network", "a connection without the user's word")
@pytest.mark.case("Life", "cancel during download")
def test_on_the_users_word(asking: Server, hub: Hub, workflow, tmp_path) -> None:
    hub.go.clear()
    hub.stalled.clear()
    hub.asked.clear()
    folder = asking.base / "models" / "uniavgen"
    with pytest.raises(Failed) as refusal:
        asking.run(workflow(PUBLISHED))
    assert f"the published model is not in {folder.parent}: switch 'download' on" in str(refusal.value)
    assert f"`python -m uniavgen_core download --to {folder.parent}`" in str(refusal.value)
    for text in ("false", "off"):  # of which the host thinks that they are on
        with pytest.raises(Failed, match="switch 'download' on"):
            asking.run(workflow({**PUBLISHED, "load.download": text}))
    assert not list(folder.iterdir())
    assert not hub.asked

    # cancelled in the middle of the vocoder: the model is there, the vocoder is not
    hub.stall[VOCODER] = PIECE + 5
    prompt = asking.submit(workflow({**PUBLISHED, "load.download": True}))
    assert hub.stalled.wait(120)
    asking.post("/interrupt", {})
    time.sleep(1)
    hub.go.set()
    with pytest.raises(Failed, match="interrupted"):
        asking.wait(prompt, seconds=60)
    model = {name for name in hub.files[BUNDLE] if name.startswith("diffusion")}
    assert {path.name for path in folder.iterdir()} == {*model, STAGING}
    (kept,) = (folder / STAGING).glob("*.part")
    had = kept.stat().st_size
    assert had >= PIECE

    # it goes on from there, and refuses another vocabulary
    hub.stall.clear()
    hub.asked.clear()
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(workflow({**PUBLISHED, "load.download": True})))
    command = [sys.executable, str(SCRIPT), str(file), "--server", asking.url, "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "is another text than the one the published weights need" in done.stderr
    whole = sum(len(hub.files[BUNDLE][name]) for name in (VOCODER, VOCODER_CONFIG)) + len(WORDS)
    assert f"Load UniAVGen {whole}/{whole}" in done.stderr  # the host's progress bar, in bytes
    assert hub.ranges_of(VOCODER) == [f"bytes={had}-"]
    assert (folder / VOCODER).read_bytes() == hub.files[BUNDLE][VOCODER]
    assert not (folder / STAGING).exists()
    assert not (folder / "vocab.txt").exists()

    # what is there is used without asking the Hub; the other parts are the tiny model's
    hub.asked.clear()
    hub.tokens.clear()
    parts = {"text.clip": ["tiny", 1], "conditions.vae": ["tiny", 2], "video.vae": ["tiny", 2]}
    graph = workflow({**PUBLISHED, "sound.vocoder": ["tiny", 3], **parts})
    graph["tiny"] = {"class_type": "UniAVGenLoad", "inputs": {"file": "tiny (built in)", "weight_dtype": "default"}}
    assert asking.run(graph)["save"]["images"]
    assert not hub.asked
    assert not hub.tokens

    # a vocabulary of another hand is refused where it would be spoken by
    (folder / "vocab.txt").write_bytes(WORDS)
    graph["bare"] = {"class_type": "UniAVGenTestBareClip", "inputs": {}}
    graph["text"]["inputs"]["clip"] = ["bare", 0]
    with pytest.raises(Failed, match=r"vocab\.txt is not the vocabulary of the published weights"):
        asking.run(graph)
