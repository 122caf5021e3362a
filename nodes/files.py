"""Where weights and the vocabulary lie in the host's model folders."""

from __future__ import annotations

import os
import re
from pathlib import Path

import folder_paths

from ..uniavgen_core.files import fault_of
from ..uniavgen_core.parts import BUNDLE, OWN_FOLDER, PUBLISHED, VOCODER_FOLDER
from ..uniavgen_core.text.vocabulary import Vocabulary
from ..uniavgen_core.vocoder.load import kind_of

TINY = "tiny (built in)"
MODEL_FOLDERS = (OWN_FOLDER, "diffusion_models")
VOCODER_FOLDERS = (OWN_FOLDER, "vocoders")
VOCODER_CONFIGS = ("config.json", "config.yaml")
VOCABULARY = "vocab.txt"
SYNCNET_FOLDER, SYNCNET = "syncnet", "syncnet_v2.model"
SYNCNET_ENDINGS = (".model", ".pth", ".pt")
_SHARD = re.compile(r"-\d+-of-\d+(?=\.safetensors$)")


def register_folders() -> None:
    """Makes models/uniavgen, models/vocoders and models/syncnet known to the host."""
    for folder in (*VOCODER_FOLDERS, SYNCNET_FOLDER):
        folder_paths.add_model_folder_path(folder, os.path.join(folder_paths.models_dir, folder))


def model_choices() -> list[str]:
    """The built-in model, the published one, and every .safetensors file in the model folders; shards count as their
    index."""
    names = [name for folder in MODEL_FOLDERS for name in folder_paths.get_filename_list(folder)]
    weights = (name for name in names if name.endswith(".safetensors"))
    return [TINY, PUBLISHED, *dict.fromkeys(as_index(name) for name in weights)]


def as_index(name: str) -> str:
    """The name of a shard -> the name of its index; any other name stays."""
    return _SHARD.sub("", name) + ".index.json" if _SHARD.search(name) else name


def model_file(choice: str) -> Path | None:
    """Where a choice lies, if it does."""
    paths = (folder_paths.get_full_path(folder, choice) for folder in MODEL_FOLDERS)
    return next((Path(path) for path in paths if path), None)


def model_path(choice: str) -> Path:
    """Where a choice lies. Raises ``ValueError`` if it does not."""
    found = model_file(choice)
    if found is not None:
        return found
    paths = (Path(root, choice) for name in MODEL_FOLDERS for root in folder_paths.get_folder_paths(name))
    for path in paths:  # what the host passes over: links to nothing, pipes, devices
        if os.path.lexists(path) and (fault := fault_of(path)):
            raise ValueError(fault)
    raise ValueError(f"{choice} is in none of the model folders {', '.join(MODEL_FOLDERS)}: download it there")


def fingerprint(path: str | Path | None) -> str | None:
    """What changes when a file, the shards of an index or the files in a folder do; None for what is not there.

    The host runs a loader again when this changes: a file that was replaced or deleted is not answered from its cache.
    """
    if path is None:
        return None
    path = Path(path)
    files = path.iterdir() if path.is_dir() else (x for x in path.parent.iterdir() if as_index(x.name) == path.name)
    states = ((file, file.stat()) for file in sorted(files))
    return "\n".join(f"{file.name} {state.st_size} {state.st_mtime_ns}" for file, state in states)


def vocoder_choices() -> list[str]:
    """The released vocoder's folder, there or not, and all others in the model folders that hold a vocoder."""
    files = [os.path.split(name) for folder in VOCODER_FOLDERS for name in folder_paths.get_filename_list(folder)]
    inside = dict.fromkeys(folder for folder, file in files if folder and file in VOCODER_CONFIGS)
    return list(dict.fromkeys([VOCODER_FOLDER, *(folder for folder in inside if find_vocoder(folder))]))


def vocoder_path(choice: str) -> Path:
    """Where a choice lies. Raises ``ValueError`` if it does not."""
    found = find_vocoder(choice)
    if found is not None:
        return found
    raise ValueError(
        f"there is no vocoder {choice!r} in models/{' or models/'.join(VOCODER_FOLDERS)}: choose {VOCODER_FOLDER} and "
        f"switch 'download' on, or put that folder of {BUNDLE} there, or give the id of a hub repository"
    )


def find_vocoder(choice: str) -> Path | None:
    """The folder of that name, in any of the model folders, that holds a vocoder."""
    names = [os.path.join(choice, config) for config in VOCODER_CONFIGS]
    paths = (folder_paths.get_full_path(folder, name) for folder in VOCODER_FOLDERS for name in names)
    return next((Path(path).parent for path in paths if path and kind_of(Path(path).parent)), None)


def syncnet_choices() -> list[str]:
    """The published SyncNet's file, there or not, and all others in its folder that may be one."""
    names = folder_paths.get_filename_list(SYNCNET_FOLDER)
    return list(dict.fromkeys([SYNCNET, *(name for name in names if name.endswith(SYNCNET_ENDINGS))]))


def syncnet_path(choice: str) -> Path:
    """Where a choice lies. Raises ``ValueError`` if it does not."""
    found = folder_paths.get_full_path(SYNCNET_FOLDER, choice)
    if not found:
        raise ValueError(
            f"there is no {choice} in models/{SYNCNET_FOLDER}: choose {SYNCNET} and switch 'download' on, or put the "
            "file there"
        )
    return Path(found)


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
