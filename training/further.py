"""Trains the tiny model further, from the weights that are shipped: ``python -m training further``.

Makes clips and sounds of its own, encoded by the shipped VAE, and writes the joint model and the caption encoder. Most
steps train the audio branch alone: it gets the words wrong, and costs a quarter of both branches.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny import load_tiny
from uniavgen_core.tiny.load import VOCABULARY, WEIGHTS

from . import model
from .arguments import at_least, device, positive, seed
from .data import Dataset, Wanted, make, making
from .loop import Loop, rank
from .measures.subject import shipped
from .pack import pack_model
from .tiny import in_processes

# Frames of the clips and how many of each; the seed of the first
CLIPS, FIRST_CLIP = {33: 2000, 57: 2000, 81: 20_000}, 200_000
SOUNDS, FIRST_SOUND = {33: 10_000, 57: 10_000, 81: 100_000}, 300_000
TASKS = {
    "sound": 2.5,
    "sound with a voice": 3.5,
    "joint": 1.2,
    "voice": 0.8,
    "continuation": 0.4,
    "dubbing": 1.2,
    "audio-driven": 0.4,
}
LENGTHS = {33: 0.1, 57: 0.1, 81: 0.8}
MASK = (0.02, 0.0)
BEGINNING = 120  # shards with which training can begin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=Path("training/run-further"), help="for data, state and curves")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="where the weight files go")
    parser.add_argument("--steps", type=at_least(1), default=2420)
    parser.add_argument("--rate", type=positive, default=model.RATE, help="learning rate at its highest")
    parser.add_argument("--seed", type=seed, default=1, help="of a folder that is new")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda")
    parser.add_argument("--processes", type=at_least(1), default=1, help="that learn together, one a core")
    parser.add_argument(
        "--makers", type=at_least(0), default=0, help="processes that go on making clips meanwhile (0: all before)"
    )
    parser.add_argument("--tokens", type=at_least(1), default=100_000, help="of a batch in each process, about")


def main(options: argparse.Namespace) -> None:
    wanted = [
        Wanted(options.folder / "clips", load_tiny().vae, CLIPS, FIRST_CLIP),
        Wanted(options.folder / "sounds", None, SOUNDS, FIRST_SOUND),
    ]
    if options.makers:
        there = len(list(options.folder.glob("*/*.safetensors")))
        with making(wanted, options.makers) as shards:
            for shard in shards[: max(0, BEGINNING - there)]:
                shard.result()
            in_processes(learn, options)
    else:
        make(wanted, options.processes)
        in_processes(learn, options)


def learn(options: argparse.Namespace) -> None:
    """Trains from the shipped weights and writes the files."""
    folder = options.folder
    learner = model.train(
        Loop(folder, every=250, device=options.device),
        shipped(),
        Dataset(folder / "clips", options.device),
        Dataset(folder / "sounds", options.device),
        Vocabulary.from_file(VOCABULARY),
        (model.Stage(options.steps, TASKS, LENGTHS, MASK),),
        seed=options.seed,
        rate=options.rate,
        tokens=options.tokens,
    )
    if rank() == 0:
        pack_model(learner, options.output)
