"""UniAVGen's mel -> the mel of the public Vocos (charactr/vocos-mel-24khz).

| | UniAVGen | public Vocos |
|---|---|---|
| filters | 80, Slaney, up to 8 kHz, of equal area | 100, HTK, up to 12 kHz, of height 1 |
| frames | each 240 samples, centred at 120 + 240 i | each 256 samples, centred at 256 k |

The spectrum behind the mel's bins is estimated, seen through the other filters, and read between the frames. Above
8 kHz the mel says nothing: there, the 13 highest bins hold what a recording without such frequencies holds, the noise
of 16 bits.

Measured on six recordings of 2 to 7 s (two of people, four synthetic; English and Chinese), mean absolute difference
from the mel that the public Vocos would take of the sound itself, over frames within 40 dB of the loudest:

| bins | difference |
|---|---|
| 0-19, below 0.6 kHz | 1.7 dB |
| 20-86, up to 8 kHz | 0.9 dB |
| 0-86 together | 1.1 dB; moving the sound by 2.5 ms makes 1.2 dB |
| 87-99, above 8 kHz | 33 dB: all that is there is lost, at most 0.3 % of the energy, the brightness of an s |
| 0-99, from the same sound without what is above 8 kHz, in 16 bits | 1.5 dB |

So the public Vocos is told of the same speech as if recorded at 16 kHz, a loss that it knows from recordings; hence
bridged, not refused. `benchmarks/mel_bridge.py` measures it. What the public weights make of it has not been heard:
they were not at hand. The BigVGAN of the release needs no bridge.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ..audio.mel import WINDOW, filterbank, mel_filters
from ..geometry import HOP_LENGTH, SAMPLE_RATE

PUBLIC_HOP = 256
PUBLIC_BINS = 100
PUBLIC_FLOOR = 1e-7
ROUNDS = 30  # of the estimate; ten times as many change the mean error by less than 0.01 dB
BLOCK = 4096  # frames estimated at once
QUIETEST = 1.53e-4  # mean magnitude of the noise of 16 bits, 2**-15 / sqrt(12), seen through the Hann window


def to_public_mel(log_mel: Tensor) -> Tensor:
    """Log-mel [1, 80, L] -> the public log-mel [1, 100, n], n frames that cover L * 240 samples."""
    blocks = log_mel.exp().split(BLOCK, dim=2)
    seen = torch.cat([public_filters() @ spectrum_behind(block).clamp(min=QUIETEST) for block in blocks], dim=2)
    return between_frames(seen.clamp(min=PUBLIC_FLOOR).log())


def spectrum_behind(mel: Tensor) -> Tensor:
    """Mel magnitudes [B, 80, L] -> non-negative magnitudes of the spectrum [B, 513, L] that have this mel.

    There are many; this is the one that multiplicative updates (Richardson-Lucy) reach from an even spread.
    """
    filters = torch.from_numpy(filterbank()).to(mel)  # [80, 513]
    spread = filters.T / filters.sum(0)[:, None].clamp(min=1e-9)  # [513, 80]
    spectrum = (filters / filters.sum(1, keepdim=True)).T @ mel
    for _ in range(ROUNDS):
        spectrum = spectrum * (spread @ (mel / (filters @ spectrum).clamp(min=1e-9)))
    return spectrum


def between_frames(log_mel: Tensor) -> Tensor:
    """[B, C, L], one frame each 240 samples -> [B, C, n], one each 256, the first at the first sample."""
    frames = log_mel.shape[2]
    count = math.ceil(frames * HOP_LENGTH / PUBLIC_HOP) + 1
    place = (torch.arange(count, dtype=torch.float64) * PUBLIC_HOP - HOP_LENGTH / 2) / HOP_LENGTH
    place = place.clamp(0, frames - 1)
    before = place.floor().long()
    after = (before + 1).clamp(max=frames - 1)
    return torch.lerp(log_mel[..., before], log_mel[..., after], (place - before).to(log_mel))


@lru_cache(maxsize=1)
def public_filters() -> Tensor:
    """[100, 513]. Raises as `mel_filters` does."""
    return torch.from_numpy(mel_filters(WINDOW, PUBLIC_BINS, 0.0, SAMPLE_RATE / 2, norm=None, mel_scale="htk"))
