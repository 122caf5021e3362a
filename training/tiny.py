"""Makes data, trains every part and writes the files that the tiny model loads: ``python -m training tiny``.

faces -> VAE; speech -> vocoder; sounds, and clips encoded by the VAE -> joint model and caption encoder -> weight files

Whatever was interrupted goes on where it stood. Curves of all losses are drawn beside the states.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as distributed
from torch.multiprocessing import spawn

from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny.load import VOCABULARY, WEIGHTS

from . import model, vae, vocoder
from .arguments import at_least, device, seed
from .data import FIRST_SOUND, LENGTHS, SOUNDS, Dataset, Wanted, make
from .loop import Loop, rank
from .pack import pack_model, write_part


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=Path("training/run"), help="for data, states and curves (2 GB)")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="where the weight files go")
    parser.add_argument("--seed", type=seed, default=0, help="of a folder that is new")
    parser.add_argument("--device", type=device, default="cpu", help="of the joint model's training: cpu or cuda")
    parser.add_argument(
        "--processes",
        type=at_least(1),
        default=1,
        help="that make clips and train the joint model together, one a core",
    )


def main(options: argparse.Namespace) -> None:
    folder, output, loop = options.folder, options.output, Loop(options.folder)
    autoencoder = vae.train(loop, seed=options.seed)
    print("VAE, PSNR in dB:", vae.quality(autoencoder))
    sounds = vocoder.train(loop, seed=options.seed)
    make(
        [Wanted(folder / "clips", autoencoder, LENGTHS), Wanted(folder / "sounds", None, SOUNDS, FIRST_SOUND)],
        options.processes,
    )
    in_processes(learn, options)
    write_part(output / "vae.safetensors", autoencoder.state_dict(), torch.float16)
    write_part(output / "vocoder.safetensors", vocoder.parameters(sounds), torch.float16)


def learn(options: argparse.Namespace) -> None:
    """Trains the joint model and writes its files."""
    folder = options.folder
    loop, vocabulary, seed = Loop(folder, device=options.device), Vocabulary.from_file(VOCABULARY), options.seed
    clips, sounds = (Dataset(folder / name, options.device) for name in ("clips", "sounds"))
    begun = model.audio_branch(model.train_sound(loop, sounds, vocabulary, seed=seed).state_dict())
    learner = model.train(loop, begun, clips, sounds, vocabulary, seed=seed)
    if rank() == 0:
        pack_model(learner, options.output)


def in_processes(work: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> None:
    """Calls ``work`` here, or in each of several processes that learn together."""
    if options.processes == 1:
        work(options)
    else:
        with tempfile.TemporaryDirectory() as meeting:
            spawn(_join, (work, options, Path(meeting) / "meeting"), options.processes)


def _join(number: int, work: Callable[[argparse.Namespace], None], options: argparse.Namespace, meeting: Path) -> None:
    """One of the processes, which meet by a file that is not there yet."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.processes))
    distributed.init_process_group("gloo", f"file://{meeting}", rank=number, world_size=options.processes)
    try:
        work(options)
    finally:
        distributed.destroy_process_group()
