"""Where weights and the vocabulary lie in the host's model folders."""

from __future__ import annotations

import os
import re
from pathlib import Path

import folder_paths

from ..uniavgen_core.parts import OWN_FOLDER
from ..uniavgen_core.text.vocabulary import Vocabulary

TINY = "tiny (built in)"
PUBLISHED = "UniAVGen (published)"
MODEL_FOLDERS = (OWN_FOLDER, "diffusion_models")
VOCABULARY = "vocab.txt"
_SHARD = re.compile(r"-\d+-of-\d+(?=\.safetensors$)")


def register_folder() -> None:
    """Makes models/uniavgen known to the host."""
    folder_paths.add_model_folder_path(OWN_FOLDER, os.path.join(folder_paths.models_dir, OWN_FOLDER))


def model_choices() -> list[str]:
    """The built-in model, the published one, and every .safetensors file in the model folders; shards count as their
    index."""
    names = [name for folder in MODEL_FOLDERS for name in folder_paths.get_filename_list(folder)]
    weights = (name for name in names if name.endswith(".safetensors"))
    return [TINY, PUBLISHED, *dict.fromkeys(as_index(name) for name in weights)]


def as_index(name: str) -> str:
    """The name of a shard -> the name of its index; any other name stays."""
    return _SHARD.sub("", name) + ".index.json" if _SHARD.search(name) else name


def model_path(choice: str) -> Path:
    """Where a choice lies. Raises ``ValueError`` if it does not."""
    for folder in MODEL_FOLDERS:
        found = folder_paths.get_full_path(folder, choice)
        if found:
            return Path(found)
    raise ValueError(f"{choice} is in none of the model folders {', '.join(MODEL_FOLDERS)}: download it there")


def released_vocabulary() -> Vocabulary:
    """The vocabulary the published weights speak by. Raises ``ValueError`` if it is missing or another."""
    found = folder_paths.get_full_path(OWN_FOLDER, VOCABULARY)
    if not found:
        folder = folder_paths.get_folder_paths(OWN_FOLDER)[0]
        raise ValueError(
            f"the speech vocabulary is missing: download {VOCABULARY} of F5-TTS (Emilia_ZH_EN_pinyin, 2545 lines) "
            f"to {folder}, by 'download' of Load UniAVGen, by `python -m uniavgen_core download vocabulary` or by "
            "hand; or use the CLIP of the built-in tiny model"
        )
    return Vocabulary.released(found)
