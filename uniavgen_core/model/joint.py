"""The joint model: a video branch and an audio branch of the same depth that meet every second layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import MAX_TIMESTEP, RELEASE, ModelConfig, Prediction, Site
from ..types import AVLatent, Conditions, Interaction, Velocity
from .aligners import AlignmentTables, AudioToVideo, VideoToAudio
from .attention import AttentionFunction, KeysAndValues, scaled_dot_product
from .blocks import GELU, Block, BranchContext, Head
from .inputs import check_inputs
from .prepared import Prepared, Still, moved
from .rope import rotary_1d, rotary_3d
from .text import SpeechEmbedding

SMALLEST_SIGMA = 1e-3  # below any time of the schedules in use but 0, at which there is nothing to predict

# the parts of a block before and after the branches meet; at BEFORE_SELF_ATTENTION that of the next block is meant
MEETING = {
    Site.BEFORE_SELF_ATTENTION: (Block.PARTS, ()),
    Site.BEFORE_CROSS_ATTENTION: (Block.PARTS[:1], Block.PARTS[1:]),
    Site.BEFORE_FFN: (Block.PARTS[:2], Block.PARTS[2:]),
}


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
            linear(config.text_dim, video, **factory), GELU(), linear(video, video, **factory)
        )
        self.time_embedding = nn.Sequential(
            linear(config.freq_dim, video, **factory), nn.SiLU(), linear(video, video, **factory)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), linear(video, 6 * video, **factory))

        self.audio_embedding = nn.Sequential(
            linear(config.mel_bins, audio, **factory), GELU(), linear(audio, audio, **factory)
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
        prepared: Prepared | None = None,
    ) -> Velocity:
        """One pass.

        latent: its given leading parts hold clean data, the rest data at ``timestep``; its dtype is computed in
        timestep: [B] in [0, 1000], where 0 is clean
        skip_layers: blocks, with their interaction, to leave out
        attention: the kernel
        prepared: what `prepare` gave for the same arguments, in any step of the run; None makes it anew

        Returns float32. Raises ``ValueError`` if latent and conditions do not fit each other or the model.
        """
        check_inputs(self.config, latent, conditions)
        if prepared is None:
            prepared = self.prepare(latent, conditions, skip_layers=skip_layers, attention=attention)
        still_video, still_audio = prepared.still_video, prepared.still_audio
        video = self._video_stream(latent, timestep, conditions, prepared, attention) if still_video is None else None
        audio = self._audio_stream(latent, timestep, conditions, prepared, attention) if still_audio is None else None
        before, after = MEETING[self.config.interaction.site]
        aligners = self._aligners() if conditions.interaction else {}
        masks = []
        for index in prepared.layers:
            for stream in filter(None, (video, audio)):
                stream.advance(index, before)
            if index in aligners:
                masks.append(exchange(index, *aligners[index], video, audio, prepared, conditions.interaction))
            for stream in filter(None, (video, audio)):
                stream.advance(index, after)

        grid = (latent.video.shape[2], *(side // self.config.patch_size for side in latent.video.shape[3:]))
        return Velocity(
            still_video.velocity if video is None else self._video_velocity(video, grid, latent, timestep),
            still_audio.velocity if audio is None else self._audio_velocity(audio),
            tuple(mask.unflatten(1, grid).squeeze(-1).float() for mask in masks),  # [B, T, rows, columns]
        )

    def prepare(
        self,
        latent: AVLatent,
        conditions: Conditions,
        *,
        skip_layers: tuple[int, ...] = (),
        attention: AttentionFunction = scaled_dot_product,
        keep_on: torch.device | str | None = None,
    ) -> Prepared:
        """All of a pass that is the same in every step of a run.

        Of the latent only lengths and given parts count. What is prepared for an interaction also serves passes
        without one. A branch that is given whole (the video in dubbing, the sound of a driven face) runs here.
        keep_on: where keys and values wait between the steps, None for where they are computed
        """
        check_inputs(self.config, latent, conditions)
        video, audio = latent.video, latent.audio
        latents, rows, columns = video.shape[2], *(side // self.config.patch_size for side in video.shape[3:])
        voice = 0 if conditions.reference_voice is None else conditions.reference_voice.shape[2]
        layers = tuple(index for index in range(self.config.num_layers) if index not in skip_layers)
        clean, tables = (latent.clean_video, latent.clean_audio), None
        if conditions.interaction:
            grid = (latents, rows, columns)
            tables = AlignmentTables.build(self.config, grid, audio.shape[2], clean, video)
        caption = F.pad(conditions.caption.to(video), (0, 0, 0, self.config.text_len - conditions.caption.shape[1]))
        caption = self.text_embedding_video(caption)
        speech = self.text_proj(self.text_embedding(conditions.speech, audio.dtype))
        speech_rotary = rotary_1d(speech.shape[1], self.config.audio.head_dim, audio.device, self.config.speech_stretch)
        prepared = Prepared(
            layers,
            {i: moved(self.blocks[i].read(caption, None), keep_on) for i in layers},
            {i: moved(self.audio_blocks[i].read(speech, speech_rotary), keep_on) for i in layers},
            rotary_3d(1 + latents, rows, columns, self.config.video.head_dim, video.device),
            rotary_1d(voice + audio.shape[2], self.config.audio.head_dim, audio.device),
            tables,
        )
        start = torch.zeros(video.shape[0], device=video.device)
        before, after = MEETING[self.config.interaction.site]
        aligners = self._aligners() if conditions.interaction else {}
        still_video = still_audio = None
        if clean[0] == latents:
            stream, shown, masks = self._video_stream(latent, start, conditions, prepared, attention), {}, {}
            for index in layers:
                stream.advance(index, before)
                if index in aligners:
                    masks[index] = stream.face_mask(aligners[index][0])
                    view = aligners[index][1].look(stream.masked(masks[index], latents), tables)
                    shown[index] = view if keep_on is None else view.to(keep_on)
                stream.advance(index, after)
            still_video = Still(self._video_velocity(stream, (latents, rows, columns), latent, start), shown, masks)
        if clean[1] == audio.shape[2]:
            stream, shown = self._audio_stream(latent, start, conditions, prepared, attention), {}
            for index in layers:
                stream.advance(index, before)
                if index in aligners:
                    shown[index] = moved(aligners[index][0].listen(stream.target, tables), keep_on)
                stream.advance(index, after)
            still_audio = Still(self._audio_velocity(stream), shown, {})
        return replace(prepared, still_video=still_video, still_audio=still_audio)

    def _aligners(self) -> dict[int, tuple[AudioToVideo, VideoToAudio]]:
        """The two directions at each layer where the branches meet."""
        pairs = zip(self.a2v_blocks, self.v2a_blocks, strict=True)
        return dict(zip(self.config.interaction_layers, pairs, strict=True))

    def _video_stream(
        self,
        latent: AVLatent,
        timestep: Tensor,
        conditions: Conditions,
        prepared: Prepared,
        attention: AttentionFunction,
    ) -> Stream:
        """The video's tokens; two times, 0 for the reference image and given latents and ``timestep`` for the rest."""
        reference = conditions.reference_image.to(latent.video.dtype)
        x = self.patch_embedding(torch.cat((reference, latent.video), dim=2))
        frames, rows, columns = x.shape[2:]  # the reference image and T latents
        x = x.flatten(2).transpose(1, 2)  # [B, (1 + T) * rows * columns, dim]
        times = torch.stack((torch.zeros_like(timestep), timestep), dim=1)  # [B, 2]
        time = self.time_embedding(time_sinusoid(times, self.config.freq_dim).to(x))
        context = BranchContext(
            time=time,
            projection=self.time_projection(time).unflatten(-1, (6, -1)),
            groups=(torch.arange(frames, device=x.device) > latent.clean_video).long(),
            rotary=prepared.video_rotary,
            text_query_rotary=None,
            attention=attention,
        )
        frame = rows * columns
        return Stream(x, self.blocks, context, prepared.video_text, frame, (1 + latent.clean_video) * frame)

    def _audio_stream(
        self,
        latent: AVLatent,
        timestep: Tensor,
        conditions: Conditions,
        prepared: Prepared,
        attention: AttentionFunction,
    ) -> Stream:
        """The sound's tokens; one time for all, which is 0 as soon as a token is given (released behaviour)."""
        audio, voice = latent.audio, 0
        if conditions.reference_voice is not None:
            audio = torch.cat((conditions.reference_voice.to(audio.dtype), audio), dim=2)
            voice = conditions.reference_voice.shape[2]
        x = self.audio_embedding(audio.transpose(1, 2))  # [B, R + L, dim]
        times = (torch.zeros_like(timestep) if latent.clean_audio else timestep)[:, None]  # [B, 1]
        time = self.time_embedding_audio(time_sinusoid(times, self.config.freq_dim).to(x))
        context = BranchContext(
            time=time,
            projection=self.time_projection_audio(time).unflatten(-1, (6, -1)),
            groups=torch.zeros(1, dtype=torch.int64, device=x.device),
            rotary=prepared.audio_rotary,
            text_query_rotary=prepared.audio_rotary,
            attention=attention,
        )
        return Stream(x, self.audio_blocks, context, prepared.audio_text, voice, voice + latent.clean_audio)

    def _video_velocity(self, video: Stream, grid: tuple[int, int, int], latent: AVLatent, timestep: Tensor) -> Tensor:
        x = self.head(video.target, video.context.time, video.context.groups[1:])
        x = self._unpatchify(x, *grid[1:]).float()
        if self.config.video_prediction is Prediction.VELOCITY:
            return x
        sigma = (timestep / MAX_TIMESTEP).clamp(min=SMALLEST_SIGMA)[:, None, None, None, None]
        return (latent.video.float() - x) / sigma

    def _audio_velocity(self, audio: Stream) -> Tensor:
        x = self.head_audio(audio.target, audio.context.time, audio.context.groups)
        return x.transpose(1, 2).float()

    def _unpatchify(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Tokens [B, T * rows * columns, 4 * C], each row, column, channel -> [B, C, T, 2 * rows, 2 * columns]."""
        patch = self.config.patch_size
        x = x.reshape(x.shape[0], -1, rows, columns, patch, patch, self.config.video_channels)
        return x.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)


@dataclass
class Stream:
    """A branch on its way through the layers.

    x: [B, N, dim], all tokens; ``first`` of them, the reference, take no part in what passes between the branches,
    and those before ``noisy`` are not changed by it
    text: keys and values of each block
    """

    x: Tensor
    blocks: nn.ModuleList
    context: BranchContext
    text: Mapping[int, KeysAndValues]
    first: int
    noisy: int

    @property
    def target(self) -> Tensor:
        """The tokens of the clip itself."""
        return self.x[:, self.first :]

    def advance(self, index: int, parts: tuple[str, ...]) -> None:
        if parts:
            self.x = self.blocks[index](self.x, self.context, moved(self.text[index], self.x.device), parts)

    def add(self, update: Tensor) -> None:
        """Adds to the tokens that are not given."""
        self.x = torch.cat((self.x[:, : self.noisy], self.x[:, self.noisy :] + update), dim=1)

    def face_mask(self, to_video: AudioToVideo) -> Tensor:
        """Of the video: [B, T * frame, 1]."""
        return to_video.face_mask(self.target, self.context.time, self.context.groups[1:])

    def masked(self, mask: Tensor, latents: int) -> Tensor:
        """Of the video, what the sound sees: [B, T, frame, dim]."""
        return (self.target * mask).unflatten(1, (latents, -1))


def exchange(
    index: int,
    to_video: AudioToVideo,
    to_audio: VideoToAudio,
    video: Stream | None,
    audio: Stream | None,
    prepared: Prepared,
    interaction: Interaction,
) -> Tensor:
    """Adds to each branch what it gets from the other, both reading the same hidden states.

    A branch that is None is still. Returns the face mask [B, T * frame, 1].
    """
    tables, still_video, still_audio = prepared.tables, prepared.still_video, prepared.still_audio
    mask = still_video.masks[index] if video is None else video.face_mask(to_video)
    for_video = for_audio = None
    if interaction.audio_to_video and video is not None:
        x = video.x[:, video.noisy :]
        heard = to_video.listen(audio.target, tables) if audio else moved(still_audio.shown[index], x.device)
        for_video = to_video(x, heard, mask[:, video.noisy - video.first :], tables, video.context.attention)
    if interaction.video_to_audio and audio is not None:
        x = audio.x[:, audio.noisy :]
        if video is None:
            seen = still_video.shown[index].to(x.device)
        else:
            seen = to_audio.look(video.masked(mask, tables.latents), tables)
        for_audio = to_audio(x, seen, tables, audio.context.attention)
    if for_video is not None:
        video.add(for_video)
    if for_audio is not None:
        audio.add(for_audio)
    return mask
