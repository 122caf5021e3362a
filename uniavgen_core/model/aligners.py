"""What passes between the branches: audio to video, video to audio, and the face mask (paper, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
from .attention import Attention, AttentionFunction, KeysAndValues
from .blocks import Head
from .rope import RotaryTable, rotary_1d_frame_axis, rotary_3d, rotary_leading, rotate

CONTEXT_NUMBERS = 1 << 25  # keys of video contexts held at once: 64 MB in bfloat16


@dataclass(frozen=True)
class AlignmentTables:
    """Index tables and positions of one pass; G groups of video tokens see one window of sound each.

    latents: T; first_token: the audio tokens before it are given and receive nothing
    windows: [G, W], audio tokens that each group sees
    contexts: the latents that audio tokens see, as many at a time as are mixed at once
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
                contexts=[FrameContexts(torch.arange(first_token, tokens)[None], torch.tensor([0])).to(x)],
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
            contexts=[part.to(x) for group in contexts for part in group.split(at_once)],
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


class VideoToAudio(Attention):
    """Audio tokens attend to the pictures of their time, interpolated between frames."""

    def __init__(self, config: ModelConfig, *, operations: Any, **factory: Any):
        video, audio = config.video, config.audio
        super().__init__(audio.dim, video.dim, audio.dim, audio.num_heads, config.eps, operations=operations, **factory)
        self.global_view = config.interaction.alignment is Alignment.SYMMETRIC_GLOBAL

    def look(self, video: Tensor) -> KeysAndValues:
        """Masked video [B, T, n, video dim] -> keys, not normalised yet, and values of each latent: [B, T + 1, n, dim].

        Interpolation commutes with the projections, so every latent is projected once and contexts are mixed
        afterwards. Twice the last latent is projected as well: the bias must not double with it.
        """
        video = video.flatten(1, 2)[:, None] if self.global_view else torch.cat((video, 2 * video[:, -1:]), dim=1)
        return self.k(video), self.v(video)

    def forward(
        self, audio: Tensor, seen: KeysAndValues, tables: AlignmentTables, attention: AttentionFunction
    ) -> Tensor:
        """audio [B, M, dim] from the first noisy token on; seen: what `look` gave -> [B, M, dim]."""
        q = self.queries(audio)
        if tables.audio_query_rotary is not None:
            q = rotate(q, tables.audio_query_rotary, self.heads)
        outputs = []
        for contexts in tables.contexts:
            keys, values = (mix(part, contexts) for part in seen)  # [B, C, n, dim]
            keys = rotate(self.norm_k(keys), tables.video_key_rotary, self.heads)
            index = contexts.tokens - tables.first_token  # [C, tokens of a context]
            y = attention(q[:, index].flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1), self.heads)
            outputs.append(y.reshape(q.shape[0], -1, q.shape[-1]))
        return self.o(torch.cat(outputs, dim=1)[:, tables.context_order])


def mix(x: Tensor, contexts: FrameContexts) -> Tensor:
    """What each of C contexts sees of x [B, T + 1, n, dim]: [B, C, n, dim]."""
    lower = x[:, contexts.lower]
    if contexts.weights is None:
        return lower
    return torch.lerp(lower, x[:, contexts.upper], contexts.weights[:, None, None])
