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
from .data import Dataset, make_data, make_sounds
from .loop import Loop, rank
from .measures.subject import shipped
from .pack import pack_model
from .tiny import in_processes

CLIPS, FIRST_CLIP = {33: 3000, 57: 400, 81: 4000}, 200_000
SOUNDS, FIRST_SOUND = {33: 1200, 57: 600, 81: 6000}, 300_000
TASKS = {
    "sound": 3,
    "sound with a voice": 5,
    "joint": 0.8,
    "continuation": 0.2,
    "dubbing": 0.7,
    "audio-driven": 0.3,
}
LENGTHS = {33: 0.1, 57: 0.1, 81: 0.8}
MASK = (0.02, 0.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=Path("training/run-further"), help="for data, state and curves")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="where the weight files go")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=5e-3, help="learning rate at its highest")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--processes", type=int, default=1, help="that learn together, one a core")
    parser.add_argument("--tokens", type=int, default=2 * model.TOKENS, help="of a batch in each process, about")


def main(options: argparse.Namespace) -> None:
    make_data(options.folder / "clips", load_tiny().vae, CLIPS, options.processes, FIRST_CLIP)
    make_sounds(options.folder / "sounds", SOUNDS, options.processes, FIRST_SOUND)
    in_processes(learn, options)


def learn(options: argparse.Namespace) -> None:
    """Trains from the shipped weights and writes the files."""
    folder = options.folder
    learner = model.train(
        Loop(folder, every=250, device=options.device),
        shipped(),
        Dataset(folder / "clips"),
        Dataset(folder / "sounds"),
        Vocabulary.from_file(VOCABULARY),
        (model.Stage(options.steps, TASKS, LENGTHS, MASK),),
        seed=options.seed,
        rate=options.rate,
        tokens=options.tokens,
    )
    if rank() == 0:
        pack_model(learner, options.output)
