"""What is measured: the tiny model that is shipped, or what a training stands at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from uniavgen_core.bundle import Bundle
from uniavgen_core.checkpoint import fill, load_state_dict
from uniavgen_core.config import ModelConfig
from uniavgen_core.model import JointModel
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny import load_tiny
from uniavgen_core.tiny.caption_encoder import TinyCaptionEncoder
from uniavgen_core.tiny.config import GUIDANCE, NAME, SHORT_SIDE, TINY
from uniavgen_core.tiny.load import VOCABULARY, load_part
from uniavgen_core.tiny.vae import TinyVAE
from uniavgen_core.tiny.vocoder import TinyVocoder

from .reader import Reader


def in_training(folder: Path) -> Bundle:
    """The averaged weights of a training; the vocoder is the shipped one if the folder has no vocoder.safetensors.

    Raises ``ValueError`` if a part is missing, ``CheckpointError`` if one does not fit.
    """
    vocoder = folder / "vocoder.safetensors"
    return Bundle(
        **_joint(folder, TINY),
        vae=_vae(folder),
        vocoder=fill(TinyVocoder, load_state_dict(vocoder)[0], vocoder.name, dtype=torch.float32)
        if vocoder.exists()
        else load_part("vocoder", TinyVocoder),
        vocabulary=Vocabulary.from_file(VOCABULARY),
        short_side=SHORT_SIDE,
        name=NAME,
        guidance=GUIDANCE,
    )


def variant(folder: Path, config: ModelConfig, training: Path | None = None) -> Bundle:
    """The averaged joint model in a folder with the shipped parts, and the VAE of a training that has its own.

    Raises as `in_training`.
    """
    whole = replace(load_tiny(), **_joint(folder, config))
    return whole if training is None else replace(whole, vae=_vae(training))


def shipped() -> dict[str, Tensor]:
    """The weights of the model that is shipped, as a `Learner` names them."""
    whole = load_tiny()
    parts = {"model": whole.model, "captions": whole.caption_encoder}
    return {f"{name}.{key}": weight for name, part in parts.items() for key, weight in part.state_dict().items()}


def _joint(folder: Path, config: ModelConfig) -> dict[str, nn.Module]:
    state = _state(folder, "model")
    return {
        "model": fill(lambda: JointModel(config), averaged(state, "model."), "model.pt"),
        "caption_encoder": fill(TinyCaptionEncoder, averaged(state, "captions."), "model.pt"),
    }


def _vae(folder: Path) -> TinyVAE:
    return fill(TinyVAE, averaged(_state(folder, "vae")), "vae.pt")


def _state(folder: Path, name: str) -> Path:
    path = folder / f"{name}.pt"
    if not path.exists():
        raise ValueError(f"there is no {path}: train it first with `python -m training tiny`")
    return path


def averaged(path: Path, part: str = "") -> dict[str, Tensor]:
    """The averaged weights in a training's state, those of one part of what is trained together."""
    prefix = f"module.{part}"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["averaged"]
    except (OSError, RuntimeError, KeyError, UnpicklingError) as error:
        raise ValueError(f"{path} is damaged: delete it and train anew") from error
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def digest(weights: Mapping[str, Tensor]) -> str:
    """Eight characters that tell weights apart."""
    found = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        found.update(name.encode())
        found.update(weight.detach().float().numpy().tobytes())
    return found.hexdigest()[:8]


def fingerprint(bundle: Bundle, reader: Reader) -> str:
    """Tells apart what is measured, and with what: numbers of other weights do not count."""
    digest = hashlib.sha256(bundle.model.config.to_json().encode())
    for part in (bundle.model, bundle.caption_encoder, bundle.vae, bundle.vocoder):
        for tensor in part.state_dict().values() if isinstance(part, nn.Module) else ():
            digest.update(tensor.numpy().tobytes())
    for layer in (*reader.matrices, *reader.biases):
        digest.update(layer.tobytes())
    return digest.hexdigest()[:16]
