"""PQ, CU: production quality and content usefulness of the sound, by Audiobox Aesthetics (paper, joint generation).

Its package gives scores of about 1 to 10: PQ, CU and, in the CSV file, CE (content enjoyment) and PC (production
complexity). It hears one channel at 16 kHz in windows of 10 s, weighed by their length. It must be installed
(pip install audiobox_aesthetics); --weights is its checkpoint.pt, or --fetch takes its weights from the Hub.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import measure
from .clips import Clip
from .recording import Unmeasurable
from .report import Column, Value

REPOSITORY = "facebook/audiobox-aesthetics"
AXES = ("PQ", "CU", "CE", "PC")

Judge = Callable[[np.ndarray, int], dict[str, float]]  # sound [samples], Hz -> a score for each axis


class Aesthetics:
    """The measure (see `measure.Measure`). judge: gives the scores; named: what it is, for the tables"""

    name = "aesthetics"
    columns = (Column("PQ", "PQ", "higher", 2), Column("CU", "CU", "higher", 2))

    def __init__(self, judge: Judge, named: str):
        self.judge = judge
        self.settings: dict[str, Value] = {"judge": named}

    def of(self, clip: Clip) -> dict[str, Value]:
        recording = clip.read()
        scores = self.judge(recording.sound_at(recording.sample_rate), recording.sample_rate)
        if not all(math.isfinite(scores[axis]) for axis in AXES):
            raise Unmeasurable("its scores are not finite")
        return {axis: scores[axis] for axis in AXES}


def load_audiobox(weights: Path | None, device: str) -> Judge:
    """weights: checkpoint.pt of its release; None: those of the Hub, which are fetched.

    Raises ``ImportError`` or ``ValueError`` with a sentence where the package is missing or the file is another.
    """
    try:
        from audiobox_aesthetics.infer import AesPredictor
    except ImportError as error:
        raise ImportError(f"PQ and CU need a package: pip install audiobox_aesthetics requests ({error})") from error
    import torch

    if weights:
        from .features import read_checkpoint

        held = read_checkpoint(weights, "Audiobox Aesthetics' checkpoint.pt")
        if missing := {"state_dict", "model_cfg", "target_transform"} - set(held):
            raise ValueError(f"{weights} is no checkpoint.pt of Audiobox Aesthetics: it has no {sorted(missing)[0]}")
    # the package reads the file once more, without restrictions where torch is old: it was found to be harmless
    try:
        predictor = AesPredictor(checkpoint_pth=str(weights) if weights else None)
    except Exception as error:  # whatever the package raises for settings that are not its own
        raise ValueError(f"{weights or REPOSITORY} does not fit the installed audiobox_aesthetics: {error}") from error
    predictor.device = torch.device(device)
    predictor.model.to(device)

    def judge(sound: np.ndarray, sample_rate: int) -> dict[str, float]:
        heard = {"path": torch.from_numpy(sound)[None], "sample_rate": sample_rate}
        return predictor.forward([heard])[0]

    return judge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    measure.add_arguments(parser)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint.pt of Audiobox Aesthetics")
    parser.add_argument("--fetch", action="store_true", help=f"take the weights of {REPOSITORY} from the Hub")
    parser.add_argument("--device", default="cpu", help="where it runs: cpu, cuda")


def main(options: argparse.Namespace) -> int:
    if bool(options.weights) == options.fetch:
        raise ValueError("give --weights FILE, or --fetch to take them from the Hub: one of the two")
    from .features import describe

    named = describe(options.weights) if options.weights else f"{REPOSITORY} of the Hub"
    judge = load_audiobox(options.weights, options.device)
    return measure.run(Aesthetics(judge, f"Audiobox Aesthetics, {named}"), options)
