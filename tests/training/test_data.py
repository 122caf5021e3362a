"""Clips in files: what is written is what the tiny VAE and the mel make of the drawn clips."""

from __future__ import annotations

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
    monkeypatch.setattr(data, "ProcessPoolExecutor", InThisProcess)
    data.make_data(tmp_path / "clips", vae, {17: 4, 21: 2})
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
    monkeypatch.setattr(data, "_make_shard", lambda vae, shard: made.append(shard[2].name))
    data.make_data(folder, vae, {17: 6, 21: 2})
    assert made == ["17-002.safetensors"]


def test_sounds_are_clips_without_pictures_and_others(folder):
    data.make_sounds(folder.parent / "sounds", {17: 2})
    sounds = data.Dataset(folder.parent / "sounds").sample(17, 8, torch.Generator().manual_seed(0))
    clips = {clip.text: clip for clip in (make_clip(17_000_000 + data.FIRST_SOUND + seed, 17) for seed in range(2))}
    assert sounds.video.shape == (8, 48, 1, 2, 2) and not sounds.video.any()
    assert set(sounds.text) == set(clips)
    for text, audio in zip(sounds.text, sounds.audio, strict=True):
        torch.testing.assert_close(audio, driving_tokens(data.sound(clips[text].waveform))[0], atol=5e-3, rtol=0)


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="python -m training tiny"):
        data.Dataset(tmp_path)


class InThisProcess:
    """A pool that does the work itself."""

    map = staticmethod(map)

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_the_branches_learn_from_where_the_sound_alone_has_come(folder, tmp_path):
    """At a rate of zero nothing moves: what the joint model begins with is the audio branch that was trained."""
    data.make_sounds(tmp_path / "sounds", {17: 2})
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
