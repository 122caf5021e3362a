"""SyncNet (Chung and Zisserman 2016): five pictures of a face, or the sound of that time -> a point of 1024 numbers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol
from urllib.request import urlopen

from torch import Tensor, nn
from torch.hub import get_dir

from .. import features

NAME = "syncnet_v2.model"
URL = f"https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/{NAME}"
SHA256 = "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442"
MEGABYTES = 55
WHAT = f"{NAME}, which joonson/syncnet_python publishes at {URL}"
POINT = 1024
TIMEOUT, PIECE = 30.0, 1 << 18  # seconds without a byte; bytes read at once


class Network(Protocol):
    """What `score.lip_sync` needs of a network; D is any number, the same for both."""

    def lips(self, pictures: Tensor) -> Tensor:
        """float [N, 3 (blue, green, red), 5, 224, 224], 0 to 255 -> [N, D]"""
        ...

    def voice(self, mfcc: Tensor) -> Tensor:
        """float [N, 1, 13, 20], 100 columns a second -> [N, D]"""
        ...


class SyncNet(nn.Module):
    """The published network; its layers have the names of the published file (see `Network` for the shapes)."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(  # [N, 1, 13, 20]
            *_layer2d(1, 64, 3, 1),
            nn.Identity(),  # numbers the layers as published, where there is a pool of 1 x 1
            *_layer2d(64, 192, 3, 1),
            nn.MaxPool2d(3, stride=(1, 2)),  # [N, 192, 11, 9]
            *_layer2d(192, 384, 3, 1),
            *_layer2d(384, 256, 3, 1),
            *_layer2d(256, 256, 3, 1),
            nn.MaxPool2d(3, stride=2),  # [N, 256, 5, 4]
            *_layer2d(256, 512, (5, 4), 0),  # [N, 512, 1, 1]
        )
        self.netcnnlip = nn.Sequential(  # [N, 3, 5, 224, 224]
            *_layer3d(3, 96, (5, 7, 7), 0, stride=2),  # [N, 96, 1, 109, 109]
            _pool3d(),  # 54 x 54
            *_layer3d(96, 256, (1, 5, 5), 1, stride=2),  # 26 x 26
            _pool3d(padding=1),  # 13 x 13
            *_layer3d(256, 256, (1, 3, 3), 1),
            *_layer3d(256, 256, (1, 3, 3), 1),
            *_layer3d(256, 256, (1, 3, 3), 1),
            _pool3d(),  # 6 x 6
            *_layer3d(256, 512, (1, 6, 6), 0),  # [N, 512, 1, 1, 1]
        )
        self.netfcaud = _head()
        self.netfclip = _head()

    def lips(self, pictures: Tensor) -> Tensor:
        return self.netfclip(self.netcnnlip(pictures.to(self.netfclip[0].weight)).flatten(1))

    def voice(self, mfcc: Tensor) -> Tensor:
        return self.netfcaud(self.netcnnaud(mfcc.to(self.netfcaud[0].weight)).flatten(1))


def _layer2d(before: int, after: int, kernel: int | tuple[int, int], padding: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, kernel, padding=padding), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


def _layer3d(before: int, after: int, kernel: tuple[int, int, int], padding: int, stride: int = 1) -> list[nn.Module]:
    """padding and stride: of height and width."""
    convolution = nn.Conv3d(before, after, kernel, (1, stride, stride), (0, padding, padding))
    return [convolution, nn.BatchNorm3d(after), nn.ReLU(inplace=True)]


def _pool3d(padding: int = 0) -> nn.Module:
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, padding, padding))


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, POINT))


def load(path: Path, device: str = "cpu") -> SyncNet:
    """The network with the weights of the published file, or of any state dict with its names.

    Nothing of the file is run. Raises ``ValueError`` or ``OSError`` with a sentence for another file.
    """
    weights = features.read_weights(path, WHAT)
    return features.fill(SyncNet(), weights, path, WHAT).to(device)


def fetch(path: Path | None = None, watch: Callable[[int, int], None] = lambda done, total: None) -> Path:
    """The published file, downloaded first if it is not there: whole and checked, or not at all.

    path: where it belongs (default: PyTorch's cache); watch: bytes done, bytes in all; what it raises ends the download
    Raises ``OSError`` with a sentence if it cannot be had.
    """
    path = path or Path(get_dir()) / "checkpoints" / NAME
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, done = hashlib.sha256(), 0
    try:
        with TemporaryDirectory(prefix=f".{NAME}-", dir=path.parent) as folder:
            unfinished = Path(folder, "unfinished")
            with urlopen(URL, timeout=TIMEOUT) as source, unfinished.open("wb") as file:
                total = int(source.headers.get("Content-Length") or MEGABYTES * 1_000_000)
                while part := source.read(PIECE):
                    digest.update(part)
                    done += file.write(part)
                    watch(done, max(done, total))
            if digest.hexdigest() != SHA256:
                raise OSError("what came is not the published file, or not all of it")
            os.replace(unfinished, path)
    except (OSError, HTTPException) as error:
        raise OSError(
            f"{URL} could not be fetched ({error}): fetch it otherwise, and put it there as {path}"
        ) from error
    return path
