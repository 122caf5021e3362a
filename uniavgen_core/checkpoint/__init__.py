"""Weights on disk -> weights in a model, and back. Every doubt is an error with a sentence."""

from .errors import CheckpointError
from .load import CONFIG_KEY, Module, config_of, expected_shapes, fill, load_model, released
from .names import check_finite, check_held, check_names, check_numbers, common_prefix, shapes_of
from .pickles import read_pickle
from .quantised import formats_of, with_side_tensors
from .reading import find_weights, load_state_dict

__all__ = [
    "CONFIG_KEY",
    "CheckpointError",
    "Module",
    "check_finite",
    "check_held",
    "check_names",
    "check_numbers",
    "common_prefix",
    "config_of",
    "expected_shapes",
    "fill",
    "find_weights",
    "formats_of",
    "load_model",
    "load_state_dict",
    "read_pickle",
    "released",
    "shapes_of",
    "with_side_tensors",
]
