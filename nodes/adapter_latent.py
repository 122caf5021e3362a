"""The host's AV latent: a NestedTensor of video and mel, with a noise mask for each, packed into one while sampling."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.latent_formats
import comfy.utils
import torch
from comfy.nested_tensor import NestedTensor
from torch import Tensor

from ..uniavgen_core.audio.mel import MEL_BINS
from ..uniavgen_core.config import RELEASE
from ..uniavgen_core.geometry import SPATIAL_STRIDE, TEMPORAL_STRIDE, TRAINED_FRAMES, ClipLength
from ..uniavgen_core.types import AVLatent

log = logging.getLogger(__name__)

Shapes = list[torch.Size]

GAIN = "uniavgen_gain"  # in a LATENT: how many times louder its sound is than the clip it goes on from


def to_host(latent: AVLatent) -> dict[str, NestedTensor]:
    """AV latent -> the host's LATENT, masks 0 over the given leading parts and 1 over the rest."""
    video, audio = latent.video.float(), latent.audio.float()
    video_mask, audio_mask = torch.ones_like(video[:1, :1]), torch.ones_like(audio[:1, :1])
    video_mask[:, :, : latent.clean_video] = 0
    audio_mask[:, :, : latent.clean_audio] = 0
    return {"samples": NestedTensor([video, audio]), "noise_mask": NestedTensor([video_mask, audio_mask])}


def parts(latent: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The host's LATENT -> video and mel. Raises ``ValueError`` if it is of another family."""
    samples = latent["samples"]
    check_shapes([part.shape for part in samples.unbind()] if samples.is_nested else [samples.shape])
    return tuple(samples.unbind())


def check_one_pass(latent: dict[str, Any]) -> None:
    """Raises ``ValueError`` if sound that drives a clip makes it longer than the model was trained on; logs a warning
    where another clip is."""
    video, _ = parts(latent)
    frames = ClipLength.from_latents(video.shape[2]).frames
    if frames <= TRAINED_FRAMES:
        return
    masks = latent.get("noise_mask")
    if masks is not None and not masks.unbind()[1].any():
        raise ValueError(
            f"the driving audio makes a clip of {frames} frames, and the model was trained on {TRAINED_FRAMES}: use "
            "'UniAVGen Long Sampler', which goes on window by window, or shorter audio"
        )
    log.warning(
        "a clip of %d frames in one piece, and the model was trained on %d: 'UniAVGen Long Sampler' makes it window by "
        "window",
        frames,
        TRAINED_FRAMES,
    )


def to_core(latent: dict[str, Any]) -> AVLatent:
    """The host's LATENT -> AV latent. Raises ``ValueError`` for another family, or masks that keep more than the
    beginning of a part."""
    video, audio = parts(latent)
    check_masks(latent)
    if latent.get("noise_mask") is None:
        return AVLatent(video.float(), audio.float())
    masks = latent["noise_mask"].unbind()
    given = [_leading_zeros(mask) for mask in masks]
    if any(bool((mask[:, :, n:] == 0).any()) for mask, n in zip(masks, given, strict=True)):
        raise ValueError(
            "the noise mask keeps more than the beginning of the clip, which cannot be made window by window: use "
            "'UniAVGen Joint Sampler' for it"
        )
    return AVLatent(video.float(), audio.float(), *given)


def check_shapes(shapes: Shapes) -> None:
    """Raises ``ValueError`` unless the shapes are those of video and mel."""
    advice = "connect the AV LATENT of 'UniAVGen Conditions'"
    if len(shapes) != 2:
        found = " and ".join(str(list(shape)) for shape in shapes)
        raise ValueError(f"UniAVGen needs a latent of video and sound together, not {found}: {advice}")
    video, audio = shapes
    if len(video) != 5 or len(audio) != 3 or video[0] != audio[0]:
        raise ValueError(
            f"the latent is {list(video)} and {list(audio)}, not video [batch, {RELEASE.video_channels}, latents, "
            f"height, width] and mel [batch, {MEL_BINS}, tokens] of one batch size: {advice}"
        )
    if video[1] != RELEASE.video_channels or audio[1] != MEL_BINS:
        raise ValueError(
            f"the latent has {video[1]} video channels and {audio[1]} mel bins, UniAVGen needs "
            f"{RELEASE.video_channels} and {MEL_BINS}: {advice}"
        )


@dataclass(frozen=True)
class Pack:
    """What is in the tensor [B, 1, N] that samplers carry: shapes of video and mel, and their given leading parts."""

    shapes: Shapes
    given: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, shapes: Shapes, mask: Tensor | None) -> Pack:
        """mask: the packed noise mask [B, 1, N] of the run. Raises ``ValueError`` for latents of another family."""
        check_shapes(shapes)
        if mask is None:
            return cls(shapes)
        video, audio = comfy.utils.unpack_latents(mask, shapes)
        return cls(shapes, (_leading_zeros(video), _leading_zeros(audio)))

    def given_from(self, given: Tensor, rest: Tensor) -> Tensor:
        """The pack with its given leading parts from one and the rest from another."""
        pairs = zip(*(comfy.utils.unpack_latents(x, self.shapes) for x in (given, rest)), self.given, strict=True)
        return comfy.utils.pack_latents([torch.cat((x[:, :, :n], y[:, :, n:]), dim=2) for x, y, n in pairs])[0]


def _leading_zeros(mask: Tensor) -> int:
    """[B, C, T, ...] -> how many of T are 0 everywhere, counted from the first to the first that is not."""
    zero = (mask == 0).movedim(2, 0).flatten(1).all(dim=1)
    return int(zero.long().cumprod(dim=0).sum())


def paste_given(result: NestedTensor, latent: dict[str, Any]) -> NestedTensor:
    """``result`` with everything that the noise mask of ``latent`` keeps written over it, to the last bit."""
    if latent.get("noise_mask") is None:
        return result
    given, masks = latent["samples"].unbind(), latent["noise_mask"].unbind()
    pasted = zip(result.unbind(), given, masks, strict=True)
    return NestedTensor([torch.where(m.to(r.device) == 0, g.to(r), r) for r, g, m in pasted])


def check_masks(latent: dict[str, Any]) -> None:
    """Raises ``ValueError`` unless there is no noise mask or one for each part, at its full length."""
    masks = latent.get("noise_mask")
    if masks is None:
        return
    samples = latent["samples"].unbind()
    found = [list(mask.shape[2:]) for mask in masks.unbind()] if masks.is_nested else [list(masks.shape)]
    wanted = [list(part.shape[2:]) for part in samples]
    if found != wanted:
        raise ValueError(
            f"the noise mask covers {found}, not the {wanted} of video and sound: use one mask for each, at full length"
        )


def face_mask(masks: tuple[Tensor, ...], video: Tensor) -> Tensor:
    """Masks [B, T, H/32, W/32] of the aligners -> their mean as the host's MASK [B * F, H, W].

    video: the latent [B, 48, T, H/16, W/16] they belong to. Without masks everything is 0.
    """
    batch, _, latents, height, width = video.shape
    frames, size = ClipLength.from_latents(latents).frames, (height * SPATIAL_STRIDE, width * SPATIAL_STRIDE)
    if not masks:
        return torch.zeros(batch * frames, *size)
    mean = torch.stack(masks).float().mean(dim=0).cpu()
    rest = mean[:, 1:].repeat_interleave(TEMPORAL_STRIDE, dim=1)
    mean = torch.cat((mean[:, :1], rest), dim=1)  # [B, F, H/32, W/32]
    return torch.nn.functional.interpolate(mean, size=size, mode="bilinear").flatten(0, 1)


def after_first(video: Tensor) -> Tensor:
    """Those latents of [B, 48, T, h, w] that colours show well: the first holds a single frame, in a code of its own.

    As a rule it is given, too, so it shows nothing of what is made.
    """
    return video[:, :, 1:] if video.shape[2] > 1 else video


class UniAVGenLatentFormat(comfy.latent_formats.Wan22):
    """Wan2.2's latents for the video part; mel is kept as it is.

    ``pack`` is set by the model's wrapper around sampling and stays until the next run: ComfyUI before 0.33 converts
    the last guess of a run after its end, while it is still packed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pack: Pack | None = None
        self.shown = 0  # previews in this run so far
        self.latent_rgb_factors_reshape = self.preview_part

    def set_colours(self, factors: list[list[float]], zero: list[float]) -> None:
        """For latents of another VAE: RGB in [-1, 1] that each channel adds in a preview, and that of zeros."""
        self.latent_rgb_factors, self.latent_rgb_factors_bias = factors, zero

    def begin(self, pack: Pack) -> None:
        """A run on such a pack begins."""
        self.pack, self.shown = pack, 0

    def video_of(self, latent: Any) -> Tensor:
        """The video [B, 48, T, h, w] in a nested, a packed or a plain latent."""
        if getattr(latent, "is_nested", False):
            return latent.unbind()[0]
        if self.pack is not None and latent.ndim == 3:  # so ComfyUI before 0.33 hands it over
            return comfy.utils.unpack_latents(latent, self.pack.shapes)[0]
        return latent

    def preview_part(self, latent: Tensor) -> Tensor:
        """What a preview by colours shows: a latent of the clip [B, 48, 1, h, w], the next one with each step.

        The middle one comes first.
        """
        video = after_first(self.video_of(latent))
        place = (video.shape[2] // 2 + self.shown) % video.shape[2]
        self.shown += 1
        return video[:, :, place : place + 1]

    def on_video(self, latent: Any, function: Callable[[Tensor], Tensor]) -> Any:
        """Applies ``function`` to the video in a nested, a packed or a plain latent."""
        if getattr(latent, "is_nested", False):
            video, *rest = latent.unbind()
            return NestedTensor([function(video), *rest])
        if self.pack is not None and latent.ndim == 3:
            video, audio = comfy.utils.unpack_latents(latent, self.pack.shapes)
            return comfy.utils.pack_latents([function(video), audio])[0]
        return function(latent)

    def process_in(self, latent: Any) -> Any:
        return self.on_video(latent, super().process_in)

    def process_out(self, latent: Any) -> Any:
        return self.on_video(latent, super().process_out)
