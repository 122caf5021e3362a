"""Makes data, trains every part and writes the files that the tiny model loads: ``python -m training tiny``.

faces -> VAE; speech -> vocoder; sounds, and clips encoded by the VAE -> joint model and caption encoder -> weight files

Whatever was interrupted goes on where it stood. Curves of all losses are drawn beside the states.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny.load import VOCABULARY, WEIGHTS

from . import model, vae, vocoder
from .data import Dataset, make_data, make_sounds
from .loop import Loop
from .pack import pack_model, write_part


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=Path("training/run"), help="for data, states and curves (2 GB)")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="where the weight files go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="of the joint model's training: cpu or cuda")
    parser.add_argument("--workers", type=int, default=1, help="processes that make clips")


def main(options: argparse.Namespace) -> None:
    folder, output, loop = options.folder, options.output, Loop(options.folder)
    autoencoder = vae.train(loop, seed=options.seed)
    print("VAE, PSNR in dB:", vae.quality(autoencoder))
    sounds = vocoder.train(loop, seed=options.seed)
    make_data(folder / "clips", autoencoder, workers=options.workers)
    make_sounds(folder / "sounds", workers=options.workers)
    learner = model.train(
        Loop(folder, device=options.device),
        Dataset(folder / "clips"),
        Dataset(folder / "sounds"),
        Vocabulary.from_file(VOCABULARY),
        seed=options.seed,
    )
    pack_model(learner, output)
    write_part(output / "vae.safetensors", autoencoder.state_dict(), torch.float16)
    write_part(output / "vocoder.safetensors", vocoder.parameters(sounds), torch.float16)
