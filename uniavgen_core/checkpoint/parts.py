"""Which part of the model a source holds, and what its tensors are called where it is going to be read.

The joint model keeps its names. The text encoder and the VAE of the bundle, PyTorch pickles, get the names that the
host's own 'Load CLIP' and 'Load VAE' read (`comfy/text_encoders/t5.py`, `comfy/ldm/wan/vae2_2.py`). The released names
are those of Wan's `t5.py` and `vae2_2.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..config import ModelConfig
from .errors import CheckpointError, listing
from .load import CONFIG_KEY, config_of, expected_shapes
from .names import check_names, common_prefix
from .pickles import read_pickle
from .quantised import bytes_of, is_quantised
from .signatures import recognise
from .stream import PIECE, Layout, SafetensorsSource, Source

# the text encoder of Wan: names in a block and outside of one -> those of transformers' T5
T5_BLOCK = {
    "norm1.weight": "layer.0.layer_norm.weight",
    **{f"attn.{part}.weight": f"layer.0.SelfAttention.{part}.weight" for part in "qkvo"},
    "pos_embedding.embedding.weight": "layer.0.SelfAttention.relative_attention_bias.weight",
    "norm2.weight": "layer.1.layer_norm.weight",
    "ffn.gate.0.weight": "layer.1.DenseReluDense.wi_0.weight",
    "ffn.fc1.weight": "layer.1.DenseReluDense.wi_1.weight",
    "ffn.fc2.weight": "layer.1.DenseReluDense.wo.weight",
}
T5_REST = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}
TOKENIZER = "spiece_model"  # the tensor in which the host keeps the tokenizer
TOKENIZER_FILE = Path("google", "umt5-xxl", "spiece.model")  # beside the released text encoder

# new names of what is quantised, where it is a matrix
JOINT_MATRICES = re.compile(r"(audio_|a2v_|v2a_)?blocks\.\d+\..*\.weight")
T5_MATRICES = re.compile(r"encoder\.block\.\d+\.layer\.\d\.(SelfAttention\.[qkvo]|DenseReluDense\.w\w+)\.weight")

T5_WIDTH, T5_DEPTH = 4096, 24  # of umT5-XXL

VAE_SIGN, VAE_LATENT = "conv2.weight", (48, 48, 1, 1, 1)
VAE_NAMES = Path(__file__).with_name("wan_vae_names.txt")  # of the published VAE, one a line


@dataclass(frozen=True)
class Part:
    """What a source holds.

    names: old -> new, of every tensor that is to be kept
    quantised: new names of the weights that may become fp8; None if none may
    more: tensors that the source lacks
    """

    what: str
    names: dict[str, str]
    quantised: re.Pattern[str] | None
    more: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


class PickleSource:
    """A PyTorch file, of which nothing but tensors is read, mapped into memory."""

    def __init__(self, path: Path):
        tensors = read_pickle(path)
        self.path, self.tensors = path, tensors
        self.layouts = {name: Layout(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
        self.metadata: dict[str, str] = {}
        self.files = {path}

    def pieces(self, name: str) -> Iterator[Tensor]:
        yield from self.tensors[name].reshape(-1).split(PIECE)

    def file_of(self, name: str) -> Path:
        return self.path


def open_source(path: Path) -> Source:
    """A pickle by its ending, anything else as safetensors."""
    if path.suffix in (".pth", ".pt") and os.path.isfile(path):
        return PickleSource(path)
    return SafetensorsSource(path)


def part_of(source: Source, path: Path, tokenizer: Path | None) -> Part:
    """Raises ``CheckpointError`` unless it is a part of UniAVGen that can be converted, with all its tensors."""
    shapes = {name: layout.shape for name, layout in source.layouts.items()}
    if is_quantised(shapes):
        raise CheckpointError(f"{path.name} is already quantised: convert the file it was made from")
    if "blocks.0.pos_embedding.embedding.weight" in shapes:
        return text_encoder(shapes, path, tokenizer)
    if shapes.get(VAE_SIGN) == VAE_LATENT and recognise(shapes) is not None:
        names = VAE_NAMES.read_text("utf-8").split()
        check_names(shapes, {name: shapes.get(name, ()) for name in names}, path.name, known=False)
        return Part("the video VAE (Wan 2.2)", {name: name for name in names}, None)
    return joint_model(source, shapes, path)


def joint_model(source: Source, shapes: dict[str, tuple[int, ...]], path: Path) -> Part:
    prefix = common_prefix(shapes)
    config = config_in(source, prefix)
    names = {name: name.removeprefix(prefix) for name in shapes if name != prefix + CONFIG_KEY}
    check_names({new: shapes[old] for old, new in names.items()}, expected_shapes(config), path.name)
    whole = [name for name in names if not source.layouts[name].dtype.is_floating_point]
    if whole:
        raise CheckpointError(
            f"{path.name} holds whole numbers instead of weights in {listing(whole)}: choose a file in bf16, fp16 or "
            "fp32"
        )
    return Part("the joint model", names, JOINT_MATRICES, metadata={CONFIG_KEY: config.to_json()})


def config_in(source: Source, prefix: str) -> ModelConfig:
    """From the metadata, or the tensor in which the host's 'Save Model' keeps it."""
    metadata = dict(source.metadata)
    if prefix + CONFIG_KEY in source.layouts:
        text = b"".join(bytes_of(piece) for piece in source.pieces(prefix + CONFIG_KEY))
        metadata = {CONFIG_KEY: text.decode("utf-8", "replace"), **metadata}
    return config_of(metadata)


def text_encoder(shapes: dict[str, tuple[int, ...]], path: Path, tokenizer: Path | None) -> Part:
    depth = 1 + max(int(found[1]) for name in shapes if (found := re.match(r"blocks\.(\d+)\.", name)))
    names = T5_REST | {
        f"blocks.{i}.{old}": f"encoder.block.{i}.{new}" for i in range(depth) for old, new in T5_BLOCK.items()
    }
    if shapes.get("token_embedding.weight", ())[1:] == (T5_WIDTH,) and depth != T5_DEPTH:
        raise CheckpointError(
            f"{path.name} has {depth} blocks, and umT5-XXL has {T5_DEPTH}: it is not whole, download it again"
        )
    check_names(shapes, {name: shapes.get(name, ()) for name in names}, path.name, known=False)
    tokenizer = tokenizer or path.parent / TOKENIZER_FILE
    if not tokenizer.is_file():
        raise CheckpointError(
            f"the text encoder needs its tokenizer, which is not at {tokenizer}: download {TOKENIZER_FILE.as_posix()} "
            "of the same bundle, or name it with --tokenizer"
        )
    more = {TOKENIZER: torch.frombuffer(bytearray(tokenizer.read_bytes()), dtype=torch.uint8)}
    return Part("the text encoder (umT5-XXL)", names, T5_MATRICES, more)
