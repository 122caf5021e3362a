"""The built-in model, ready to run: no download, any machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ..bundle import Bundle
from ..checkpoint import Module, fill, load_state_dict
from ..model.joint import JointModel
from ..text.vocabulary import Vocabulary
from .caption_encoder import TinyCaptionEncoder
from .config import GUIDANCE, NAME, SHORT_SIDE, TINY
from .vae import TinyVAE
from .vocoder import TinyVocoder

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "weights"
VOCABULARY = FOLDER / "vocabulary.txt"


def load_tiny(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Bundle:
    """The tiny model with its caption encoder, VAE, vocoder and vocabulary.

    dtype: of the joint model; the small parts stay float32
    Raises ``CheckpointError`` if a weight file is damaged.
    """
    return Bundle(
        model=load_part("model", lambda: JointModel(TINY), device, dtype),
        caption_encoder=load_part("caption_encoder", TinyCaptionEncoder, device),
        vae=load_part("vae", TinyVAE, device),
        vocoder=load_part("vocoder", TinyVocoder, device),
        vocabulary=Vocabulary.from_file(VOCABULARY),
        short_side=SHORT_SIDE,
        name=NAME,
        guidance=GUIDANCE,
    )


def load_part(
    name: str, build: Callable[[], Module], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Module:
    """One part with the weights of ``weights/<name>.safetensors``."""
    path = WEIGHTS / f"{name}.safetensors"
    return fill(build, load_state_dict(path)[0], path.name, device, dtype)
