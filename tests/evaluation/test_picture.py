"""SC, DD and IQ on features, flow and scores of which the answer is known; a DINO and a RAFT of no training."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from media import grey, write_video
from networks import tiny_dino
from torch import Tensor

from evaluation import features, picture
from evaluation.__main__ import main
from evaluation.clips import Clip
from evaluation.recording import Unmeasurable


def turned(*degrees: float) -> Tensor:
    """Features of length 2 at these angles: [F, 2]."""
    return 2 * torch.tensor([[math.cos(math.radians(angle)), math.sin(math.radians(angle))] for angle in degrees])


def write_clip(path: Path, pictures: int = 24, fps: int = 24, size: tuple[int, int] = (128, 160)) -> Clip:
    return Clip(path.stem, write_video(path, [grey(index, size) for index in range(pictures)], fps=fps))


def test_consistency_is_the_mean_of_cosines_to_the_first_and_the_previous() -> None:
    # to the first: 1/2, 0 (it is below 0); to the previous: 1/2, 1/2
    assert picture.subject_consistency(turned(0, 60, 120)) == pytest.approx((0.5 + 0.5 + 0 + 0.5) / 4)
    assert picture.subject_consistency(turned(10, 10, 10)) == pytest.approx(1)


def test_motion_is_that_of_the_fastest_pixels() -> None:
    flow = torch.zeros(2, 20, 20)
    flow[:, :2, :5] = torch.tensor([3.0, 4.0])[:, None, None]  # 10 of 400 pixels are 5 long
    assert picture.fastest(flow) == pytest.approx(2.5)  # of the 20 that count


@pytest.mark.parametrize(
    ("motions", "side", "pictures", "moves"),
    [
        ([7.0] * 4 + [0.0] * 11, 256, 16, True),
        ([7.0] * 3 + [0.0] * 12, 256, 16, False),
        ([6.0] * 15, 256, 16, False),  # it must be more
        ([7.0] * 15, 512, 16, False),  # 12 pixels at twice the size
        ([13.0] * 15, 512, 16, True),
        ([7.0] + [0.0] * 4, 256, 5, True),  # a quarter of 5, rounded, is 1
    ],
)
def test_a_quarter_of_the_pictures_must_move(motions: list[float], side: int, pictures: int, moves: bool) -> None:
    assert picture.is_dynamic(motions, side, pictures) == moves


def test_all_three_of_a_clip(tmp_path: Path) -> None:
    """Networks that know the picture's index: features turn by 60 degrees a picture, flow is what moved."""
    shapes = []

    def index(pictures: Tensor) -> Tensor:
        return ((pictures.mean(dim=(1, 2, 3)) - 10) / 4).round()

    def dino(pictures: Tensor) -> Tensor:
        return turned(*(60.0 * index(pictures)).tolist())

    def raft(first: Tensor, second: Tensor) -> Tensor:
        shapes.append(first.shape)
        return torch.full((2, 8, 8), float(index(second) - index(first)) * 3 / math.sqrt(2))

    measure = picture.Picture({}, dino, raft, lambda one: 50 + index(one))
    assert [(column.name, column.weight) for column in measure.columns] == [("SC", "compared"), ("DD", ""), ("IQ", "")]
    values = measure.of(write_clip(tmp_path / "one.mp4"))
    to_first = np.cos(np.radians(60 * np.arange(1, 24))).clip(0)
    assert values["SC"] == pytest.approx((to_first.mean() + 0.5) / 2)
    assert values["compared"] == 23
    # each third picture is seen, so 9 pixels of flow, and 3 is the limit at a side of 128
    assert (values["DD"], values["pairs"], values["median_motion"]) == (1, 7, pytest.approx(9))
    assert set(shapes) == {(1, 3, 128, 160)}
    assert values["IQ"] == pytest.approx((50 + 11.5) / 100)


def test_clips_that_are_too_short_or_small(tmp_path: Path) -> None:
    still = picture.Picture({}, raft=lambda first, second: torch.zeros(2, 8, 8))
    with pytest.raises(Unmeasurable, match="must be 3 pictures at 8 a second, and there are 2"):
        still.of(write_clip(tmp_path / "short.mp4", pictures=6))
    with pytest.raises(Unmeasurable, match=r"128 or more, not 48 x 32"):
        still.of(write_clip(tmp_path / "small.mp4", size=(32, 48)))
    with pytest.raises(Unmeasurable, match="one picture"):
        picture.Picture({}, dino=lambda pictures: pictures).of(write_clip(tmp_path / "one.mp4", pictures=1))


def test_dino_of_a_file_does_what_dino_does(tmp_path: Path) -> None:
    weights = tiny_dino(tmp_path / "dino.pth")
    found = features.load_dino(tmp_path / "dino.pth", "cpu")(pictures := torch.rand(2, 3, 224, 224) * 255)

    def layer(tokens: Tensor, name: str) -> Tensor:
        return torch.nn.functional.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(tokens: Tensor, name: str) -> Tensor:
        return torch.nn.functional.layer_norm(tokens, (64,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    spread, mean = (
        torch.tensor(values)[:, None, None] for values in (features.IMAGENET_SPREAD, features.IMAGENET_MEAN)
    )
    patches = ((pictures / 255 - mean) / spread).unfold(2, 16, 16).unfold(3, 16, 16)  # [N, 3, 14, 14, 16, 16]
    patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    tokens = patches @ weights["patch_embed.proj.weight"].flatten(1).T + weights["patch_embed.proj.bias"]
    tokens = torch.cat([weights["cls_token"].expand(2, -1, -1), tokens], 1) + weights["pos_embed"]
    query, key, value = layer(norm(tokens, "blocks.0.norm1"), "blocks.0.attn.qkv").chunk(3, dim=-1)
    tokens = tokens + layer(torch.softmax(query @ key.mT / 8, -1) @ value, "blocks.0.attn.proj")
    hidden = torch.nn.functional.gelu(layer(norm(tokens, "blocks.0.norm2"), "blocks.0.mlp.fc1"))
    tokens = tokens + layer(hidden, "blocks.0.mlp.fc2")
    torch.testing.assert_close(found, norm(tokens, "norm")[:, 0], atol=1e-4, rtol=1e-4)


def test_dino_stretches_its_positions(tmp_path: Path) -> None:
    tiny_dino(tmp_path / "dino.pth")
    dino = features.Dino(torch.load(tmp_path / "dino.pth", weights_only=True)).requires_grad_(False)
    known = dino.vit.encoder.pos_embedding
    known[0, 1:] = torch.arange(14.0).repeat_interleave(14)[:, None]  # each row's number
    assert dino.positions(14, 14) is known
    wide = dino.positions(14, 28)[0, 1:, 0].unflatten(0, (14, 28))
    assert wide.std(dim=1).max() < 1e-4
    assert wide[:, 0] == pytest.approx(np.arange(14), abs=0.2)


def test_raft_of_a_file(tmp_path: Path) -> None:
    from torchvision.models.optical_flow import raft_large

    torch.save({f"module.{name}": value for name, value in raft_large().state_dict().items()}, tmp_path / "raft.pth")
    flow = features.load_raft(tmp_path / "raft.pth", "cpu")
    with torch.inference_mode():
        found = flow(torch.rand(1, 3, 128, 130) * 255, torch.rand(1, 3, 128, 130) * 255)
    assert found.shape == (2, 128, 136) and found.isfinite().all()


def test_what_is_not_given_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "one.mp4", pictures=3)
    write_clip(folder / "two.mp4", pictures=1)
    tiny_dino(tmp_path / "dino.pth")
    assert main(["picture", str(folder), "--dino", str(tmp_path / "dino.pth")]) == 1
    told = capsys.readouterr().out
    assert "DD: left out: no --raft" in told and "IQ: left out: no --musiq" in told
    assert features.describe(tmp_path / "dino.pth") in told and "two: it is one picture" in told
    plain = json.loads((folder / "measured" / "picture.json").read_text())
    assert list(plain["scores"]) == ["SC"] and 0 < plain["scores"]["SC"]["mean"] <= 1


@pytest.mark.parametrize(
    ("option", "told"),
    [([], "nothing to measure with"), (["--dino"], "another network"), (["--raft"], "another network")],
)
def test_bad_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str], told: str) -> None:
    write_clip(tmp_path / "one.mp4", pictures=1)
    torch.save({"some": torch.zeros(1)}, tmp_path / "weights.pth")
    more = [*option, str(tmp_path / "weights.pth")] if option else []
    assert main(["picture", str(tmp_path), *more]) == 2
    assert told in capsys.readouterr().err


def test_musiq_is_called_as_vbench_calls_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class MUSIQ(torch.nn.Module):
        def __init__(self, pretrained: bool):
            super().__init__()
            assert not pretrained
            self.scale = torch.nn.Parameter(torch.zeros(1))

        def forward(self, picture: Tensor) -> Tensor:
            assert picture.shape[-2:] == (288, 512) and not self.training
            return self.scale * picture.mean()

    module = ModuleType("musiq_arch")
    module.MUSIQ = MUSIQ
    for name in ("pyiqa", "pyiqa.archs"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "pyiqa.archs.musiq_arch", module)
    torch.save({"scale": torch.tensor([80.0])}, tmp_path / "musiq.pth")
    quality = features.load_musiq(tmp_path / "musiq.pth", "cpu")
    assert float(quality(torch.full((1, 3, 576, 1024), 127.5))) == pytest.approx(40)


def test_without_pyiqa_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    write_clip(tmp_path / "one.mp4", pictures=1)
    (tmp_path / "musiq.pth").write_bytes(b"")
    assert main(["picture", str(tmp_path), "--musiq", str(tmp_path / "musiq.pth")]) == 2
    assert "pip install pyiqa" in capsys.readouterr().err
