"""FID and FVD: known Gaussians, and sets of clips seen by networks that count brightness."""

from __future__ import annotations

import csv
import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from media import write_video
from torch import Tensor, nn

from evaluation import features, frechet, report
from evaluation.__main__ import main
from evaluation.recording import Recording, Unmeasurable

SIZE = (32, 48)


class TinyI3D(nn.Module):
    """Takes what StyleGAN-V's I3D takes; tells the mean brightness, 0 to 1, of two halves of the pictures."""

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        assert return_features and rescale == resize
        if not resize:
            assert x.shape[3] == 224 and x.shape[4] == 224
            x = (x + 1) * 127.5
        half = x.shape[2] // 2
        return torch.stack([x[:, :, :half].mean(dim=[1, 2, 3, 4]), x[:, :, half:].mean(dim=[1, 2, 3, 4])], dim=1) / 255


class TinyInception(nn.Module):
    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        assert img.dtype == torch.uint8 and return_features
        return img.float().mean(dim=[2, 3]) / 255


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def network(path: Path, module: nn.Module) -> Path:
    torch.jit.script(module).save(str(path))
    return path


def write_clips(folder: Path, greys: list[int], pictures: int = 16) -> Path:
    folder.mkdir()
    for index, grey in enumerate(greys):
        write_video(folder / f"{index}.mp4", [np.full((*SIZE, 3), grey, np.uint8)] * pictures)
    return folder


def samples(mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """[2 D, D] with exactly this mean, and the squares of ``spread`` as its covariance."""
    dimensions = len(mean)
    corners = np.concatenate([np.eye(dimensions), -np.eye(dimensions)])
    return mean + corners * spread * np.sqrt((2 * dimensions - 1) / 2)


def test_the_distance_of_known_gaussians() -> None:
    generator = np.random.default_rng(0)
    means, spreads = generator.normal(size=(2, 6)), generator.uniform(0.5, 2, size=(2, 6))
    one, other = (samples(mean, spread) for mean, spread in zip(means, spreads, strict=True))
    assert np.cov(one, rowvar=False) == pytest.approx(np.diag(spreads[0] ** 2))
    turned, _ = np.linalg.qr(generator.normal(size=(6, 6)))
    expected = ((means[0] - means[1]) ** 2).sum() + ((spreads[0] - spreads[1]) ** 2).sum()
    assert frechet.distance(one @ turned, other @ turned) == pytest.approx(expected)


def test_covariances_that_do_not_share_axes() -> None:
    one, other = samples(np.zeros(2), np.array([1.0, 3.0])), samples(np.zeros(2), np.array([2.0, 0.5]))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    product = np.diag([1.0, 9.0]) @ turn.T @ np.diag([4.0, 0.25]) @ turn
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))  # trace of a 2 x 2 matrix's root
    assert frechet.distance(one, other @ turn) == pytest.approx(10 + 4.25 - 2 * root)


def test_a_set_is_at_no_distance_from_itself() -> None:
    few = np.random.default_rng(1).normal(3, 2, size=(20, 64))  # fewer samples than numbers
    assert frechet.distance(few, few[::-1]) == pytest.approx(0, abs=1e-4)


def test_one_sample_is_too_few() -> None:
    with pytest.raises(ValueError, match=r"two samples or more .* 1 against 5"):
        frechet.distance(np.zeros((1, 3)), np.zeros((5, 3)))


@pytest.mark.parametrize("variant", ["fvd", "fvd-crop"])
def test_fvd_of_two_sets_of_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str], variant: str) -> None:
    clips, real = write_clips(tmp_path / "made", [40, 80, 120]), write_clips(tmp_path / "real", [100, 140, 180])
    (clips / "broken.mp4").write_bytes(b"no video")
    (real / "short.mp4").write_bytes(write_clips(tmp_path / "other", [10], pictures=5).joinpath("0.mp4").read_bytes())
    i3d = network(tmp_path / "i3d.pt", TinyI3D())
    command = ["frechet", str(clips), "--reference", str(real), "--variant", variant, "--features", str(i3d)]
    assert main(command) == 1
    told = capsys.readouterr().out
    plain = json.loads((clips / "measured" / f"{variant}.json").read_text())
    # both halves of each clip are as bright, and the spreads are the same: twice the squared distance of the means
    assert plain["scores"]["FVD"]["mean"] == pytest.approx(2 * (60 / 255) ** 2, rel=0.05)
    assert "3 of 4" in told and "broken" in told
    assert "1 of 4: short (it has 5 pictures of the 16 that are asked for)" in told
    for part in ("the first 16 pictures", "48 x 32 at 16 fps", "3 against 3, of 2 numbers", features.describe(i3d)):
        assert part in told
    assert ("middle 224 x 224" in told) == (variant == "fvd-crop")
    assert "caution" not in plain["settings"]


def test_the_figure_is_that_of_all_clips_in_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips, real = write_clips(tmp_path / "made", [40, 80, 120]), write_clips(tmp_path / "real", [100, 140, 180])
    (clips / "broken.mp4").write_bytes(b"no video")
    i3d = network(tmp_path / "i3d.pt", TinyI3D())
    assert main(["frechet", str(clips), "--reference", str(real), "--variant", "fvd", "--features", str(i3d)]) == 1
    written = capsys.readouterr().out
    with (clips / "measured" / "fvd.csv").open(encoding="utf-8", newline="") as file:
        together, *each = csv.DictReader(file)
    plain = json.loads((clips / "measured" / "fvd.json").read_text())
    figure = plain["scores"]["FVD"]
    assert figure == {"mean": float(together["FVD"]), "low": None, "high": None, "clips": 3}
    assert together["clip"] == "(all)" and not together["pictures"]
    assert [row["clip"] for row in each] == ["0", "1", "2", "broken"] and not any(row["FVD"] for row in each)
    assert f"| made | {figure['mean']:.2f} | 3 of 4 |" in written
    saved = clips / "measured" / "fvd.json"
    assert report.load(saved).text() == written.strip()
    assert main(["benchmark", "table", "emtd", str(saved)]) == 0
    table = capsys.readouterr().out
    assert f"| made | - | - | - | {figure['mean']:.2f} |" in table and "made, fvd: 3 of 4 clips" in table
    del plain["together"]  # as in files of before
    plain["rows"][0]["values"]["FVD"] = figure["mean"]
    saved.write_text(json.dumps(plain))
    assert main(["benchmark", "table", "emtd", str(saved)]) == 0
    assert capsys.readouterr().out == table


def test_fid_counts_pictures_and_finds_identical_sets_at_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = write_clips(tmp_path / "made", [40, 200], pictures=6)
    inception = network(tmp_path / "inception.pt", TinyInception())
    command = ["frechet", str(clips), "--reference", str(clips), "--variant", "fid", "--features", str(inception)]
    command += ["--stride", "2"]
    assert main(command) == 0
    plain = json.loads((clips / "measured" / "fid.json").read_text())
    assert plain["scores"]["FID"]["mean"] == pytest.approx(0, abs=1e-6)
    assert plain["settings"]["samples"] == "6 against 6, of 3 numbers"
    monkeypatch.setattr(frechet.Features, "of", None)  # all is known from before
    assert main(command) == 0


def test_features_that_are_gone_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = write_clips(tmp_path / "made", [40, 200])
    i3d = network(tmp_path / "i3d.pt", TinyI3D())
    command = ["frechet", str(clips), "--reference", str(clips), "--variant", "fvd", "--features", str(i3d)]
    assert main(command) == 0
    next((clips / "measured" / "fvd-features").glob("*.npy")).unlink()
    assert main(command) == 2
    assert "is gone: delete" in capsys.readouterr().err


def test_too_few_clips_are_told_with_their_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips, real = write_clips(tmp_path / "made", [40, 80], pictures=12), write_clips(tmp_path / "real", [40, 80])
    i3d = network(tmp_path / "i3d.pt", TinyI3D())
    command = ["frechet", str(clips), "--reference", str(real), "--variant", "fvd", "--features", str(i3d)]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert "two samples or more" in told and "0: it has 12 pictures of the 16" in told
    assert main([*command, "--limit", "1"]) == 2
    assert "FVD needs two clips or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--variant", "fvd", "--frames", "9"], "10 or more"),
        (["--variant", "fvd", "--frames", "0"], "the same number of pictures"),
        (["--variant", "fid", "--stride", "0"], "must be positive"),
        (["--variant", "fvd", "--features", "{plain}"], "does not take rescale, resize, return_features"),
        (["--variant", "fid", "--features", "{plain}"], "does not take return_features"),
        (["--variant", "fvd", "--features", "{text}"], "is no TorchScript file"),
        (["--variant", "fid", "--features", "{text}"], "is no file of weights"),
        (["--variant", "fid", "--features", "{weights}"], "the weights of another network"),
        (["--variant", "fid", "--features", "nowhere.pt"], "there is no file nowhere.pt"),
    ],
)
def test_bad_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str) -> None:
    clips = write_clips(tmp_path / "made", [40, 80], pictures=2)
    plain, text, weights = network(tmp_path / "plain.pt", Plain()), tmp_path / "text.pth", tmp_path / "weights.pth"
    text.write_text("nothing")
    torch.save({"fc.weight": torch.zeros(2, 2)}, weights)
    more = [word.format(plain=plain, text=text, weights=weights) for word in more]
    assert main(["frechet", str(clips), "--reference", str(clips), "--features", str(plain), *more]) == 2
    assert told in capsys.readouterr().err
    assert not (clips / "measured").exists()


def test_pictures_are_taken_from_the_start() -> None:
    frames = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    recording = Recording(frames, Fraction(20), np.zeros(0, np.float32), 16_000)
    assert frechet.Taking(3, 2).of(recording)[:, 0, 0, 0].tolist() == [0, 2, 4]
    assert frechet.Taking(None, 1, Fraction(5)).of(recording)[:, 0, 0, 0].tolist() == [0, 4, 8, 12, 16]
    with pytest.raises(Unmeasurable, match="10 pictures of the 11"):
        frechet.Taking(11, 2).of(recording)


def test_the_middle_is_kept() -> None:
    """A bright right edge outside of the middle square is not seen."""
    video = torch.zeros(1, 3, 2, 100, 300)
    video[..., 220:] = 255
    found = frechet.cropped(video)
    assert found.shape == (1, 3, 2, 224, 224)
    assert found.max() == found.min() == -1


def test_without_torchmetrics_it_is_said_before_any_clip_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", None)
    clips = write_clips(tmp_path / "made", [40, 80], pictures=1)
    command = ["frechet", str(clips), "--reference", str(clips), "--variant", "fid", "--features", "any.pt"]
    assert main(command) == 2
    assert "pip install torchmetrics" in capsys.readouterr().err
