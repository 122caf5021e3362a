"""The built-in model, ready to run: no download, any machine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from ..bundle import Bundle
from ..checkpoint import Module, fill, load_state_dict
from ..model.joint import JointModel
from ..text.vocabulary import Vocabulary
from .caption_encoder import TinyCaptionEncoder
from .config import NAME, SHORT_SIDE, TINY
from .vae import TinyVAE
from .vocoder import TinyVocoder

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "weights"
VOCABULARY = FOLDER / "vocabulary.txt"
TRAINED_KEY = "trained"  # metadata of every part: "yes" or "no"
log = logging.getLogger(__name__)


def load_tiny(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Bundle:
    """The tiny model with its caption encoder, VAE, vocoder and vocabulary.

    dtype: of the joint model; the small parts stay float32
    Logs a warning if its weights are random. Raises ``CheckpointError`` if a weight file is damaged.
    """
    model, trained = load_part("model", lambda: JointModel(TINY), device, dtype)
    if not trained:
        log.warning(
            "The built-in tiny model is untrained: its weights are random, so what it draws and says means nothing. "
            "It shows that everything runs."
        )
    return Bundle(
        model=model,
        caption_encoder=load_part("caption_encoder", TinyCaptionEncoder, device)[0],
        vae=load_part("vae", TinyVAE, device)[0],
        vocoder=load_part("vocoder", TinyVocoder, device)[0],
        vocabulary=Vocabulary.from_file(VOCABULARY),
        short_side=SHORT_SIDE,
        name=NAME,
        trained=trained,
    )


def load_part(
    name: str, build: Callable[[], Module], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Module, bool]:
    """One part with the weights of ``weights/<name>.safetensors``, and whether they are trained."""
    path = WEIGHTS / f"{name}.safetensors"
    tensors, metadata = load_state_dict(path)
    return fill(build, tensors, path.name, device, dtype), metadata.get(TRAINED_KEY) == "yes"
