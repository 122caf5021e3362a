"""SC, DD, IQ: subject consistency, dynamic degree and image quality as VBench defines them (paper, joint generation).

--dino FILE     SC: dino_vitbase16_pretrain.pth. Every picture after the first: the mean of its features' cosines to the
                first picture's and to the one before, none below 0; the mean over the pictures of all clips.
--raft FILE     DD: raft_large_C_T_V1-22a6c225.pth, torchvision's copy of the raft-things that VBench uses. Of pictures
                at about 8 a second: whether enough pairs have a flow above the threshold; the share of such clips.
--musiq FILE    IQ: musiq_spaq_ckpt-358bb6af.pth, with pyiqa installed. The mean of the pictures' scores, out of 1.

A measure whose file is not given is left out, and the table says so. A clip that is too short or too small for one of
the measures has none of them, and is named.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import features, measure
from .clips import Clip
from .recording import Recording, Unmeasurable
from .report import Column, Value

FLOW_FPS = 8
FAST = 0.05  # share of the pixels, those with the largest flow, whose mean is a pair's motion
LIMIT, LIMIT_SIDE = 6.0, 256  # pixels of flow, for pictures whose shorter side is that
ENOUGH, ENOUGH_OF = 4, 16  # pairs above the limit, of so many pictures
FEWEST = 3  # with fewer pictures than this, VBench's rule asks for no moving pair at all
BATCH = 16

Flow = Callable[[Tensor, Tensor], Tensor]

COLUMNS = {
    "SC": Column("SC", "SC", "higher", 3, weight="compared"),
    "DD": Column("DD", "DD", "higher", 3),
    "IQ": Column("IQ", "IQ", "higher", 3),
}


class Picture:
    """The measure (see `measure.Measure`), with those networks that are given.

    dino: pictures [N, 3, H, W] -> features [N, D]; raft: two pictures -> flow [2, H, W]; musiq: picture -> score of 100
    used: what each of "SC", "DD", "IQ" is made with, for the tables
    """

    name = "picture"

    def __init__(
        self,
        used: dict[str, str],
        dino: features.Network | None = None,
        raft: Flow | None = None,
        musiq: features.Network | None = None,
    ):
        self.dino, self.raft, self.musiq = dino, raft, musiq
        given = {"SC": dino, "DD": raft, "IQ": musiq}
        self.columns = tuple(COLUMNS[name] for name, network in given.items() if network)
        left_out = {name: f"left out: no --{option}" for name, option in OPTIONS.items() if not given[name]}
        self.settings: dict[str, Value] = {**used, **left_out}

    def of(self, clip: Clip) -> dict[str, Value]:
        recording = clip.read()
        if not len(recording.frames):
            raise Unmeasurable("it has no pictures")
        values: dict[str, Value] = {"pictures": len(recording.frames)}
        with torch.inference_mode():
            if self.dino:
                values |= {"SC": self.consistency(recording), "compared": len(recording.frames) - 1}
            if self.raft:
                values |= self.motion(recording)
            if self.musiq:
                scores = [float(self.musiq(picture)) for picture in _pictures(recording.frames, 1)]
                values["IQ"] = float(np.mean(scores)) / 100
        return values

    def consistency(self, recording: Recording) -> float:
        if len(recording.frames) < 2:
            raise Unmeasurable("it is one picture: for SC there must be two (without --dino the rest is measured)")
        found = [self.dino(pictures).double().cpu() for pictures in _pictures(recording.frames, BATCH)]
        return subject_consistency(torch.cat(found))

    def motion(self, recording: Recording) -> dict[str, Value]:
        shown = recording.frames[:: max(1, round(recording.fps / FLOW_FPS))]
        without = "(without --raft the rest is measured)"
        if len(shown) < FEWEST:
            raise Unmeasurable(
                f"for DD there must be {FEWEST} pictures at 8 a second, and there are {len(shown)} {without}"
            )
        if min(shown.shape[1:3]) < features.FLOW_SIDE:
            sides = f"{shown.shape[2]} x {shown.shape[1]}"
            raise Unmeasurable(f"for DD its sides must be {features.FLOW_SIDE} or more, not {sides} {without}")
        pictures = list(_pictures(shown, 1))
        motions = [fastest(self.raft(first, second)) for first, second in pairwise(pictures)]
        moves = is_dynamic(motions, min(shown.shape[1:3]), len(shown))
        return {"DD": float(moves), "median_motion": float(np.median(motions)), "pairs": len(motions)}


def subject_consistency(found: Tensor) -> float:
    """Features [F, D] of F > 1 pictures -> the mean of the cosines to the first and to the one before (VBench)."""
    unit = torch.nn.functional.normalize(found, dim=-1)
    to_first, to_previous = unit[1:] @ unit[0], (unit[1:] * unit[:-1]).sum(dim=-1)
    return float((to_first.clamp(min=0) + to_previous.clamp(min=0)).mean() / 2)


def fastest(flow: Tensor) -> float:
    """Flow [2, H, W] -> how long it is, in pixels, on average over its longest 5 % (VBench)."""
    length = flow.norm(dim=0).flatten()
    return float(length.topk(int(len(length) * FAST)).values.mean())


def is_dynamic(motions: list[float], side: int, pictures: int) -> bool:
    """Whether at least a quarter of the pictures' number moves further than 6 pixels at a shorter side of 256 (VBench).

    motions: of each pair; side: the shorter one, in pixels; pictures: how many there were
    """
    limit = LIMIT * side / LIMIT_SIDE
    return sum(motion > limit for motion in motions) >= round(ENOUGH * pictures / ENOUGH_OF)


def _pictures(frames: np.ndarray, batch: int) -> Iterable[Tensor]:
    """uint8 [F, H, W, 3] -> float [batch, 3, H, W], 0 to 255."""
    for start in range(0, len(frames), batch):
        yield torch.from_numpy(frames[start : start + batch]).permute(0, 3, 1, 2).float()


# measure -> option that gives its file, and how it is named in tables
OPTIONS = {"SC": "dino", "DD": "raft", "IQ": "musiq"}
USES = {
    "SC": "DINO {}, all pictures, shorter side 224",
    "DD": "RAFT {}, 20 updates, about 8 pictures a second, VBench's threshold",
    "IQ": "MUSIQ {}, all pictures, longer side at most 512",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    measure.add_arguments(parser)
    for name, option in OPTIONS.items():
        parser.add_argument(f"--{option}", type=Path, metavar="FILE", help=f"weights for {name} (see above)")
    parser.add_argument("--device", default="cpu", help="where the networks run: cpu, cuda")


def main(options: argparse.Namespace) -> int:
    files = {name: getattr(options, option) for name, option in OPTIONS.items() if getattr(options, option)}
    if not files:
        raise ValueError("nothing to measure with: give one or more of --dino, --raft, --musiq")
    used = {name: USES[name].format(features.describe(path)) for name, path in files.items()}
    loaders = {"SC": features.load_dino, "DD": features.load_raft, "IQ": features.load_musiq}
    networks = {OPTIONS[name]: loaders[name](path, options.device) for name, path in files.items()}
    return measure.run(Picture(used, **networks), options)
