"""PyTorch's own files, which are pickles: tensors by name out of them, and nothing else of what they say."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from .errors import CheckpointError
from .reading import PICKLES, check_beginning


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, mapped into memory. No program in it is run. Raises ``CheckpointError``."""
    size = check_beginning(path, PICKLES)
    try:
        with zipfile.ZipFile(path) as archive:
            inside = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:  # the archive's reader raises many kinds for damaged ones
        raise CheckpointError(
            f"{path.name} is no whole PyTorch file of today's layout: download it again, or save it again with a newer "
            "PyTorch"
        ) from error
    if inside > size:  # PyTorch does not compress: whoever does may hide more than memory holds
        raise CheckpointError(f"{path.name} says that it holds more than its {size} bytes: download it again")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} holds more than tensors, which could run as a program, so it is refused: use the "
            ".safetensors file of this model"
        ) from error
    except Exception as error:  # of many kinds too
        raise CheckpointError(f"{path.name} is damaged: download it again") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise CheckpointError(f"{path.name} holds something other than tensors by name: choose the weights alone")
    return tensors
