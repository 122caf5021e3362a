"""Makes the weight files of the untrained tiny model: ``python -m uniavgen_core.tiny.make [--output DIR]``.

The joint model and the caption encoder are random. The VAE (cosine functions) and the vocoder (the mel's filters,
turned round) are computed. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from ..audio.mel import MAX_FREQUENCY
from ..checkpoint import CONFIG_KEY, expected_shapes, shapes_of
from ..geometry import HOP_LENGTH, SAMPLE_RATE, SPATIAL_STRIDE, TEMPORAL_STRIDE
from .caption_encoder import TinyCaptionEncoder
from .config import FFT, FFT_BINS, NOISE_FRAMES, TINY
from .load import TRAINED_KEY, WEIGHTS

SEED = 20251
LUMA, CHROMA = 0, (1, 2)  # cosine functions over R, G, B: sum, red against blue, green against both

# What the VAE takes for natural pictures in [-1, 1], to give latents about unit variance: the power of the three
# colour functions, and the likeness of neighbouring pixels and frames
COLOUR_POWER = (0.6, 0.05, 0.01)
PIXEL_LIKENESS = 0.9
FRAME_LIKENESS = 0.99
SILENCE = math.log(1e-5)  # log-magnitude of the frequencies the mel says nothing about


def model_tensors(generator: torch.Generator) -> dict[str, Tensor]:
    """Random weights of the joint model, bfloat16, drawn in the order of its names."""
    return {name: _draw(name, shape, generator).bfloat16() for name, shape in expected_shapes(TINY).items()}


def caption_encoder_tensors(generator: torch.Generator) -> dict[str, Tensor]:
    """Random weights of the caption encoder, bfloat16."""
    with torch.device("meta"):
        shapes = shapes_of(TinyCaptionEncoder().state_dict())
    return {name: _draw(name, shape, generator).bfloat16() for name, shape in shapes.items()}


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Weights are N(0, 1 / inputs), norms about one, embeddings N(0, 1), everything added N(0, 0.02^2)."""
    noise = torch.randn(shape, generator=generator, dtype=torch.float32)
    layer, _, kind = name.rpartition(".")
    if kind == "modulation":
        return noise / math.sqrt(shape[-1])
    if kind != "weight":  # biases, GRN, audio_padding
        return 0.02 * noise
    if "norm" in layer.rpartition(".")[2]:
        return torch.ones(shape)
    if layer.rpartition(".")[2] in ("text_embed", "embedding"):
        return noise
    return noise / math.sqrt(math.prod(shape[1:]))


def vae_tensors() -> dict[str, Tensor]:
    """Cosine functions of colour, time, row and column, the lowest ones; more of them for brightness than for colour.

    The first 33 are the same for the first frame and for the rest, where they stand still.
    """
    shared = [(LUMA, 0, *uv) for uv in _low(5)] + [(colour, 0, *uv) for colour in CHROMA for uv in _low(2)]
    finer = [(LUMA, 0, *uv) for uv in _low(7) if sum(uv) > 5]
    moving = [(LUMA, 1, *uv) for uv in _low(3)] + [(LUMA, 2, *uv) for uv in _low(1)] + [(c, 1, 0, 0) for c in CHROMA]
    first_basis, first_scale = _cosines(shared + finer, frames=1)
    rest_basis, rest_scale = _cosines(shared + moving, frames=TEMPORAL_STRIDE)
    # a picture that stands still has the same latents everywhere
    rest_scale[: len(shared)] = first_scale[: len(shared)] * math.sqrt(TEMPORAL_STRIDE)
    return {
        "first_basis": first_basis.float(),
        "first_scale": first_scale.float(),
        "rest_basis": rest_basis.float(),
        "rest_scale": rest_scale.float(),
    }


def _low(order: int) -> list[tuple[int, int]]:
    """Pairs of row and column frequency whose sum is at most ``order``, the lowest sums first."""
    pairs = [(u, v) for u in range(order + 1) for v in range(order + 1 - u)]
    return sorted(pairs, key=lambda pair: (sum(pair), pair))


def _cosines(functions: list[tuple[int, int, int, int]], frames: int) -> tuple[Tensor, Tensor]:
    """Basis [n, 3 * frames * 16 * 16] of (colour, time, row, column) frequencies, and the scale [n] of each."""
    colour, time, space = _cosine_matrix(3), _cosine_matrix(frames), _cosine_matrix(SPATIAL_STRIDE)
    power = torch.tensor(COLOUR_POWER, dtype=torch.float64)
    time_power, space_power = _power(time, FRAME_LIKENESS), _power(space, PIXEL_LIKENESS)
    basis = [torch.einsum("c,t,y,x->ctyx", colour[c], time[t], space[u], space[v]) for c, t, u, v in functions]
    scale = [power[c] * time_power[t] * space_power[u] * space_power[v] for c, t, u, v in functions]
    return torch.stack(basis).flatten(1), torch.stack(scale).sqrt()


def _cosine_matrix(size: int) -> Tensor:
    """Orthonormal DCT-II: row k is the function of frequency k, [size, size] float64."""
    k = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * (k + 0.5) * k[:, None]) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


def _power(matrix: Tensor, likeness: float) -> Tensor:
    """Variance [size] of the coordinates of a unit signal whose neighbours correlate by ``likeness``."""
    k = torch.arange(len(matrix), dtype=torch.float64)
    return (matrix @ likeness ** (k - k[:, None]).abs() * matrix).sum(dim=1)


def vocoder_tensors(generator: torch.Generator) -> dict[str, Tensor]:
    """The mel turned round: a bin lies between the centres of two filters and takes their levels by its distance.

    A filter's level is its log energy less the log of its gain.
    """
    frequencies = torch.arange(FFT_BINS, dtype=torch.float64) * SAMPLE_RATE / FFT
    corners = slaney_frequencies(TINY.mel_bins + 2, MAX_FREQUENCY)
    rise = (frequencies - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    fall = (corners[2:, None] - frequencies) / (corners[2:] - corners[1:-1])[:, None]
    triangles = torch.minimum(rise, fall).clamp(min=0)  # [80, 513], peak 1; neighbours sum to 1
    gain = triangles.sum(dim=1) * 2 / (corners[2:] - corners[:-2])  # Slaney norm: area 1
    heard = triangles.sum(dim=0) > 0
    weight = (triangles / triangles.sum(dim=0).clamp(min=1e-12)).T.contiguous()  # [513, 80]
    bias = torch.where(heard, -(weight @ gain.log()), SILENCE)
    noise = torch.randint(-127, 128, (NOISE_FRAMES * HOP_LENGTH,), generator=generator)
    return {
        "projection.weight": weight.half(),
        "projection.bias": bias.half(),
        "noise": noise.to(torch.int8),
    }


def slaney_frequencies(count: int, highest: float) -> Tensor:
    """Frequencies in Hz, evenly spaced on Slaney's mel scale from 0: linear to 1 kHz, logarithmic above."""
    knee, step, ratio = 1000.0, 200 / 3, math.log(6.4) / 27
    top = knee / step + math.log(highest / knee) / ratio
    mel = torch.linspace(0, top, count, dtype=torch.float64)
    return torch.where(mel < knee / step, mel * step, knee * torch.exp(ratio * (mel - knee / step)))


def serialize(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Bytes of a safetensors file that depend on nothing but the arguments (the library shuffles the metadata)."""
    data = save(dict(tensors), dict(metadata))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def make(output: Path) -> list[Path]:
    """Writes one file a part into ``output`` and returns them. A file that is in use keeps its old content."""
    generator = torch.Generator().manual_seed(SEED)
    untrained = {TRAINED_KEY: "no"}
    parts = {
        "model": (model_tensors(generator), {CONFIG_KEY: TINY.to_json(), **untrained}),
        "caption_encoder": (caption_encoder_tensors(generator), untrained),
        "vae": (vae_tensors(), untrained),
        "vocoder": (vocoder_tensors(generator), untrained),
    }
    output.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (tensors, metadata) in parts.items():
        path = output / f"{name}.safetensors"
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_bytes(serialize(tensors, metadata))
        paths.append(unfinished.replace(path))
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m uniavgen_core.tiny.make", description=__doc__)
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="folder to write to (default: the package's own)")
    for path in make(parser.parse_args().output):
        print(f"{path.stat().st_size:9,d} bytes  {path}")


if __name__ == "__main__":
    main()
