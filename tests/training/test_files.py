"""Weight files and example inputs: what is written is what is read."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from PIL import Image

from training.clips import make_clip
from training.examples import ASSETS, EXAMPLES, MADE, make_examples
from training.model import Learner
from training.pack import pack_model, write_part
from uniavgen_core.audio.sound import read_sound
from uniavgen_core.checkpoint import config_of, fill, load_state_dict
from uniavgen_core.tiny.caption_encoder import TinyCaptionEncoder
from uniavgen_core.tiny.config import TINY


def test_a_packed_model_is_the_one_that_learnt(tmp_path):
    torch.manual_seed(0)
    learner = Learner()
    for folder in ("once", "twice"):
        pack_model(learner, tmp_path / folder)
    assert sorted(path.name for path in (tmp_path / "once").iterdir()) == [
        "caption_encoder.safetensors",
        "model.safetensors",
    ]
    for name in ("model", "caption_encoder"):
        paths = [tmp_path / folder / f"{name}.safetensors" for folder in ("once", "twice")]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    tensors, metadata = load_state_dict(tmp_path / "once" / "model.safetensors")
    assert config_of(metadata) == TINY
    for name, weight in learner.model.state_dict().items():
        assert torch.equal(tensors[name], weight.bfloat16())
    captions = fill(
        TinyCaptionEncoder,
        load_state_dict(tmp_path / "once" / "caption_encoder.safetensors")[0],
        "x",
        dtype=torch.float32,
    )
    torch.testing.assert_close(captions.encode(["a man"]), learner.captions.encode(["a man"]), atol=0.05, rtol=0)


def test_a_file_is_replaced_only_when_the_new_one_is_whole(tmp_path):
    path = tmp_path / "part.safetensors"
    write_part(path, {"a": torch.ones(3)}, torch.float16)
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        write_part(path, {"a": torch.ones(3), "b": None}, torch.float16)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_examples_are_what_the_clips_show_and_sound_like(tmp_path):
    texts = make_examples(tmp_path)
    given = {path.name for path in ASSETS.iterdir() if path.suffix != ".jpg"}
    assert given == {*texts, MADE}
    for example in EXAMPLES:
        clip = make_clip(example.seed, split="test")
        if example.picture:
            assert np.array_equal(np.asarray(Image.open(ASSETS / example.picture)), clip.frames[0])
        for name, waveform in ((example.speech, clip.waveform), (example.voice, clip.reference_waveform)):
            if name:
                assert (tmp_path / name).read_bytes() == (ASSETS / name).read_bytes()
                sound = read_sound(ASSETS / name)
                assert sound.sample_rate == 24_000
                np.testing.assert_allclose(sound.waveform[0].numpy(), waveform, atol=1e-4)
        if example.film:
            with av.open(str(ASSETS / example.film)) as container:
                frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
            assert frames.shape == clip.frames.shape
            assert np.abs(frames.astype(float) - clip.frames).mean() < 4
