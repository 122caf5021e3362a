"""Clips in files: what is written is what the tiny VAE and the mel make of the drawn clips."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Timer
from time import monotonic, sleep

import pytest
import torch

import training.data as data
from training.clips import make_clip
from training.loop import Loop
from training.model import MIX, Stage, audio_branch, train, train_sound
from uniavgen_core.audio.sound import driving_tokens, voice_tokens
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny.load import VOCABULARY, load_part
from uniavgen_core.tiny.vae import TinyVAE


@pytest.fixture(scope="module")
def vae() -> TinyVAE:
    return load_part("vae", TinyVAE)


@pytest.fixture
def folder(tmp_path, monkeypatch, vae):
    """Two shards of two short clips and one of longer ones, made in this process."""
    monkeypatch.setattr(data, "SHARD", 2)
    tmp_path.joinpath("clips").mkdir()
    monkeypatch.setattr(data, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    data.make([data.Wanted(tmp_path / "clips", vae, {17: 4, 21: 2})])
    return tmp_path / "clips"


def test_a_batch_holds_the_clips_as_the_model_sees_them(folder, vae):
    dataset = data.Dataset(folder)
    batch = dataset.sample(17, 12, torch.Generator().manual_seed(0))
    clips = {clip.text + clip.caption: clip for clip in (make_clip(17_000_000 + seed, 17) for seed in range(4))}
    assert batch.video.shape == (12, 48, 5, 8, 8) and batch.audio.shape == (12, 80, 106)
    seen = set()
    for row, (text, caption) in enumerate(zip(batch.text, batch.caption, strict=True)):
        clip = clips[text + caption]
        seen.add(text + caption)
        assert batch.reference_text[row] == clip.reference_text
        assert batch.word_times[row] == [list(times) for times in clip.word_times]
        torch.testing.assert_close(batch.audio[row], driving_tokens(data.sound(clip.waveform))[0], atol=5e-3, rtol=0)
        expected = data.encode(vae, torch.from_numpy(clip.frames))[0]
        torch.testing.assert_close(batch.video[row], expected, atol=1e-2, rtol=0)
        voice = voice_tokens(data.sound(clip.reference_waveform))
        torch.testing.assert_close(batch.voice[row, :, : voice.shape[2]], voice[0], atol=5e-3, rtol=0)
        after = batch.voice[row, :, voice.shape[2] :]
        assert torch.equal(after, batch.voice[row, :, voice.shape[2] - 1 :][:, :1].expand_as(after))
        torch.testing.assert_close(batch.mask[row], torch.from_numpy(clip.mask))
    assert seen == set(clips)
    assert dataset.sample(21, 1, torch.Generator()).video.shape[2] == 6


def test_only_missing_shards_are_made(folder, monkeypatch, vae):
    made = []
    monkeypatch.setattr(data, "_make_shard", lambda vae, frames, seeds, path: made.append((path.name, seeds)))
    data.make([data.Wanted(folder, vae, {17: 7, 21: 2}, first=30)])
    assert made == [("17-0002.safetensors", range(34, 36)), ("17-0003.safetensors", range(36, 37))]


def test_all_folders_are_filled_side_by_side(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(data, "SHARD", 1)
    monkeypatch.setattr(data, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(
        data, "_make_shard", lambda vae, frames, seeds, path: made.append(f"{path.parent.name}{frames}")
    )
    data.make([data.Wanted(tmp_path / "a", None, {17: 1, 21: 3}), data.Wanted(tmp_path / "b", None, {17: 2})])
    assert made == ["a17", "b17", "a21", "a21", "b17", "a21"]


def test_what_has_not_begun_is_left_out_and_what_failed_is_told(tmp_path, monkeypatch):
    began, go, made = Event(), Event(), []

    def one(vae, frames, seeds, path):
        began.set()
        go.wait()
        made.append(path)
        raise OSError("no room")

    monkeypatch.setattr(data, "SHARD", 1)
    monkeypatch.setattr(data, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(data, "_make_shard", one)
    with pytest.raises(OSError, match="no room"), data.making([data.Wanted(tmp_path, None, {17: 9})]):
        began.wait()
        Timer(0.2, go.set).start()
    assert len(made) == 1


def test_a_dataset_takes_in_what_has_come(folder, vae):
    dataset = data.Dataset(folder)
    before = {name: part.clone() for name, part in dataset.parts[17].items()}
    texts = list(dataset.texts[17]["text"])
    dataset.grow()
    assert len(dataset.texts[17]["text"]) == 4
    data.make([data.Wanted(folder, vae, {17: 6, 25: 1})])
    dataset.grow()
    assert len(dataset.parts[17]["audio"]) == 6 and len(dataset.parts[25]["audio"]) == 1
    assert dataset.texts[17]["text"][:4] == texts and len(dataset.texts[17]["text"]) == 6
    for name in ("video", "audio", "mask", "voice_tokens"):
        assert torch.equal(dataset.parts[17][name][:4], before[name])


def test_sounds_are_clips_without_pictures_and_others(folder):
    data.make([data.Wanted(folder.parent / "sounds", None, {17: 2}, data.FIRST_SOUND)])
    sounds = data.Dataset(folder.parent / "sounds").sample(17, 8, torch.Generator().manual_seed(0))
    clips = {clip.text: clip for clip in (make_clip(17_000_000 + data.FIRST_SOUND + seed, 17) for seed in range(2))}
    assert sounds.video.shape == (8, 48, 1, 2, 2) and not sounds.video.any()
    assert set(sounds.text) == set(clips)
    for text, audio in zip(sounds.text, sounds.audio, strict=True):
        torch.testing.assert_close(audio, driving_tokens(data.sound(clips[text].waveform))[0], atol=5e-3, rtol=0)


def test_a_damaged_shard_is_named(folder):
    path = folder / "17-0001.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"17-0001\.safetensors is damaged .*: delete it, and it is made anew"):
        data.Dataset(folder)


ORPHANS = """
import sys
from pathlib import Path
from training.data import Wanted, making

if __name__ == "__main__":
    with making([Wanted(Path(sys.argv[1]), None, {17: 10**6})], 2) as shards:
        shards[0].result()
        import multiprocessing
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_makers_end_with_the_process_that_began_them(tmp_path):
    script = tmp_path / "begin.py"
    script.write_text(ORPHANS)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "clips")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    makers = [int(pid) for pid in process.stdout.readline().split()]
    process.kill()
    process.communicate()
    assert makers
    end = monotonic() + 60
    while any(map(alive, makers)):
        assert monotonic() < end
        sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process is there and no mere entry that nobody has asked after."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="python -m training tiny"):
        data.Dataset(tmp_path)


def test_the_branches_learn_from_where_the_sound_alone_has_come(folder, tmp_path):
    """At a rate of zero nothing moves: what the joint model begins with is the audio branch that was trained."""
    data.make([data.Wanted(tmp_path / "sounds", None, {17: 2}, data.FIRST_SOUND)])
    vocabulary, loop = Vocabulary.from_file(VOCABULARY), Loop(tmp_path / "states")
    sounds = data.Dataset(tmp_path / "sounds")
    stage = Stage(2, {"sound with a voice": 1}, {17: 1})
    begun = audio_branch(train_sound(loop, sounds, vocabulary, stage).state_dict())
    stages = (Stage(1, {"joint": 1}, {17: 1}, mask=(0.1, 0.1)), Stage(3, MIX, {17: 1, 21: 1}))
    learner = train(loop, begun, data.Dataset(folder), sounds, vocabulary, stages, rate=0.0)
    for name, weight in learner.state_dict().items():
        if "a2v_" in name or "v2a_" in name:
            assert not name.endswith(".o.weight") or not weight.any()
        else:
            torch.testing.assert_close(weight, begun[name])
    assert {path.name for path in (tmp_path / "states").glob("*.pt")} == {"sound.pt", "model.pt"}
