"""The joint model: a video branch and an audio branch of the same depth that meet every second layer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import RELEASE, ModelConfig, Site
from ..types import AVLatent, Conditions, Interaction, Velocity
from .aligners import AlignmentTables, AudioToVideo, VideoToAudio
from .attention import AttentionFunction, scaled_dot_product
from .blocks import Block, BranchContext, Head
from .inputs import check_inputs
from .rope import rotary_1d, rotary_3d
from .text import SpeechEmbedding


def time_sinusoid(timestep: Tensor, dim: int) -> Tensor:
    """[...] in [0, 1000] -> [..., dim]: cosines, then sines, in float64 as released."""
    half = dim // 2
    device = "cpu" if timestep.device.type == "mps" else timestep.device  # which has no float64
    frequencies = 10_000.0 ** (-torch.arange(half, dtype=torch.float64, device=device) / half)
    angles = timestep.to(device, torch.float64)[..., None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class JointModel(nn.Module):
    """Predicts the velocity (noise - data) of video latents and audio tokens together.

    Parameter names and shapes are those of the released weights. ``operations`` supplies the layer classes
    (`Linear`, `Conv1d`, `Conv3d`, `LayerNorm`, `RMSNorm`, `Embedding`), so that a host can cast and offload them.
    """

    def __init__(
        self,
        config: ModelConfig = RELEASE,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        operations: Any = nn,
    ):
        super().__init__()
        self.config = config
        factory = {"device": device, "dtype": dtype}
        ops = {"operations": operations, **factory}
        video, audio, linear = config.video.dim, config.audio.dim, operations.Linear
        patch = (1, config.patch_size, config.patch_size)

        self.patch_embedding = operations.Conv3d(
            config.video_channels, video, kernel_size=patch, stride=patch, **factory
        )
        self.text_embedding_video = nn.Sequential(
            linear(config.text_dim, video, **factory), nn.GELU(approximate="tanh"), linear(video, video, **factory)
        )
        self.time_embedding = nn.Sequential(
            linear(config.freq_dim, video, **factory), nn.SiLU(), linear(video, video, **factory)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), linear(video, 6 * video, **factory))

        self.audio_embedding = nn.Sequential(
            linear(config.mel_bins, audio, **factory), nn.GELU(approximate="tanh"), linear(audio, audio, **factory)
        )
        self.audio_padding = nn.Parameter(torch.zeros(audio, **factory))  # in the released file, never read
        self.text_embedding = SpeechEmbedding(config.speech_vocab, config.speech_dim, config.speech_layers, **ops)
        self.text_proj = linear(config.speech_dim, audio, bias=False, **factory)
        self.time_embedding_audio = nn.Sequential(
            linear(config.freq_dim, audio, **factory), nn.SiLU(), linear(audio, audio, **factory)
        )
        self.time_projection_audio = nn.Sequential(nn.SiLU(), linear(audio, 6 * audio, **factory))

        layers, meetings = range(config.num_layers), config.interaction_layers
        self.blocks = nn.ModuleList(Block(config.video, config.eps, **ops) for _ in layers)
        self.audio_blocks = nn.ModuleList(Block(config.audio, config.eps, **ops) for _ in layers)
        self.a2v_blocks = nn.ModuleList(AudioToVideo(config, **ops) for _ in meetings)
        self.v2a_blocks = nn.ModuleList(VideoToAudio(config, **ops) for _ in meetings)

        self.head = Head(video, config.video_channels * config.patch_size**2, config.eps, **ops)
        self.head_audio = Head(audio, config.mel_bins, config.eps, **ops)

    def forward(
        self,
        latent: AVLatent,
        timestep: Tensor,
        conditions: Conditions,
        *,
        skip_layers: tuple[int, ...] = (),
        attention: AttentionFunction = scaled_dot_product,
    ) -> Velocity:
        """One pass.

        latent: its given leading parts hold clean data, the rest data at ``timestep``; its dtype is computed in
        timestep: [B] in [0, 1000], where 0 is clean
        skip_layers: blocks, with their interaction, to leave out
        attention: the kernel

        Returns float32. Raises ``ValueError`` if latent and conditions do not fit each other or the model.
        """
        check_inputs(self.config, latent, conditions)
        reference = conditions.reference_image.to(latent.video.dtype)
        video = self.patch_embedding(torch.cat((reference, latent.video), dim=2))
        frames, rows, columns = video.shape[2:]  # the reference image and T latents
        frame = rows * columns  # tokens a latent
        video = video.flatten(2).transpose(1, 2)  # [B, (1 + T) * frame, dim]
        audio = latent.audio
        if conditions.reference_voice is not None:
            audio = torch.cat((conditions.reference_voice.to(audio.dtype), audio), dim=2)
        audio = self.audio_embedding(audio.transpose(1, 2))  # [B, R + L, dim]
        voice = audio.shape[1] - latent.audio.shape[2]  # R tokens of the reference voice

        video_context = self._video_context(
            timestep, conditions.caption, (frames, rows, columns), latent.clean_video, video, attention
        )
        audio_context = self._audio_context(timestep, conditions.speech, latent.clean_audio, audio, attention)
        tables, aligners = None, {}
        if conditions.interaction:
            clean = (latent.clean_video, latent.clean_audio)
            tables = AlignmentTables.build(
                self.config, (frames - 1, rows, columns), latent.audio.shape[2], clean, video
            )
            aligners = dict(
                zip(self.config.interaction_layers, zip(self.a2v_blocks, self.v2a_blocks, strict=True), strict=True)
            )

        masks = []

        def meet(site: Site, index: int, video: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
            if site is not self.config.interaction.site or index not in aligners:
                return video, audio
            # the reference image and the reference voice take no part
            to_video, to_audio, mask = exchange(
                *aligners[index], video[:, frame:], audio[:, voice:], conditions.interaction, tables, video_context
            )
            masks.append(mask.unflatten(1, (-1, rows, columns)).squeeze(-1))  # [B, T, rows, columns]
            return add_to_end(video, to_video), add_to_end(audio, to_audio)

        for index, (video_block, audio_block) in enumerate(zip(self.blocks, self.audio_blocks, strict=True)):
            if index in skip_layers:
                continue
            video = video_block.self_attention(video, video_context)
            audio = audio_block.self_attention(audio, audio_context)
            video, audio = meet(Site.BEFORE_CROSS_ATTENTION, index, video, audio)
            video = video_block.cross_attention(video, video_context)
            audio = audio_block.cross_attention(audio, audio_context)
            video, audio = meet(Site.BEFORE_FFN, index, video, audio)
            video = video_block.feed_forward(video, video_context)
            audio = audio_block.feed_forward(audio, audio_context)
            video, audio = meet(Site.BEFORE_SELF_ATTENTION, index, video, audio)  # that of the next block

        clean, noisy = video_context.lengths
        video = self.head(video[:, frame:], video_context.time, (clean - frame, noisy))
        audio = self.head_audio(audio[:, voice:], audio_context.time, (latent.audio.shape[2],))
        video = self._unpatchify(video, rows, columns)
        return Velocity(video.float(), audio.transpose(1, 2).float(), tuple(mask.float() for mask in masks))

    def _video_context(
        self,
        timestep: Tensor,
        caption: Tensor,
        grid: tuple[int, int, int],
        clean_latents: int,
        x: Tensor,
        attention: AttentionFunction,
    ) -> BranchContext:
        """Two times, 0 for the reference image and given latents and ``timestep`` for the rest."""
        frame = grid[1] * grid[2]
        times = torch.stack((torch.zeros_like(timestep), timestep), dim=1)  # [B, 2]
        time = self.time_embedding(time_sinusoid(times, self.config.freq_dim).to(x))
        clean = (1 + clean_latents) * frame
        caption = F.pad(caption.to(x.dtype), (0, 0, 0, self.config.text_len - caption.shape[1]))
        return BranchContext(
            time=time,
            projection=self.time_projection(time).unflatten(-1, (6, -1)),
            lengths=(clean, x.shape[1] - clean),
            rotary=rotary_3d(*grid, self.config.video.head_dim, x.device),
            text=self.text_embedding_video(caption),
            text_rotary=None,
            attention=attention,
        )

    def _audio_context(
        self, timestep: Tensor, speech: Tensor, clean_tokens: int, x: Tensor, attention: AttentionFunction
    ) -> BranchContext:
        """One time for the whole branch, which is 0 as soon as a token is given (released behaviour)."""
        times = (torch.zeros_like(timestep) if clean_tokens else timestep)[:, None]  # [B, 1]
        time = self.time_embedding_audio(time_sinusoid(times, self.config.freq_dim).to(x))
        head_dim = self.config.audio.head_dim
        rotary = rotary_1d(x.shape[1], head_dim, x.device)
        return BranchContext(
            time=time,
            projection=self.time_projection_audio(time).unflatten(-1, (6, -1)),
            lengths=(x.shape[1],),
            rotary=rotary,
            text=self.text_proj(self.text_embedding(speech, x.dtype)),
            text_rotary=(rotary, rotary_1d(speech.shape[1], head_dim, x.device)),
            attention=attention,
        )

    def _unpatchify(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Tokens [B, T * rows * columns, 4 * C], each row, column, channel -> [B, C, T, 2 * rows, 2 * columns]."""
        patch = self.config.patch_size
        x = x.reshape(x.shape[0], -1, rows, columns, patch, patch, self.config.video_channels)
        return x.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)


def exchange(
    to_video: AudioToVideo,
    to_audio: VideoToAudio,
    video: Tensor,
    audio: Tensor,
    interaction: Interaction,
    tables: AlignmentTables,
    context: BranchContext,
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """What each branch gets from the other, both reading the same hidden states, and the face mask.

    video [B, T * frame, dim] without the reference image, audio [B, L, dim] without the reference voice.
    The updates belong to the last tokens of each, those that are not given. The mask is [B, T * frame, 1].
    """
    noisy = context.lengths[1]
    given = video.shape[1] - noisy
    mask = to_video.face_mask(video, context.time, (given, noisy))
    update_video = update_audio = None
    if interaction.audio_to_video and noisy:
        update_video = to_video(video[:, given:], audio, mask[:, given:], tables, context.attention)
    if interaction.video_to_audio and tables.first_token < audio.shape[1]:
        masked = (video * mask).unflatten(1, (tables.latents, -1))
        update_audio = to_audio(audio[:, tables.first_token :], masked, tables, context.attention)
    return update_video, update_audio, mask


def add_to_end(x: Tensor, update: Tensor | None) -> Tensor:
    """Adds ``update`` [B, n, dim] to the last n tokens of x [B, N, dim]."""
    if update is None:
        return x
    start = x.shape[1] - update.shape[1]
    return torch.cat((x[:, :start], x[:, start:] + update), dim=1)
