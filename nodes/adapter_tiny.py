"""The tiny model's caption encoder and VAE as the host's CLIP and VAE."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import torch
from torch import Tensor

from ..uniavgen_core.bundle import Bundle
from ..uniavgen_core.geometry import SPATIAL_STRIDE, TEMPORAL_STRIDE
from ..uniavgen_core.types import VideoAutoencoder


class TinyClip:
    """What the host asks of a CLIP; tokens are the text itself."""

    def __init__(self, bundle: Bundle):
        self._bundle = bundle
        self.speech_vocabulary = bundle.vocabulary
        self.cond_stage_model = torch.nn.Module()  # LoRA loaders look for layers here and find none
        self.patcher = None

    def clone(self, *_: Any, **__: Any) -> TinyClip:
        return TinyClip(self._bundle)

    def add_patches(self, *_: Any, **__: Any) -> list[str]:
        """No layer of it can be patched."""
        return []

    def tokenize(self, text: str, **_: Any) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str, *_: Any, **__: Any) -> list[list[Any]]:
        """A conditioning with one entry, [1, N, text_dim]."""
        with torch.inference_mode():
            return [[self._bundle.caption_encoder.encode([tokens]), {"pooled_output": None}]]


def preview_colours(vae: VideoAutoencoder) -> tuple[list[list[float]], list[float]]:
    """What each of the 48 channels of a normalised latent adds to its patch's mean colour, and the colour of zeros.

    Measured by decoding one channel at a time; values are RGB in [-1, 1].
    """
    step = 0.1  # small, so that no colour is cut off
    probes = torch.cat((torch.zeros(1, 48), step * torch.eye(48)))[..., None, None, None]
    with torch.inference_mode():
        colours = vae.decode(probes.expand(-1, -1, 2, -1, -1))[:, :, 1:].mean(dim=(2, 3, 4))  # [49, 3]
    return ((colours[1:] - colours[0]) / step).tolist(), colours[0].tolist()


class TinyVae:
    """What the host asks of a VAE. Its latents are those of Wan2.2's scale, as the MODEL expects from any VAE."""

    latent_channels = 48

    def __init__(self, bundle: Bundle):
        self._vae = bundle.vae
        self._format = comfy.latent_formats.Wan22()
        self.uniavgen_short_side = bundle.short_side

    def encode(self, pixels: Tensor) -> Tensor:
        """[F, H, W, 3 or more] in [0, 1] -> [1, 48, T, H/16, W/16], not normalised."""
        with torch.inference_mode():
            frames = pixels[..., :3].movedim(-1, 0)[None] * 2 - 1  # [1, 3, F, H, W]
            return self._format.process_out(self._vae.encode(frames).float())

    def decode(self, latents: Tensor, **_: Any) -> Tensor:
        """[B, 48, T, H/16, W/16], not normalised -> [B, F, H, W, 3] in [0, 1]."""
        with torch.inference_mode():
            frames = self._vae.decode(self._format.process_in(latents.float().cpu()))
            return ((frames + 1) / 2).clamp(0, 1).movedim(1, -1)

    def encode_tiled(self, pixels: Tensor, **_: Any) -> Tensor:
        return self.encode(pixels)

    def decode_tiled(self, latents: Tensor, **_: Any) -> Tensor:
        return self.decode(latents)

    def spacial_compression_encode(self) -> int:
        return SPATIAL_STRIDE

    def temporal_compression_encode(self) -> int:
        return TEMPORAL_STRIDE

    spacial_compression_decode = spacial_compression_encode
    temporal_compression_decode = temporal_compression_encode
