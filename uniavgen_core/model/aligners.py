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
                contexts=[FrameContexts(torch.arange(first_token, tokens)[None, None], torch.tensor([0])).to(device)],
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
    square: mean square of the keys before they were normalised: [B, T + 1, n, 1]
    product: mean product with the keys of the next latent: [B, T, n, 1]
    """

    keys: Tensor
    values: Tensor
    square: Tensor
    product: Tensor

    def to(self, device: torch.device | str) -> View:
        return View(*(part.to(device) for part in self))

    def mixed(self, contexts: FrameContexts, eps: float) -> KeysAndValues:
        """Keys and values of each context: [B, C, m, n, dim].

        The normalisation of a mix is a factor for each token, which follows from the means of both its parts; so
        keys are mixed as they are, after all that is done to them.
        """
        first = contexts.latent
        if contexts.weights is None:
            return self.keys[:, first, None], self.values[:, first, None]
        a = contexts.weights[:, :, None, None]  # [C, m, 1, 1]
        keys, after, values, values_after = (
            part[:, index, None] for part in (self.keys, self.values) for index in (first, first + 1)
        )  # [B, C, 1, n, dim]
        square, square_after = self.square[:, first, None], self.square[:, first + 1, None]
        mean = (1 - a).square() * square + 2 * a * (1 - a) * self.product[:, first, None] + a.square() * square_after
        norm = (mean.clamp(min=0) + eps).rsqrt()  # [B, C, m, n, 1]
        share = (1 - a) * (square + eps).sqrt() * norm
        share_after = a * (square_after + eps).sqrt() * norm
        mixed = torch.addcmul(keys * share, after.float(), share_after)
        return mixed.to(keys.dtype), torch.lerp(values, values_after, a.to(values))


class VideoToAudio(Attention):
    """Audio tokens attend to the pictures of their time, interpolated between frames."""

    def __init__(self, config: ModelConfig, *, operations: Any, **factory: Any):
        video, audio = config.video, config.audio
        super().__init__(audio.dim, video.dim, audio.dim, audio.num_heads, config.eps, operations=operations, **factory)
        self.eps = config.eps
        self.global_view = config.interaction.alignment is Alignment.SYMMETRIC_GLOBAL

    def look(self, video: Tensor, tables: AlignmentTables) -> View:
        """Masked video [B, T, n, video dim] -> what is seen of each latent.

        Interpolation commutes with the projections, so every latent is projected once and contexts are mixed
        afterwards. Twice the last latent is projected as well: the bias must not double with it.
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
        outputs = []
        for contexts in tables.contexts:
            index = contexts.tokens - tables.first_token  # [C, m, tokens of a context]
            # each [B, C, m, ..., dim], and gone before the next
            y = attention(*(part.flatten(0, 2) for part in (q[:, index], *seen.mixed(contexts, self.eps))), self.heads)
            outputs.append(y.reshape(q.shape[0], -1, q.shape[-1]))
        return self.o(torch.cat(outputs, dim=1)[:, tables.context_order])


def mean_product(a: Tensor, b: Tensor) -> Tensor:
    """Mean over the channels of a * b, both [..., dim]: [..., 1] float32."""
    return (a.float() * b.float()).mean(dim=-1, keepdim=True)
