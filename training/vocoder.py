"""Trains the tiny model's vocoder, a small Vocos.

speech of every voice, word, rate and pitch -> crops with noise -> mel -> Vocos -> spectra and mel as near as can be
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import l1_loss
from vocos.heads import ISTFTHead
from vocos.models import VocosBackbone

from uniavgen_core.audio.mel import FLOOR, MEL_BINS, WINDOW, log_mel, peak_normalize
from uniavgen_core.geometry import HOP_LENGTH
from uniavgen_core.tiny.config import VOCODER_DIM, VOCODER_HIDDEN, VOCODER_LAYERS
from uniavgen_core.vocoder.vocos import Network

from .loop import Loop, adam
from .speech import RATES, VOICES, WORDS, say

UTTERANCES = 1200
PITCH_SHIFTS = range(-12, 13)
SILENCE = 6000  # samples before and after an utterance
BATCH, FRAMES = 12, 64  # crops of 0.64 s
STEPS, RATE = 7600, 1e-3
SPECTRA = (256, 512, 1024, 2048)  # windows of the spectra that are compared
MEL_WEIGHT = 2.0
FAINT = 1e-2  # magnitude in those spectra, about that of the loudest noise: nothing below is compared there
BLUR = 0.15  # deviation of the noise on half of the mels, in log units


def build() -> Network:
    """The vocos package's network, at random."""
    backbone = VocosBackbone(MEL_BINS, VOCODER_DIM, VOCODER_HIDDEN, VOCODER_LAYERS)
    return Network(backbone, ISTFTHead(VOCODER_DIM, WINDOW, HOP_LENGTH, padding="same"))


def utterance(generator: np.random.Generator) -> np.ndarray:
    """Some words of one voice with pauses between and around, peak normalised: float32 [samples]."""
    count = generator.integers(2, 6)
    said = say(
        words=[str(word) for word in generator.choice(WORDS, count)],
        voice=VOICES[generator.integers(len(VOICES))],
        rate=int(generator.choice(RATES)),
        pitch_shift=int(generator.choice(PITCH_SHIFTS)),
        pauses=[float(pause) for pause in generator.uniform(0, 0.3, count - 1) * (generator.random(count - 1) < 0.5)],
    )
    return np.pad(peak_normalize(torch.from_numpy(said.waveform)).numpy(), SILENCE)


def batch(speech: list[np.ndarray], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Crops [BATCH, samples] of a loudness and a noise floor each; their log-mels [BATCH, 80, FRAMES], half rough."""
    samples, crops = FRAMES * HOP_LENGTH, []
    for index in generator.integers(len(speech), size=BATCH):
        start = generator.integers(len(speech[index]) - samples)
        crop = speech[index][start : start + samples] * generator.uniform(0.3, 1)
        crops.append(crop + generator.standard_normal(samples) * 10 ** generator.uniform(-4.5, -3))
    waveform = torch.from_numpy(np.stack(crops)).float()
    mel = log_mel(waveform)
    rough = generator.uniform(0, BLUR, (BATCH, 1, 1)) * (generator.random((BATCH, 1, 1)) < 0.5)
    noise = generator.standard_normal(mel.shape) * rough
    return waveform, (mel + torch.from_numpy(noise)).float().clamp(min=math.log(FLOOR))


def distance(made: Tensor, real: Tensor) -> Tensor:
    """How far sounds [B, samples] are apart: spectra of several windows, and the mel."""
    loss = MEL_WEIGHT * l1_loss(log_mel(made), log_mel(real))
    for size in SPECTRA:
        window = torch.hann_window(size)
        ours, theirs = (
            torch.stft(x, size, size // 4, window=window, return_complex=True).abs().clamp(min=FAINT)
            for x in (made, real)
        )
        loss = loss + l1_loss(ours.log(), theirs.log()) + (ours - theirs).norm() / theirs.norm()
    return loss


def train(loop: Loop, steps: int = STEPS, seed: int = 0) -> Network:
    """The vocoder after so many steps, averaged over the last of them."""
    torch.manual_seed(seed)
    network = build()
    speech = [utterance(np.random.default_rng((seed, 0, index))) for index in range(UTTERANCES)]

    def losses(step: int) -> dict[str, Tensor]:
        waveform, mel = batch(speech, np.random.default_rng((seed, 1, step)))
        return {"loss": distance(network(mel), waveform)}

    return loop.run("vocoder", network, losses, steps, [adam(network.parameters(), RATE)])


def parameters(network: Network) -> dict[str, Tensor]:
    """What the tiny model loads: all but the window, which is computed."""
    return {name: tensor for name, tensor in network.state_dict().items() if name != "head.istft.window"}
