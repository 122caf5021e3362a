"""Folder or hub id -> vocoder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from ..checkpoint import CheckpointError
from ..files import impostor_of, parse_json, read_small, shortened
from . import bigvgan, vocos
from .neural import NeuralVocoder

FILES = (bigvgan.CONFIG, vocos.CONFIG, "model.safetensors", vocos.PICKLE)  # what is fetched of a hub repository
MOST_BYTES = {bigvgan.CONFIG: bigvgan.MOST_CONFIG, vocos.CONFIG: vocos.MOST_CONFIG}
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)+")


def load_vocoder(source: str | Path, allow_download: bool = False, device: torch.device | str = "cpu") -> NeuralVocoder:
    """The vocoder in a folder, beside a file, or of a hub id: a BigVGAN or a Vocos, by what the folder holds.

    source: a folder, a file in it, or "owner/name" or "owner/name/folder" of a repository in the Hugging Face cache
    allow_download: fetches what the cache lacks; without it nothing is asked of the network
    Raises ``CheckpointError`` or ``ValueError`` with a sentence.
    """
    path = Path(source)
    folder = path.parent if os.path.isfile(path) else path
    if not os.path.isdir(folder):
        folder = from_hub(str(source), allow_download)
    kind = kind_of(folder)
    if kind is None:
        for config in (folder / name for name in MOST_BYTES):
            if os.path.lexists(config):
                _check(config)
        raise CheckpointError(
            f"{folder} holds no vocoder: it needs the {bigvgan.CONFIG} of a {bigvgan.CLASS} or the {vocos.CONFIG} of a "
            "Vocos, and weights beside it"
        )
    return (bigvgan.load_bigvgan if kind == "BigVGAN" else vocos.load_vocos)(folder).to(device)


def kind_of(folder: Path) -> str | None:
    """What a folder says it holds: "BigVGAN", "Vocos" or None. Reads its small files only."""
    if b"feature_extractor" in _read(folder / vocos.CONFIG):
        return "Vocos"
    try:
        described = parse_json(_read(folder / bigvgan.CONFIG))
    except ValueError:
        return None
    return "BigVGAN" if bigvgan.is_bigvgan(described) else None


def _read(path: Path) -> bytes:
    """A description, empty where it cannot be one: folders are also looked through for what may be chosen."""
    try:
        return read_small(path, MOST_BYTES[path.name])
    except ValueError:
        return b""


def _check(path: Path) -> None:
    """Raises ``CheckpointError`` if a description cannot be read or is known to be something else."""
    try:
        sentence = impostor_of(read_small(path, MOST_BYTES[path.name]))
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if sentence:
        raise CheckpointError(f"{path} {sentence}")


def check_hub_id(text: str) -> None:
    """Raises ``ValueError`` for anything else than a name of the Hub, without a look at the disk."""
    if ".." in text or not _HUB_ID.fullmatch(text):
        raise ValueError(
            f"{shortened(text)!r} is not a hub_id: give owner/name or owner/name/folder of the Hub, or put a folder of "
            "your own into models/vocoders and choose it as the folder"
        )


def from_hub(source: str, allow_download: bool) -> Path:
    """The folder in the Hugging Face cache, filled if that is allowed."""
    if not _HUB_ID.fullmatch(source.replace("\\", "/")):
        raise CheckpointError(f"there is no vocoder at {source}: check the path, or give the id of a hub repository")
    from huggingface_hub import snapshot_download

    owner, name, *inside = source.replace("\\", "/").split("/")
    wanted = ["/".join((*inside, file)) for file in FILES]
    try:
        root = snapshot_download(f"{owner}/{name}", allow_patterns=wanted, local_files_only=not allow_download)
    except Exception as error:  # network, rights, names, disk: the hub's client raises many kinds
        if allow_download:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise CheckpointError(
                f"{source} could not be downloaded ({reason}): check its name and the connection, or fetch its files "
                "to a folder by other means"
            ) from error
        raise CheckpointError(
            f"there is no folder {source}, nor a repository of that name in the Hugging Face cache: check the name, or "
            "allow the download"
        ) from error
    return Path(root, *inside)
