"""A caption encoder that reads bytes: text of what is seen -> hidden states, as wide as the tiny model takes."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from .config import CAPTION_HIDDEN, CAPTION_KERNEL, CAPTION_SYMBOLS, TINY

END = 256  # after the last byte; an empty caption is this mark alone
log = logging.getLogger(__name__)


class TinyCaptionEncoder(nn.Module):
    """UTF-8 bytes -> embedding with sinusoid positions -> convolution and MLP (implements CaptionEncoder)."""

    def __init__(self) -> None:
        super().__init__()
        dim = TINY.text_dim
        self.embedding = nn.Embedding(CAPTION_SYMBOLS, dim)
        self.convolution = nn.Conv1d(dim, CAPTION_HIDDEN, CAPTION_KERNEL, padding=CAPTION_KERNEL // 2)
        self.projection = nn.Linear(CAPTION_HIDDEN, dim)
        self.norm = nn.LayerNorm(dim)

    def encode(self, captions: list[str]) -> Tensor:
        """Captions -> [B, N, 64], N <= 256 symbols of the longest one; shorter ones end in zeros.

        A caption of more than 255 bytes is cut there, which is logged. Raises ``ValueError`` for an empty list.
        """
        if not captions:
            raise ValueError("there is no caption to encode: give at least one, which may be an empty text")
        rows = [symbols(caption) for caption in captions]
        length = max(len(row) for row in rows)
        device = self.embedding.weight.device
        ids = torch.tensor([row + [END] * (length - len(row)) for row in rows], device=device)  # [B, N]
        used = torch.tensor([len(row) for row in rows], device=device)
        kept = (torch.arange(length, device=device) < used[:, None])[..., None]  # [B, N, 1]
        x = self.embedding(ids)
        x = (x + positions(length, x)) * kept  # zeros, as a convolution of the caption alone would see them
        hidden = self.convolution(x.transpose(1, 2)).transpose(1, 2)  # [B, N, 128]
        return self.norm(x + self.projection(nn.functional.gelu(hidden))) * kept


def symbols(caption: str) -> list[int]:
    """The caption's bytes and the end mark, at most as many as the model reads."""
    data, room = caption.encode("utf-8", "replace"), TINY.text_len - 1
    if len(data) > room:
        log.warning(
            "the caption has %d bytes, of which the tiny model reads the first %d: the last %d are cut off",
            len(data),
            room,
            len(data) - room,
        )
    return [*data[:room], END]


def positions(length: int, like: Tensor) -> Tensor:
    """Sinusoid positions, cosines then sines: [N, dim] in the dtype and on the device of ``like`` [..., dim]."""
    half = like.shape[-1] // 2
    frequencies = 10_000.0 ** (-torch.arange(half, device=like.device) / half)
    angles = torch.outer(torch.arange(length, device=like.device).float(), frequencies)
    return torch.cat((angles.cos(), angles.sin()), dim=-1).to(like)
