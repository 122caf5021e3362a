"""What is measured: the tiny model that is shipped, or what a training stands at."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from uniavgen_core.bundle import Bundle
from uniavgen_core.checkpoint import fill, load_state_dict
from uniavgen_core.config import ModelConfig
from uniavgen_core.model import JointModel
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny.caption_encoder import TinyCaptionEncoder
from uniavgen_core.tiny.config import GUIDANCE, NAME, SHORT_SIDE, TINY
from uniavgen_core.tiny.load import VOCABULARY, load_part
from uniavgen_core.tiny.vae import TinyVAE
from uniavgen_core.tiny.vocoder import TinyVocoder

from .reader import Reader


def in_training(folder: Path, model_folder: Path | None = None, config: ModelConfig = TINY) -> Bundle:
    """The averaged weights of a training; the vocoder is the shipped one if the folder has no vocoder.safetensors.

    model_folder: where model.pt is, if not beside vae.pt; config: of that model
    Raises ``ValueError`` if a part is missing, ``CheckpointError`` if one does not fit.
    """
    states = {"vae": folder / "vae.pt", "model": (model_folder or folder) / "model.pt"}
    for name, path in states.items():
        if not path.exists():
            raise ValueError(f"there is no {path}: train it first with `python -m training {name}`")
    vocoder = folder / "vocoder.safetensors"
    return Bundle(
        model=fill(lambda: JointModel(config), averaged(states["model"], "model."), "model.pt"),
        caption_encoder=fill(TinyCaptionEncoder, averaged(states["model"], "captions."), "model.pt"),
        vae=fill(TinyVAE, averaged(states["vae"]), "vae.pt"),
        vocoder=fill(TinyVocoder, load_state_dict(vocoder)[0], vocoder.name, dtype=torch.float32)
        if vocoder.exists()
        else load_part("vocoder", TinyVocoder),
        vocabulary=Vocabulary.from_file(VOCABULARY),
        short_side=SHORT_SIDE,
        name=NAME,
        guidance=GUIDANCE,
    )


def averaged(path: Path, part: str = "") -> dict[str, Tensor]:
    """The averaged weights in a training's state, those of one part of what is trained together."""
    prefix = f"module.{part}"
    state = torch.load(path, map_location="cpu", weights_only=True)["averaged"]
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def fingerprint(bundle: Bundle, reader: Reader) -> str:
    """Tells apart what is measured, and with what: numbers of other weights do not count."""
    digest = hashlib.sha256(bundle.model.config.to_json().encode())
    for part in (bundle.model, bundle.caption_encoder, bundle.vae, bundle.vocoder):
        for tensor in part.state_dict().values() if isinstance(part, nn.Module) else ():
            digest.update(tensor.numpy().tobytes())
    for layer in (*reader.matrices, *reader.biases):
        digest.update(layer.tobytes())
    return digest.hexdigest()[:16]
