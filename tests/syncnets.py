"""A SyncNet whose answer is known: it sees how bright a face is, and hears how loud the sound is meanwhile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from media import write_video
from PIL import Image

from evaluation.sync import network

PORTRAIT = Path(__file__).parents[1] / "assets" / "portrait.png"
SIDE, FPS, SAMPLE_RATE = 256, 25, 16_000
DARKEST = 0.4  # of the portrait's own brightness
QUIETEST, RANGE = 20.8, 4.6  # log of the energy of 25 ms at an amplitude of 0.05, and how much more there is at 0.5
LIGHT = 150.0  # of the middle of the portrait's face; a little less, as the pools keep the loudest of the sound


def write_syncnet(path: Path) -> Path:
    """Weights that hand one number through all layers: 0 dark or quiet, 1 bright or loud."""
    syncnet = network.SyncNet()
    weights = {
        name: torch.zeros_like(value) if name.split(".")[1] in ("0", "3", "4", "8", "11", "14", "18") else value
        for name, value in syncnet.state_dict().items()
    }
    for layer in (4, 8, 11, 14):
        for part in ("netcnnlip", "netcnnaud"):
            middle(weights[f"{part}.{layer}.weight"]).fill_(1)
    middle(weights["netcnnlip.18.weight"]).fill_(1)
    weights["netcnnlip.0.weight"][0, :, :, 3, 3] = 1 / 15  # of three colours in five pictures
    weights["netcnnaud.0.weight"][0, 0, 1, 1] = 1
    weights["netcnnaud.0.bias"][0] = -QUIETEST
    weights["netcnnaud.18.weight"][0, 0, 0] = 1 / 4  # the first coefficient, in four parts of the time
    for part, scale, least in (("netfclip", 1 / LIGHT, DARKEST), ("netfcaud", 1 / RANGE, 0.0)):
        weights[f"{part}.0.weight"][0, 0] = scale / (1 - least)
        weights[f"{part}.0.bias"][0] = -least / (1 - least)
        weights[f"{part}.3.weight"][0, 0] = 1
    torch.save(weights, path)
    return path


def middle(weight: torch.Tensor) -> torch.Tensor:
    """The one that leads from channel 0 to channel 0 in the middle of the kernel."""
    return weight[(0, 0, *(side // 2 for side in weight.shape[2:]))]


def write_talking(path: Path, late: int = 0, frames: int = 40, face: bool = True) -> Path:
    """A portrait whose brightness goes with the loudness of a hiss, but that it comes so many pictures after it."""
    random = np.random.default_rng(0)
    level = np.interp(np.arange(frames + 40) / 1.5, np.arange(frames + 40), random.uniform(0, 1, frames + 40))
    seen, heard = level[20 - late :][:frames], level[20:][:frames]
    portrait = np.array(Image.open(PORTRAIT).convert("RGB").resize((SIDE, SIDE))) if face else np.full((64, 64, 3), 90)
    pictures = [np.round(portrait * (DARKEST + (1 - DARKEST) * each)).astype(np.uint8) for each in seen]
    loudness = np.repeat(0.05 * 10**heard, SAMPLE_RATE // FPS)
    hiss = np.clip(loudness * random.standard_normal(len(loudness)), -1, 1).astype(np.float32)[None]
    return write_video(path, pictures, fps=FPS, sound=hiss, sample_rate=SAMPLE_RATE)
