"""A vocoder that is a convolutional network, whatever its kind."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..audio.mel import MEL_BINS
from ..geometry import HOP_LENGTH
from .chunks import decode_in_chunks

CHUNK = 600  # frames: 6 s, a clip of the trained length in one piece


class NeuralVocoder(nn.Module):
    """Log-mel -> waveform at 24 kHz, float32 (implements Vocoder).

    network: features [1, C, n] -> samples, frame i beginning at sample i * hop; no layer may be global in time
    context: frames on each side that a frame's samples depend on
    hop: samples a frame of the network's features
    convert: log-mel [1, 80, L] -> the network's features, if it was trained on another mel
    """

    def __init__(
        self,
        network: nn.Module,
        context: int,
        hop: int = HOP_LENGTH,
        convert: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.network = network
        self.context = context
        self.hop = hop
        self.convert = convert

    def decode(self, log_mel: Tensor, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """[B, 80, L], L >= 1, not normalised -> [B, 1, L * 240] in [-1, 1] on the CPU.

        Runs where the network's weights are, 6 s of one item at a time: the memory there does not grow with B or L.
        progress: called after each chunk with the chunks done and in all; what it raises ends the decoding
        Raises ``ValueError`` for other shapes.
        """
        if log_mel.ndim != 3 or log_mel.shape[1] != MEL_BINS or 0 in log_mel.shape:
            raise ValueError(
                f"the vocoder decodes log-mels [batch, {MEL_BINS}, at least one frame], not {list(log_mel.shape)}"
            )
        samples, device = log_mel.shape[2] * HOP_LENGTH, next(self.network.parameters()).device
        count = 0

        def advance() -> None:
            nonlocal count
            count += 1
            if progress is not None:
                progress(count, total)

        def piece(features: Tensor) -> Tensor:
            return self.network(features.to(device)).reshape(-1)

        sounds = []
        with torch.inference_mode():
            for item in log_mel.to("cpu", torch.float32).split(1):
                features = item if self.convert is None else self.convert(item)
                total = len(log_mel) * math.ceil(features.shape[-1] / CHUNK)
                sound = decode_in_chunks(piece, features, self.context, CHUNK, self.hop, advance)
                sounds.append(sound[:samples].clamp(-1, 1))
        return torch.stack(sounds)[:, None]
