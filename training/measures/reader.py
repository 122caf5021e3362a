"""How far the mouth must be open for what is heard: learnt from the training split's sound alone.

audio tokens -> windows around each frame -> network -> opening of the mouth
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from uniavgen_core.audio.sound import driving_tokens
from uniavgen_core.geometry import HOP_LENGTH, SAMPLE_RATE, VIDEO_FPS

from ..clips import Clip, make_clip
from ..data import sound
from ..drawing import Array
from ..speech import VOICES, WORDS
from .scores import correlation

CLIPS, FIRST = 700, 50_000_000  # training clips, and the seed of the first: none that the model learns from
FRAMES = 81
OFFSETS = np.arange(-15, 16, 3)  # tokens around a frame's time: 150 ms before and after
BINS_TOGETHER = 2
HIDDEN = (192, 64)
# What generated sound may be off by, in audio tokens' units: noise, and loudness as a whole
NOISE, LOUDNESS = 0.3, 0.3
TOLERANCE, PATIENCE, EPOCHS = 1e-5, 4, 40


@dataclass(frozen=True)
class Reader:
    """A small network, as its matrices [in, out] and biases [out]; rectified in between."""

    matrices: tuple[Array, ...]
    biases: tuple[Array, ...]

    def read(self, tokens: Tensor, frames: int) -> Array:
        """Audio tokens [80, L] -> opening of the mouth [F], 0 closed and 1 wide open."""
        x = windows(tokens.numpy(), frames)
        for matrix, bias in zip(self.matrices[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ matrix + bias, 0)
        return (x @ self.matrices[-1] + self.biases[-1])[:, 0].clip(0, 1)


def windows(tokens: Array, frames: int) -> Array:
    """Audio tokens [80, L] -> what is heard around each frame [F, n]; beyond both ends the sound stays as it is."""
    middle = np.arange(frames) / VIDEO_FPS * SAMPLE_RATE / HOP_LENGTH - 0.5  # token j is heard at j + 1/2
    places = (middle[:, None] + OFFSETS).clip(0, tokens.shape[1] - 1)  # [F, offsets]
    left = np.floor(places).astype(int)
    right, share = np.minimum(left + 1, tokens.shape[1] - 1), (places - left).astype(np.float32)
    coarse = tokens.reshape(-1, BINS_TOGETHER, tokens.shape[1]).mean(axis=1)  # [bins, L]
    heard = coarse[:, left] * (1 - share) + coarse[:, right] * share  # [bins, F, offsets]
    return heard.transpose(1, 0, 2).reshape(frames, -1)


def tokens_of(clip: Clip) -> Tensor:
    """What the model hears of a clip: [80, L]."""
    return driving_tokens(sound(clip.waveform))[0]


def learn(clips: Iterable[Clip], seed: int = 0) -> Reader:
    """The reader that these clips teach, with scikit-learn."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    rng, heard, seen = np.random.default_rng(seed), [], []
    for clip in clips:
        clean = tokens_of(clip).numpy()
        rough = clean + rng.uniform(0, NOISE) * rng.standard_normal(clean.shape, np.float32)
        heard.append(windows((rough + rng.normal(0, LOUDNESS)).astype(np.float32), len(clip.opening)))
        seen.append(clip.opening)
    network = MLPRegressor(
        hidden_layer_sizes=HIDDEN,
        random_state=seed,
        early_stopping=True,
        tol=TOLERANCE,
        n_iter_no_change=PATIENCE,
        max_iter=EPOCHS,
        learning_rate_init=1e-3,
        alpha=1e-3,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs are enough
        network.fit(np.concatenate(heard), np.concatenate(seen))
    return Reader(tuple(network.coefs_), tuple(network.intercepts_))


def recipe() -> str:
    """What a reader depends on: one that was learnt otherwise is learnt anew."""
    return json.dumps([CLIPS, FIRST, FRAMES, OFFSETS.tolist(), HIDDEN, NOISE, LOUDNESS, WORDS, [*map(asdict, VOICES)]])


def _kept(path: Path) -> Reader | None:
    layers = range(len(HIDDEN) + 1)
    try:
        with safe_open(path, "np") as file:
            if (file.metadata() or {}).get("recipe") == recipe():
                return Reader(*(tuple(file.get_tensor(f"{kind}.{n}") for n in layers) for kind in ("matrix", "bias")))
    except (FileNotFoundError, SafetensorError):
        pass
    return None


def load_reader(path: Path, count: int = CLIPS) -> Reader:
    """The reader kept at ``path``; if there is none of use, it is learnt from so many clips (two minutes)."""
    if kept := _kept(path):
        return kept
    reader = learn(make_clip(FIRST + n, FRAMES) for n in range(count))
    tensors = {f"matrix.{n}": matrix for n, matrix in enumerate(reader.matrices)}
    tensors |= {f"bias.{n}": bias for n, bias in enumerate(reader.biases)}
    unfinished = path.with_suffix(".unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, unfinished, {"recipe": recipe()})
    os.replace(unfinished, path)
    return reader


def quality(reader: Reader, clips: Iterable[Clip]) -> list[float]:
    """For each clip, how what is read from its true sound goes with the true opening."""
    return [correlation(reader.read(tokens_of(clip), len(clip.opening)), clip.opening) for clip in clips]
