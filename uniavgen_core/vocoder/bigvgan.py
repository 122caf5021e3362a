"""The release's vocoder: the BigVGAN of Qwen2.5-Omni, transformers' own class.

What the class does with its input (checked in transformers 4.52 and 5.24): it takes the natural logarithm of the mel's
magnitudes, as `audio.mel.log_mel` makes it, not normalised; turns it into decibels, 20 log10(exp(x)) - 20, with a floor
of -135 dB; scales -115 ... 0 dB to -1 ... 1 and clips there. So the mel of the released code is handed on as it is, and
none of this is repeated here. The waveform comes back clipped to [-1, 1], squeezed, on the CPU.

The released code runs it in bfloat16; here it is float32 on every device, which costs 462 MB of weights.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from ..audio.mel import MEL_BINS
from ..checkpoint import CheckpointError, check_names, check_numbers, load_state_dict, shapes_of
from ..files import is_count, parse_json, read_small
from ..geometry import HOP_LENGTH
from .neural import NeuralVocoder

CONFIG = "config.json"
MODEL_TYPE = "qwen2_5_omni_bigvgan"
CLASS = "Qwen2_5OmniToken2WavBigVGANModel"
SIZES = (  # what the class is built from
    "mel_dim",
    "upsample_initial_channel",
    "resblock_kernel_sizes",
    "resblock_dilation_sizes",
    "upsample_rates",
    "upsample_kernel_sizes",
)
MOST_CONFIG = 1 << 16  # bytes of a config.json
MOST_STAGES, MOST_SIZE = 16, 1 << 14  # beyond these nothing is built
ENDS = 3  # reach of the first and the last convolution, 7 wide
ACTIVATION = 6  # reach of an anti-aliased activation: filters of 12 taps at twice the rate, up and down


def is_bigvgan(described: Any) -> bool:
    """Whether the content of a config.json describes this model."""
    return isinstance(described, dict) and (
        described.get("model_type") == MODEL_TYPE or CLASS in (described.get("architectures") or ())
    )


def load_bigvgan(folder: Path) -> NeuralVocoder:
    """The vocoder in a folder with config.json and .safetensors, read from there and nowhere else.

    Raises ``CheckpointError`` or ``ValueError`` with a sentence.
    """
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(
            f"{folder} holds no .safetensors file; a .bin is a PyTorch pickle, which can run code when read: download "
            "model.safetensors of this vocoder"
        )
    try:
        from transformers.models.qwen2_5_omni import configuration_qwen2_5_omni as configuration
        from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as modeling
    except ImportError as error:
        raise ValueError(
            f"this BigVGAN needs the package transformers, 4.52 or newer ({error}): pip install -U transformers, with "
            "the Python that runs this"
        ) from error
    try:
        described = parse_json(read_small(folder / CONFIG, MOST_CONFIG))
        sizes = {key: described[key] for key in SIZES if key in described}
        for key, size in sizes.items():
            check_size(key, size)
        config = configuration.Qwen2_5OmniBigVGANConfig(**sizes)
        context = reach(config)
        hop, uneven = math.prod(config.upsample_rates), [k - s for s, k in _ups(config) if (k - s) % 2]
        with torch.device("meta"):  # no memory before it is known that the weights are as large
            expected = modeling.Qwen2_5OmniToken2WavBigVGANModel(config).state_dict()
    except Exception as error:  # whatever a class of another package raises for values that are not its own
        raise CheckpointError(f"{folder / CONFIG} does not describe a BigVGAN ({error}): download it again") from error
    if config.mel_dim != MEL_BINS or hop != HOP_LENGTH or uneven:
        raise CheckpointError(
            f"the BigVGAN in {folder} turns mels of {config.mel_dim} bins into {hop} samples a frame, UniAVGen's mel "
            f"has {MEL_BINS} bins and {HOP_LENGTH} samples: use the one of the release (code2wav_bigvgan_model)"
        )
    tensors, _ = load_state_dict(folder)
    check_names(shapes_of(tensors), shapes_of(expected), folder.name)
    check_numbers(tensors, expected, folder.name)
    with torch.random.fork_rng(devices=[]):  # its first weights are random, and replaced
        network = modeling.Qwen2_5OmniToken2WavBigVGANModel(config)
    network.load_state_dict({name: tensors[name].float() for name in expected}, assign=True)
    return NeuralVocoder(network.requires_grad_(False).eval(), context)


def check_size(key: str, size: Any) -> None:
    """Raises ``ValueError`` unless it is a size, or a short list of sizes or of such lists."""
    if isinstance(size, list) and len(size) <= MOST_STAGES:
        for one in size:
            check_size(key, one)
    elif not is_count(size, MOST_SIZE):
        raise ValueError(f"{key} has something else than sizes up to {MOST_SIZE} and lists up to {MOST_STAGES} of them")


def reach(config: Any) -> int:
    """Frames on each side that a sample depends on: 37 in the release.

    At the r-th part of a frame, s samples reach s / r frames far. Of the blocks that work side by side, the widest
    counts; an upsampling that is k wide and strides by s reaches (k + s) / 2 of its results.
    """
    frames, rate = float(ENDS), 1
    for stride, kernel in _ups(config):
        rate *= stride
        frames += (kernel + stride) / 2 / rate
        blocks = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
        frames += (
            max(
                sum((kernel - 1) // 2 * (dilation + 1) + 2 * ACTIVATION for dilation in dilations)
                for kernel, dilations in blocks
            )
            / rate
        )
    return math.ceil(frames + (ACTIVATION + ENDS) / rate)


def _ups(config: Any) -> list[tuple[int, int]]:
    """Stride and width of each upsampling."""
    return list(zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True))
