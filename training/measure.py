"""Measures the tiny model on unseen faces, sentences and seeds: ``python -m training measure``.

tasks: what each task is worth, with the autoencoder alone as the bound; guidance: kinds and scales of it;
ablations: variants of the model, trained for a few steps each; pictures: strips of frames over their curves, and mels

Prints Markdown tables, and writes them as JSON with the pictures into the output's folder. Every clip's numbers are
kept there in tasks.jsonl and guidance.jsonl, so that what was interrupted goes on. ± is the standard error over clips;
in brackets stands the deviation from seed to seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from evaluation.packages import need
from uniavgen_core.bundle import Bundle
from uniavgen_core.geometry import TRAINED_FRAMES, check_frames
from uniavgen_core.sampling.schedule import SHIFT, timesteps
from uniavgen_core.text.vocabulary import Vocabulary
from uniavgen_core.tiny import load_tiny
from uniavgen_core.tiny.load import VOCABULARY

from .arguments import at_least, positive
from .data import Dataset, Wanted
from .data import make as make_clips
from .loop import Loop
from .measures.ablations import PAPER, QUESTIONS, VARIANTS, folder_of, stages
from .measures.guidance import SCALES, settings
from .measures.numbers import Bench, Ledger
from .measures.pictures import draw, draw_mel
from .measures.reader import Reader, load_reader, quality
from .measures.scores import Rows
from .measures.subject import averaged, digest, in_training, shipped
from .measures.subject import variant as of_variant
from .measures.tables import (
    FACE,
    FOLLOWS,
    IN_SYNC,
    PICTURE,
    PICTURES,
    SYNC,
    VOICE,
    WRONG,
    Table,
    by_name,
    by_task,
    save,
)
from .measures.tasks import Plan, Task, make, unseen_clip
from .model import audio_branch, train

PICTURED = 2  # clips
ABLATION_CLIPS = 1000  # that variants are trained on where none are given; four minutes
MADE = (Task.JOINT, Task.VOICE, Task.DRIVEN, Task.DUBBING)
GUIDED = (
    (Task.JOINT, IN_SYNC),
    (Task.JOINT, WRONG),
    (Task.JOINT, PICTURE),
    (Task.DRIVEN, FOLLOWS),
    (Task.DUBBING, IN_SYNC),
    (Task.DUBBING, WRONG),
)
ABLATED = (
    (Task.JOINT, IN_SYNC),
    (Task.DUBBING, IN_SYNC),
    (Task.BLIND, IN_SYNC),
    (Task.DRIVEN, FOLLOWS),
    (Task.DRIVEN, FACE),
)
DEFAULT = "default"  # guidance: what the pipeline does if nothing is asked for


@dataclass(frozen=True)
class Order:
    """What is to be measured.

    folder: of the training, None for the shipped model; data: its clips
    output: for numbers, tables and pictures
    """

    folder: Path | None
    data: Path | None
    output: Path
    clips: int
    seeds: tuple[int, ...]
    plan: Plan
    scales: tuple[float, ...]
    budget: int


def measured_tasks(order: Order, bench: Bench) -> Iterator[Table]:
    """Every task, beside what the clips themselves and the autoencoder and vocoder alone would give."""
    rows = {
        task: bench.rows(task, order.plan, order.clips, order.seeds if task.generates else order.seeds[:1])
        for task in Task
    }
    yield by_task("Mouth and sound (correlation)", rows, SYNC)
    yield by_task("Words", {task: own for task, own in rows.items() if task is not Task.DRIVEN}, [WRONG])
    yield by_task("Voice", {task: rows[task] for task in (Task.TRUTH, Task.ALONE, Task.VOICE)}, VOICE)
    yield by_task("Picture", {task: own for task, own in rows.items() if task is not Task.BLIND}, PICTURES)


def measured_guidance(order: Order, bench: Bench) -> Iterator[Table]:
    """Kinds of guidance at every scale."""
    rows: dict[str, dict[Task, Rows]] = {}
    for name, guidance in settings(order.scales).items():
        how = replace(order.plan, guidance=guidance)
        tasks = dict.fromkeys(task for task, _ in GUIDED)
        rows[name] = {task: bench.rows(task, how, order.clips, order.seeds, name) for task in tasks}
    yield by_name("Guidance", "guidance", rows, GUIDED)


def measured_ablations(order: Order, reader: Reader, clips: Dataset, begun: Mapping[str, Tensor]) -> Iterator[Table]:
    """Each variant, trained in a folder of its own on clips of the length measured, sampled without guidance.

    clips, begun: of `ablation_material`; what passes between the branches begins anew
    """
    vocabulary = Vocabulary.from_file(VOCABULARY)
    how = replace(order.plan, guidance=settings(())["none"])
    root = order.output / f"ablations-{order.budget}-{order.plan.frames}-{digest(begun)}"
    tasks = dict.fromkeys(task for task, _ in ABLATED)
    rows = {}
    for name, variant in VARIANTS.items():
        folder = folder_of(root, name)
        lessons = stages(order.budget, variant.mask, order.plan.frames)
        train(Loop(folder), begun, clips, clips, vocabulary, lessons, variant.config)
        bundle = of_variant(folder, variant.config, order.folder)
        bench = Bench(bundle, reader, Ledger(folder / "clips.jsonl"))
        rows[name] = {task: bench.rows(task, how, order.clips, order.seeds, name) for task in tasks}
    for question, (chosen, others) in QUESTIONS.items():
        asked = {chosen: rows[PAPER], **{name: rows[name] for name in others}}
        yield by_name(f"{question}, {order.budget} steps each", question.lower(), asked, ABLATED)


def ablation_material(order: Order) -> tuple[Dataset, dict[str, Tensor]]:
    """Clips, and the weights that all variants begin with: the audio branch of the training in ``order.folder``, else
    both branches of the shipped model. Without clips some are made in ``order.output``.

    Raises ``ValueError`` if something is missing.
    """
    stages(order.budget, (0.0, 0.0), order.plan.frames)  # which checks the budget
    data = order.data or order.output / "clips"
    if order.data is None:
        make_clips([Wanted(data, load_tiny().vae, {order.plan.frames: ABLATION_CLIPS})])
    return Dataset(data), audio_branch(shipped() if order.folder is None else averaged(order.folder / "sound.pt"))


def drawn(order: Order, bundle: Bundle, reader: Reader) -> None:
    """Pictures of the first clips in every task."""
    for task in MADE:
        for number in range(min(PICTURED, order.clips)):
            clip = unseen_clip(number, order.plan.frames)
            made = make(bundle, task, clip, order.plan, number)
            name = f"{task.value.replace(' ', '-')}-{number}"
            draw(order.output / f"{name}.png", task, clip, made, reader)
            draw_mel(order.output / f"{name}-mel.png", made)


def report(tables: Iterator[Table], order: Order, part: str) -> None:
    """Prints the tables and saves them."""
    shown = []
    for table in tables:
        print(table.markdown(), flush=True)
        shown.append(table)
    save(shown, order.output / f"{part}.json")


PARTS = ("tasks", "guidance", "pictures", "ablations")


def measure(order: Order, parts: Sequence[str]) -> None:
    order.output.mkdir(parents=True, exist_ok=True)
    unseen_clip(0, order.plan.frames)
    material = ablation_material(order) if "ablations" in parts else ()
    if {"tasks", "guidance", "pictures"} & set(parts):
        bundle = load_tiny() if order.folder is None else in_training(order.folder)
    reader = load_reader(order.output / "reader.safetensors")  # takes minutes where it is new
    known = quality(reader, [unseen_clip(number, order.plan.frames) for number in range(order.clips)])
    print(f"The mouth as it is read from true sound goes with the true curve by {sum(known) / len(known):.3f}.\n")
    for part, measured in {"tasks": measured_tasks, "guidance": measured_guidance}.items():
        if part in parts:
            bench = Bench(bundle, reader, Ledger(order.output / f"{part}.jsonl"))
            report(measured(order, bench), order, part)
    if "pictures" in parts:
        drawn(order, bundle, reader)
    if "ablations" in parts:
        report(measured_ablations(order, reader, *material), order, "ablations")


def order_of(arguments: argparse.Namespace) -> Order:
    """Raises ``ValueError`` for what cannot be measured."""
    guidances = settings(arguments.scales)
    if arguments.guidance != DEFAULT and arguments.guidance not in guidances:
        raise ValueError(
            f"there is no guidance {arguments.guidance!r}: it is {DEFAULT}, or one of {', '.join(guidances)}"
        )
    timesteps(arguments.steps, arguments.shift)  # which checks both
    folder = arguments.folder
    how = Plan(arguments.steps, arguments.shift, check_frames(arguments.frames), guidances.get(arguments.guidance))
    return Order(
        folder,
        arguments.data or (folder and folder / "clips"),
        arguments.output or (Path() if folder is None else folder) / "measured",
        arguments.clips,
        tuple(range(arguments.seeds)),
        how,
        tuple(arguments.scales),
        arguments.budget,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="of a training (default: the model that is shipped)")
    parser.add_argument("--data", type=Path, help="clips for ablations (default: FOLDER/clips, else some are made)")
    parser.add_argument("--output", type=Path, help="for numbers and pictures (default: FOLDER/measured)")
    parser.add_argument("--part", choices=PARTS, nargs="+", default=PARTS[:3], help="(default: all but ablations)")
    parser.add_argument("--clips", type=at_least(1), default=32)
    parser.add_argument("--seeds", type=at_least(1), default=1, help="how many clips are made of each")
    parser.add_argument("--frames", type=int, default=TRAINED_FRAMES)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--shift", type=float, default=SHIFT)
    parser.add_argument("--guidance", default=DEFAULT, help="of tasks and pictures: none, 'plain 2', 'MA-CFG 2' ...")
    parser.add_argument("--scales", type=positive, nargs="+", default=SCALES, help="of guidance, for both modalities")
    parser.add_argument("--budget", type=at_least(1), default=3000, help="steps of training for each ablation")


def main(arguments: argparse.Namespace) -> None:
    order = order_of(arguments)
    need("measuring", "espeakng_loader", "pocketsphinx", "jiwer", "parselmouth", "sklearn", "matplotlib")
    measure(order, arguments.part)
