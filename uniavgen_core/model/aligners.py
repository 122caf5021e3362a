"""What passes between the branches: audio to video, video to audio, and the face mask (paper, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..config import Alignment, ModelConfig
from ..geometry import TEMPORAL_STRIDE
from .alignment import (
    FrameContexts,
    audio_windows,
    context_order,
    frame_contexts,
    frame_positions,
    nearest_contexts,
    own_windows,
)
from .attention import Attention, AttentionFunction, KeysAndValues, mixed_attention
from .blocks import Head
from .rope import RotaryTable, rotary_1d_frame_axis, rotary_3d, rotary_leading, rotate

CONTEXT_NUMBERS = 1 << 24  # keys of video contexts held at once: 64 MB in float32


@dataclass(frozen=True)
class AlignmentTables:
    """Index tables and positions of one pass; G groups of video tokens see one window of sound each.

    latents: T; first_token: the audio tokens before it are given and receive nothing
    windows: [G, W], audio tokens that each group sees
    contexts: the latents that audio tokens see, as many at a time as are seen at once
    context_order: [M], where the tokens from ``first_token`` on stand in the contexts one after the other
    *_rotary: positions of queries and keys, at the head size of the branch that receives; None for none
    """

    latents: int
    first_token: int
    windows: Tensor
    video_query_rotary: RotaryTable
    audio_key_rotary: RotaryTable
    contexts: list[FrameContexts]
    context_order: Tensor
    audio_query_rotary: RotaryTable | None
    video_key_rotary: RotaryTable

    @classmethod
    def build(
        cls, config: ModelConfig, grid: tuple[int, int, int], tokens: int, clean: tuple[int, int], x: Tensor
    ) -> AlignmentTables:
        """Tables for a clip of ``grid`` (latents, rows, columns) and ``tokens``, on the device and dtype of x."""
        latents, rows, columns = grid
        first_latent, first_token = clean
        video_head, audio_head, device = config.video.head_dim, config.audio.head_dim, x.device
        if config.interaction.alignment is Alignment.SYMMETRIC_GLOBAL:
            time = frame_positions(latents, tokens) / TEMPORAL_STRIDE  # in latents
            positions = rotary_3d(latents, rows, columns, video_head, device)
            return cls(
                latents,
                first_token,
                windows=torch.arange(tokens, device=device)[None],
                video_query_rotary=RotaryTable(*(part[first_latent * rows * columns :] for part in positions)),
                audio_key_rotary=rotary_1d_frame_axis(time, video_head, device),
                contexts=[FrameContexts(torch.arange(first_token, tokens)[None], 0).to(device)],
                context_order=torch.arange(tokens - first_token, device=device),
                audio_query_rotary=rotary_1d_frame_axis(time[first_token:], audio_head, device),
                video_key_rotary=rotary_3d(latents, rows, columns, audio_head, device),
            )
        asymmetric = config.interaction.alignment is Alignment.ASYMMETRIC
        windows = (audio_windows if asymmetric else own_windows)(latents, tokens)
        contexts = (frame_contexts if asymmetric else nearest_contexts)(latents, tokens, first_token)
        at_once = max(1, CONTEXT_NUMBERS // (rows * columns * config.audio.dim))
        return cls(
            latents,
            first_token,
            windows=windows[first_latent:].to(device),
            video_query_rotary=rotary_3d(1, rows, columns, video_head, device),
            audio_key_rotary=rotary_leading(windows.shape[1], video_head, device),
            contexts=[part.to(device) for group in contexts for part in group.split(at_once)],
            context_order=context_order(contexts, tokens)[first_token:].to(device),
            audio_query_rotary=None,
            video_key_rotary=rotary_3d(1, rows, columns, audio_head, device),
        )


class AudioToVideo(Attention):
    """Video tokens attend to the sound of their time; what comes back is weighed by the predicted face mask."""

    def __init__(self, config: ModelConfig, *, operations: Any, **factory: Any):
        video, audio = config.video, config.audio
        ops = {"operations": operations, **factory}
        super().__init__(video.dim, audio.dim, video.dim, video.num_heads, config.eps, **ops)
        self.mask_head = Head(video.dim, 1, config.eps, **ops)

    def face_mask(self, video: Tensor, time: Tensor, groups: Tensor) -> Tensor:
        """video [B, N, dim], time [B, S, dim] -> [B, N, 1] in [0, 1] (face-aware modulation)."""
        return self.mask_head(video, time, groups).sigmoid()

    def listen(self, audio: Tensor, tables: AlignmentTables) -> KeysAndValues:
        """audio [B, L, audio dim] -> keys and values of the window of each group: [B, G, W, dim]."""
        keys, values = (part[:, tables.windows] for part in (self.keys(audio), self.v(audio)))
        return rotate(keys, tables.audio_key_rotary, self.heads), values

    def forward(
        self,
        video: Tensor,
        heard: KeysAndValues,
        mask: Tensor,
        tables: AlignmentTables,
        attention: AttentionFunction,
    ) -> Tensor:
        """video [B, N, dim] and mask [B, N, 1] from the first noisy latent on; heard: what `listen` gave.

        Returns [B, N, dim].
        """
        q = self.queries(video).unflatten(1, (tables.windows.shape[0], -1))  # [B, G, n, dim]
        q, k, v = (part.flatten(0, 1) for part in (rotate(q, tables.video_query_rotary, self.heads), *heard))
        y = attention(q, k, v, self.heads)  # [B * G, n, dim]
        return self.o(y.reshape(*video.shape[:2], -1) * mask)


class View(NamedTuple):
    """What sound sees of every latent, T of them and the last one doubled.

    keys, normalised and rotated, and values: [B, T + 1, n, dim]
    square: mean square of the keys before they were normalised: [B, T + 1, n]
    product: mean product with the keys of the next latent: [B, T, n]
    """

    keys: Tensor
    values: Tensor
    square: Tensor
    product: Tensor

    def to(self, device: torch.device | str) -> View:
        return View(*(part.to(device) for part in self))

    def of(self, latents: slice) -> KeysAndValues:
        """Keys and values of C latents: [B, C, n, dim]."""
        return self.keys[:, latents], self.values[:, latents]

    def shares(self, latents: slice, after: slice, weights: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """How much of the keys of C latents, and of those after them, is in the normalised mix of both.

        weights: [C, m] of the latter before normalisation; returns two [B, C, m, n]. What normalises a mix is a factor
        for each key, which follows from the means of both its parts.
        """
        a = weights[:, :, None]  # [C, m, 1]
        square, square_after, product = (  # [B, C, 1, n]
            part.unsqueeze(2) for part in (self.square[:, latents], self.square[:, after], self.product[:, latents])
        )
        mean = (1 - a).square() * square + 2 * a * (1 - a) * product + a.square() * square_after
        norm = (mean.clamp(min=0) + eps).rsqrt()
        return (1 - a) * (square + eps).sqrt() * norm, a * (square_after + eps).sqrt() * norm


class VideoToAudio(Attention):
    """Audio tokens attend to the pictures of their time, interpolated between frames."""

    def __init__(self, config: ModelConfig, *, operations: Any, **factory: Any):
        video, audio = config.video, config.audio
        super().__init__(audio.dim, video.dim, audio.dim, audio.num_heads, config.eps, operations=operations, **factory)
        self.eps = config.eps
        self.global_view = config.interaction.alignment is Alignment.SYMMETRIC_GLOBAL

    def look(self, video: Tensor, tables: AlignmentTables) -> View:
        """Masked video [B, T, n, video dim] -> what is seen of each latent.

        Interpolation commutes with the projections, so every latent is projected once and mixed afterwards. Twice the
        last latent is projected as well: the bias must not double with it.
        """
        video = video.flatten(1, 2)[:, None] if self.global_view else torch.cat((video, 2 * video[:, -1:]), dim=1)
        raw = self.k(video)
        return View(
            rotate(self.norm_k(raw), tables.video_key_rotary, self.heads),
            self.v(video),
            mean_product(raw, raw),
            mean_product(raw[:, :-1], raw[:, 1:]),
        )

    def forward(self, audio: Tensor, seen: View, tables: AlignmentTables, attention: AttentionFunction) -> Tensor:
        """audio [B, M, dim] from the first noisy token on; seen: what `look` gave -> [B, M, dim]."""
        q = self.queries(audio)
        if tables.audio_query_rotary is not None:
            q = rotate(q, tables.audio_query_rotary, self.heads)
        outputs = [
            self._attend(q[:, contexts.tokens - tables.first_token], seen, contexts, attention).flatten(1, 2)
            for contexts in tables.contexts
        ]
        return self.o(torch.cat(outputs, dim=1)[:, tables.context_order])

    def _attend(self, q: Tensor, seen: View, contexts: FrameContexts, attention: AttentionFunction) -> Tensor:
        """Queries [B, C, m, dim] of the contexts' tokens -> [B, C, m, dim]."""
        first, places, weights = contexts.latent, q.shape[1], contexts.weights
        latents, after = slice(first, first + places), slice(first + 1, first + 1 + places)
        if weights is None:
            y = attention(*(part.flatten(0, 1) for part in (q, *seen.of(latents))), self.heads)
            return y.unflatten(0, q.shape[:2])
        shares = seen.shares(latents, after, weights, self.eps)
        return mixed_attention(q, seen.of(latents), seen.of(after), shares, weights, self.heads)


def mean_product(a: Tensor, b: Tensor) -> Tensor:
    """Mean over the channels of a * b, both [..., dim]: [...] float32."""
    return (a.float() * b.float()).mean(dim=-1)
