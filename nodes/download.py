"""The published files, fetched on the user's word under the host's progress bar."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths

from ..uniavgen_core.hub import Watch, fetch, in_bytes, is_here, list_parts
from ..uniavgen_core.parts import INDEX, PARTS, VOCODER_FOLDER, Part
from .files import MODEL_FOLDERS, SYNCNET, SYNCNET_FOLDER, VOCODER_FOLDERS, find_vocoder, model_path, vocoder_path

VOCODER = next(part for part in PARTS if part.sign.startswith(VOCODER_FOLDER))
USUAL = [part for part in PARTS if part.usual]
LICENCES = ", ".join(dict.fromkeys(part.licence for part in USUAL))
USUAL_SIZE = in_bytes(sum(part.about for part in USUAL))


def published_model(download: bool) -> Path:
    """The index of the published weights; with ``download`` whatever is missing of the usual parts is fetched first.

    Raises ``ValueError`` with a sentence where the weights are missing and not to be fetched, or cannot be.
    """
    missing = [part for part in USUAL if not any(is_here(part, folder) for folder in places(part))]
    if missing and download:
        fetch_parts(missing)
    elif any(part.sign == INDEX for part in missing):
        models = folders(missing[0].folder)[0].parent
        raise ValueError(
            f"the published model is not in {models}: switch 'download' on to fetch {USUAL_SIZE} from Hugging Face, or "
            f"run `python -m uniavgen_core download --to {models}` in the folder of this custom node, or put the files "
            f"of {missing[0].repository} into {folders(missing[0].folder)[0]}"
        )
    return model_path(INDEX)


def places(part: Part) -> list[Path]:
    """Where the nodes look for a part."""
    names = {INDEX: MODEL_FOLDERS, VOCODER.sign: VOCODER_FOLDERS}.get(part.sign, (part.folder,))
    return [folder for name in names for folder in folders(name)]


def released_vocoder() -> Path:
    """The released vocoder's folder, fetched if it is not there. Raises ``ValueError`` with a sentence."""
    if not find_vocoder(VOCODER_FOLDER):
        fetch_parts([VOCODER])
    return vocoder_path(VOCODER_FOLDER)


def fetch_parts(parts: list[Part]) -> None:
    """Fetches parts into the host's first folder for each; the host's cancelling ends it."""
    listings = list_parts(parts, lambda name: folders(name)[0], {})
    files = [file for listing in listings for file in listing.files if not file.is_there()]
    fetch(files, shown())


def published_syncnet() -> Path:
    """The published SyncNet, fetched if it is not there. Raises ``OSError`` with a sentence."""
    from ..evaluation.sync import network

    found = folder_paths.get_full_path(SYNCNET_FOLDER, SYNCNET)
    return Path(found) if found else network.fetch(folders(SYNCNET_FOLDER)[0] / SYNCNET, shown())


def shown() -> Watch:
    """Shows a download on the running node; the host's cancelling ends it."""
    bar = comfy.utils.ProgressBar(1)

    def watch(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return watch


def folders(name: str) -> list[Path]:
    """The host's folders for a kind of model."""
    return [Path(folder) for folder in folder_paths.get_folder_paths(name)]
