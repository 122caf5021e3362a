"""PQ and CU: a judge that is told its scores, and the package with a very small network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from media import grey, tone, write_video

from evaluation import aesthetics
from evaluation.__main__ import main
from evaluation.clips import Clip
from evaluation.recording import Unmeasurable

RATE = 24_000


def write_clip(path: Path, sound: np.ndarray | None) -> Clip:
    return Clip(path.stem, write_video(path, [grey(index) for index in range(16)], sound=sound, sample_rate=RATE))


def test_the_sound_is_judged_at_its_own_rate(tmp_path: Path) -> None:
    heard = []

    def judge(sound: np.ndarray, sample_rate: int) -> dict[str, float]:
        heard.append((sound.dtype, sound.ndim, sample_rate, len(sound) / sample_rate))
        return {"PQ": 7.0, "CU": 6.5, "CE": 5.0, "PC": 2.0}

    measure = aesthetics.Aesthetics(judge, "told")
    values = measure.of(write_clip(tmp_path / "one.mp4", tone(1, RATE, channels=2)))
    assert values == {"PQ": 7.0, "CU": 6.5, "CE": 5.0, "PC": 2.0}
    assert heard == [(np.float32, 1, RATE, pytest.approx(1, abs=0.1))]
    with pytest.raises(Unmeasurable, match="no sound"):
        measure.of(write_clip(tmp_path / "mute.mp4", None))


def test_the_package_with_a_small_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aes = pytest.importorskip("audiobox_aesthetics.model.aes")
    small = {"encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2}
    small |= {"conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2", "conv_pos": 16, "conv_pos_groups": 2}
    monkeypatch.setattr(aes, "DEFAULT_AUDIO_CFG", aes.WavLMConfig(aes.DEFAULT_AUDIO_CFG.__dict__ | small))
    told = {"proj_num_layer": 1, "proj_ln": False, "proj_act_fn": "gelu", "proj_dropout": 0.0, "nth_layer": 2}
    told |= {"use_weighted_layer_sum": True, "precision": "32", "normalize_embed": True, "output_dim": 1}
    means = {axis: {"mean": float(index), "std": 0.0} for index, axis in enumerate(aesthetics.AXES)}
    torch.manual_seed(0)
    weights = {f"model.{name}": value for name, value in aes.AesMultiOutput(**told).state_dict().items()}
    checkpoint = tmp_path / "checkpoint.pt"
    torch.save({"state_dict": weights, "model_cfg": told, "target_transform": means}, checkpoint)
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "one.mp4", tone(1, RATE))
    assert main(["aesthetics", str(folder), "--weights", str(checkpoint)]) == 0
    plain = json.loads((folder / "measured" / "aesthetics.json").read_text())
    assert plain["rows"][0]["values"] == {"PQ": 0, "CU": 1, "CE": 2, "PC": 3}
    assert "checkpoint.pt (sha256 " in plain["settings"]["judge"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "give --weights FILE, or --fetch"),
        (["--weights", "nowhere.pt"], "there is no file nowhere.pt"),
        (["--weights", "nowhere.pt", "--fetch"], "one of the two"),
    ],
)
def test_bad_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str) -> None:
    write_clip(tmp_path / "one.mp4", None)
    assert main(["aesthetics", str(tmp_path), *more]) == 2
    assert told in capsys.readouterr().err


def test_without_the_package_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "audiobox_aesthetics.infer", None)
    monkeypatch.setitem(sys.modules, "audiobox_aesthetics", None)
    write_clip(tmp_path / "one.mp4", None)
    assert main(["aesthetics", str(tmp_path), "--fetch"]) == 2
    assert "pip install audiobox_aesthetics" in capsys.readouterr().err
