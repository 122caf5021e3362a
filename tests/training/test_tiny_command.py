"""The one command that makes data, trains all parts and writes the files, in a few steps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader")

from training import __main__ as command
from training import data, model, tiny, vae, vocoder
from uniavgen_core.tiny import load

FEW = {33: 2, 57: 1, 81: 1}
STEPS = 2


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little data, and two steps of each stage."""
    monkeypatch.setattr(data, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(tiny, "LENGTHS", FEW)
    monkeypatch.setattr(tiny, "SOUNDS", FEW)
    monkeypatch.setattr(vae, "read_faces", partial(vae.read_faces, 3))
    monkeypatch.setattr(vocoder, "UTTERANCES", 3)
    stages = tuple(replace(stage, steps=STEPS * (n + 1)) for n, stage in enumerate(model.STAGES))
    monkeypatch.setattr(vae, "train", partial(vae.train, steps=STEPS))
    monkeypatch.setattr(vocoder, "train", partial(vocoder.train, steps=STEPS))
    monkeypatch.setattr(model, "train_sound", partial(model.train_sound, stage=replace(model.SOUND, steps=STEPS)))
    monkeypatch.setattr(model, "train", partial(model.train, stages=stages, tokens=600))


def test_one_command_makes_what_the_tiny_model_loads(small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.main(["tiny", "--folder", str(tmp_path / "run"), "--output", str(tmp_path / "weights")]) == 0
    written = {path.name: path.read_bytes() for path in (tmp_path / "weights").iterdir()}
    assert set(written) == {f"{part}.safetensors" for part in ("model", "caption_encoder", "vae", "vocoder")}
    assert sum(map(len, written.values())) < 15_000_000
    monkeypatch.setattr(load, "WEIGHTS", tmp_path / "weights")
    assert load.load_tiny().model.config == load.TINY
