"""FID, FVD: how far the features of two sets of clips lie apart, as Gaussians (paper, audio-driven on EMTD).

--variant fid       Inception of 2015, 2048 numbers a picture. --features: pt_inception-2015-12-05-6726825d.pth (of
                    pytorch-fid; torch-fidelity must be installed) or NVIDIA's inception-2015-12-05.pt. Pictures are
                    stretched to 299 x 299 inside. Default: all pictures of each clip.
--variant fvd       I3D, 400 numbers a clip. --features: StyleGAN-V's i3d_torchscript.pt, called as StyleGAN-V does:
                    pictures are stretched to 224 x 224 inside. Default: the first 16 pictures of each clip.
--variant fvd-crop  The same network as other published scripts call it: the shorter side becomes 224, and the middle
                    224 x 224 is kept.

A .pt file of these is a program (TorchScript), which loading it may run: give only one that you trust.
The paper names neither variant, pictures nor size. Figures compare only where all of these, and the number of clips,
agree; they are printed with each. Few clips make a figure larger than it would be with many.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import features, measure
from .clips import Clip, clips_of
from .recording import Recording, Unmeasurable
from .report import Column, Result, Row, Value, save

FEWEST = 10  # pictures that I3D needs, as it halves their number again and again
I3D_SIDE = 224
BATCH = 16


@dataclass(frozen=True)
class Variant:
    """title: of the figure; pictures: of each clip by default, None for all; network: what it is called with"""

    title: str
    pictures: int | None
    network: str


VARIANTS = {
    "fid": Variant("FID", None, "Inception, stretched to 299 x 299"),
    "fvd": Variant("FVD", 16, "I3D, stretched to 224 x 224"),
    "fvd-crop": Variant("FVD", 16, "I3D, shorter side 224, middle 224 x 224"),
}


@dataclass(frozen=True)
class Taking:
    """Which pictures count: of each ``stride``-th at ``fps`` (None: the clip's own) the first ``count`` (None: all)."""

    count: int | None
    stride: int = 1
    fps: Fraction | None = None

    def of(self, recording: Recording) -> np.ndarray:
        """uint8 [F, H, W, 3]. Raises `Unmeasurable` where there are too few."""
        shown = recording.frames_at(self.fps or recording.fps)[:: self.stride]
        if self.count is not None and len(shown) < self.count:
            raise Unmeasurable(f"it has {len(shown)} pictures of the {self.count} that are asked for")
        return shown[: self.count]

    def __str__(self) -> str:
        which = "all pictures" if self.count is None else f"the first {self.count} pictures"
        each = "" if self.stride == 1 else f" of each {self.stride}th"
        return f"{which}{each} at {'their own rate' if self.fps is None else f'{float(self.fps):g} fps'}"


class Features:
    """The measure that finds the features of a clip and keeps them as a file (see `measure.Measure`).

    network: pictures, float [1, 3, F, H, W] for FVD or uint8 [N, 3, H, W] for FID, 0 to 255 -> [samples, D]
    folder: for the files, float32 [samples, D] each, named by their content
    """

    columns = (Column("pictures", "pictures"),)

    def __init__(self, variant: str, network: features.Network, named: str, taking: Taking, folder: Path):
        self.name, self.network, self.taking, self.folder = variant, network, taking, folder
        self.settings: dict[str, Value] = {
            "network": f"{VARIANTS[variant].network}; {named}",
            "pictures": str(taking),
        }

    def of(self, clip: Clip) -> dict[str, Value]:
        recording = clip.read()
        shown = self.taking.of(recording)
        with torch.inference_mode():
            found = self.found(torch.from_numpy(np.ascontiguousarray(shown))).float().cpu().numpy()
        if found.ndim != 2 or not np.isfinite(found).all():
            raise Unmeasurable(f"its features are not finite, or not one row each: {list(found.shape)}")
        size = f"{shown.shape[2]} x {shown.shape[1]}"
        fps = float(self.taking.fps or recording.fps)
        return {"pictures": len(shown), "size": size, "fps": fps, "file": self.kept(found)}

    def found(self, shown: Tensor) -> Tensor:
        """uint8 [F, H, W, 3] -> [samples, D]: of each picture for FID, of all together for FVD."""
        if self.name == "fid":
            return torch.cat([self.network(part.permute(0, 3, 1, 2)) for part in shown.split(BATCH)])
        video = shown.permute(3, 0, 1, 2)[None].float()
        return self.network(video if self.name == "fvd" else cropped(video))

    def kept(self, found: np.ndarray) -> str:
        name = f"{hashlib.sha256(found.tobytes()).hexdigest()[:16]}.npy"
        unfinished = self.folder / f"{name}.unfinished"
        with unfinished.open("wb") as file:
            np.save(file, found)
        os.replace(unfinished, self.folder / name)
        return name

    def load(self, rows: Sequence[Row]) -> np.ndarray:
        """float64 [samples, D] of all clips that have features. Raises ``ValueError`` if a file is gone."""
        try:
            found = [np.load(self.folder / row.values["file"]) for row in rows if row.values]
        except FileNotFoundError as error:
            raise ValueError(f"{error.filename} is gone: delete {self.folder} and the .jsonl beside it") from error
        return np.concatenate(found).astype(np.float64) if found else np.zeros((0, 0))


def cropped(video: Tensor) -> Tensor:
    """float [1, 3, F, H, W], 0 to 255 -> its middle at a shorter side of 224, -1 to 1: [1, 3, F, 224, 224]."""
    pictures = video[0].movedim(1, 0)
    shorter = min(pictures.shape[-2:])
    scale = I3D_SIDE / shorter
    sides = [I3D_SIDE if side == shorter else math.ceil(side * scale) for side in pictures.shape[-2:]]
    small = nn.functional.interpolate(pictures, sides, mode="bilinear", align_corners=False)
    top, left = ((side - I3D_SIDE) // 2 for side in sides)
    middle = small[..., top : top + I3D_SIDE, left : left + I3D_SIDE]
    return middle.movedim(0, 1)[None] / 127.5 - 1


class _Known(nn.Module):
    """Stands for a network where the features are known already."""

    def __init__(self, dimensions: int):
        super().__init__()
        self.num_features = dimensions

    def forward(self, found: Tensor) -> Tensor:
        return found


def _frechet() -> type:
    """torchmetrics' class. Raises ``ImportError`` with a sentence."""
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ImportError as error:
        raise ImportError(f"FID and FVD need torchmetrics: pip install torchmetrics ({error})") from error
    return FrechetInceptionDistance


def distance(found: np.ndarray, reference: np.ndarray) -> float:
    """Squared Frechet distance of the Gaussians with the means and (unbiased) covariances of two sets [samples, D].

    Computed by torchmetrics in float64. Raises ``ValueError`` for sets of fewer than two samples.
    """
    if min(len(found), len(reference)) < 2:
        counts = f"{len(found)} against {len(reference)}"
        raise ValueError(f"two samples or more are needed on each side for a covariance, and there are {counts}")
    if found.shape[1] != reference.shape[1]:
        raise ValueError(f"the features have {found.shape[1]} numbers against {reference.shape[1]}")
    metric = _frechet()(feature=_Known(found.shape[1]))
    metric.update(torch.from_numpy(np.array(found, np.float64)), real=False)
    metric.update(torch.from_numpy(np.array(reference, np.float64)), real=True)
    return max(0.0, float(metric.compute()))


def compare(
    finder: Features, clips: Sequence[Clip], reference: Sequence[Clip], ledger: Path, method: str, against: str
) -> Result:
    """The distance of two sets of clips, which is the number of all clips together.

    ledger: a file of what was found before. Raises ``ValueError`` where too few clips are left.
    """
    title = VARIANTS[finder.name].title
    rows = measure.measured(finder, clips, ledger)
    others = measure.measured(finder, reference, ledger)
    found, there = finder.load(rows), finder.load(others)
    try:
        figure = distance(found, there)
    except ValueError as error:
        lost = [f"{row.clip}: {row.reason}" for row in [*rows, *others] if row.values is None]
        raise ValueError("\n".join([str(error), *lost])) from error
    settings = dict(finder.settings) | {
        "samples": f"{len(found)} against {len(there)}, of {found.shape[1]} numbers",
        "clips": _sizes(rows),
        "reference": f"{against}, {_sizes(others)}",
    }
    if min(len(found), len(there)) <= found.shape[1]:
        settings["caution"] = "fewer samples than numbers: larger than with many clips; compare only sets of this size"
    lost = [f"{row.clip} ({row.reason})" for row in others if row.values is None]
    if lost:
        settings["not in the reference"] = f"{len(lost)} of {len(others)}: {', '.join(lost)}"
    shown = tuple(replace(row, values=_shown(row.values)) for row in rows)
    return Result(finder.name, method, (Column(title, title, "lower", 2),), settings, shown, {title: figure})


def _shown(values: Mapping[str, Value] | None) -> dict[str, Value] | None:
    return values and {name: value for name, value in values.items() if name != "file"}


def _sizes(rows: Sequence[Row]) -> str:
    """As 98 clips: 97 of 512 x 512 at 25 fps, 1 of 640 x 480 at 30 fps."""
    kinds = Counter((row.values["size"], row.values["fps"]) for row in rows if row.values)
    told = [f"{count} of {size} at {fps:g} fps" for (size, fps), count in kinds.most_common()]
    return f"{sum(kinds.values())} clips: {', '.join(told)}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    measure.add_arguments(parser)
    parser.add_argument(
        "--reference", type=Path, required=True, help="the real clips: a folder or a CSV file, as CLIPS"
    )
    parser.add_argument("--variant", choices=VARIANTS, required=True)
    parser.add_argument("--features", type=Path, required=True, metavar="FILE", help="the network (see above)")
    parser.add_argument("--frames", type=int, metavar="N", help="take the first N pictures of each clip; 0: all")
    parser.add_argument("--stride", type=int, default=1, metavar="N", help="take each N-th picture (default: 1)")
    parser.add_argument("--fps", type=Fraction, help="bring the clips to this rate first (default: their own)")
    parser.add_argument("--device", default="cpu", help="where the network runs: cpu, cuda")


def main(options: argparse.Namespace) -> int:
    variant = VARIANTS[options.variant]
    count = variant.pictures if options.frames is None else options.frames or None
    if options.stride < 1 or (options.fps is not None and options.fps <= 0) or (count or 1) < 1:
        raise ValueError("--frames, --stride and --fps must be positive")
    if variant.title == "FVD" and (count is None or count < FEWEST):
        raise ValueError(
            f"--variant {options.variant} needs the same number of pictures of each clip, {FEWEST} or more"
        )
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit {options.limit} leaves no clip: give 1 or more")
    clips = clips_of(options)[: options.limit]
    reference = clips_of(argparse.Namespace(clips=options.reference, rows=None, root=None))[: options.limit]
    if variant.title == "FVD" and min(len(clips), len(reference)) < 2:
        counts = f"{len(clips)} against {len(reference)}"
        raise ValueError(f"FVD needs two clips or more on each side for a covariance, and there are {counts}")
    _frechet()
    named = features.describe(options.features)
    if options.variant == "fid":
        network = features.load_inception(options.features, options.device)
    else:
        network = features.load_i3d(options.features, options.device, resize=options.variant == "fvd")
    output = measure.output_of(options)
    folder = output / f"{options.variant}-features"
    folder.mkdir(parents=True, exist_ok=True)
    finder = Features(options.variant, network, named, Taking(count, options.stride, options.fps), folder)
    ledger = output / f"{options.variant}.jsonl"
    result = compare(finder, clips, reference, ledger, measure.method_of(options), str(options.reference))
    print(result.text())
    save(result, output)
    return measure.FAILED if result.failures or "not in the reference" in result.settings else 0
