"""LSE-C, LSE-D and offset: how well lips and sound go together for SyncNet (paper, tables 1 to 3).

--weights FILE  syncnet_v2.model as joonson/syncnet_python publishes it
--fetch         take that file from where it is published (55 MB), once, into PyTorch's cache

The clip is seen at 25 pictures a second and heard at 16 kHz. A face is found by dlib, followed and cropped; of several
the one that is seen longest counts. LSE-D is the least mean distance over offsets of 15 pictures to both sides, LSE-C
the median of these less that; an offset above 0 means that the lips come so many pictures after the sound.
"""

from __future__ import annotations

import argparse
import logging
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tqdm import tqdm

from . import features, measure
from .clips import Clip, clips_of
from .report import Column, Value
from .sync import detector, faces, network, score, sound

log = logging.getLogger(__name__)


class LipSync:
    """The measure (see `measure.Measure`). weights: what the network is, for the tables"""

    name = "lipsync"
    columns = (
        Column("confidence", "LSE-C", "higher", 2),
        Column("distance", "LSE-D", "lower", 2),
        Column("offset", "offset (pictures)", "", 1),
    )

    def __init__(self, syncnet: network.Network, find: faces.Detector, weights: str):
        self.syncnet, self.find = syncnet, find
        self.settings: dict[str, Value] = {
            "SyncNet": weights,
            "faces": f"dlib {_version('dlib-bin', 'dlib')}, the longest seen",
            "MFCC": f"python_speech_features {_version('python_speech_features')}",
        }

    def of(self, clip: Clip) -> dict[str, Value]:
        found = score.lip_sync(clip.read(), self.syncnet, self.find)
        if found.faces > 1:
            log.warning("%s shows %d faces: the one that is seen longest counts", clip.name, found.faces)
        return {
            "confidence": found.confidence,
            "distance": found.distance,
            "offset": found.offset,
            "windows": found.windows,
            "faces": found.faces,
        }


def _version(*packages: str) -> str:
    """That of the first package that is installed."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "of unknown version"


def fetched() -> Path:
    """The published file, fetched under a bar."""
    with tqdm(desc=network.NAME, unit="B", unit_scale=True, disable=None) as bar:

        def watch(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return network.fetch(watch=watch)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    measure.add_arguments(parser)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--weights", type=Path, metavar="FILE", help=network.NAME)
    place.add_argument("--fetch", action="store_true", help=f"take it from {network.URL} ({network.MEGABYTES} MB)")
    parser.add_argument("--device", default="cpu", help="where SyncNet runs: cpu, cuda")


def main(options: argparse.Namespace) -> int:
    clips_of(options)  # a wrong request fails before anything is fetched or read
    find, _ = detector.dlib_detector(), sound.library()
    path = fetched() if options.fetch else options.weights
    syncnet = network.load(path, options.device)
    return measure.run(LipSync(syncnet, find, features.describe(path)), options)
