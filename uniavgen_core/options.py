"""What the tasks of the command line can be told, and what each shows where it is told nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

WRONG = 2  # exit code
# task: what it does, and which files it takes
TASKS = {
    "joint": ("a portrait and two texts become a clip with voice", ("image", "voice")),
    "drive": ("a portrait moves to a sound", ("image", "audio")),
    "dub": ("the person in a video says something else", ("video", "image", "voice")),
    "continue": ("a clip with sound goes on", ("video", "image", "voice")),
}
FILES = {
    "image": "portrait: PNG, JPEG, WebP ...",
    "voice": "a sound file of the voice to speak with; needs --transcript",
    "audio": "the sound that moves the face",
    "video": "the video to work on",
}
DTYPES = ("float32", "bfloat16", "float16")
ASSETS = Path(__file__).resolve().parents[1] / "assets"  # of a checkout
WOMAN = "A woman with wavy dark brown hair and brown eyes in a purple shirt in front of a blue wall talks."
MAN = "A man with curly black hair and brown eyes in an orange shirt in front of a pink wall talks."
# What a task must be told, and what it is told where it is told nothing, to show what the tiny model does
EXAMPLES = {
    "joint": {
        "image": ASSETS / "portrait.png",
        "speech": "Hello, doctor. Coffee tomorrow morning, please.",
        "caption": WOMAN,
    },
    "drive": {
        "image": ASSETS / "portrait.png",
        "audio": ASSETS / "speech.wav",
        "caption": WOMAN,
    },
    "dub": {
        "video": ASSETS / "clip.mp4",
        "speech": "Yes, please. Music together tomorrow evening.",
        "caption": MAN,
    },
    "continue": {
        "video": ASSETS / "clip.mp4",
        "speech": "Water, banana, chocolate. Goodbye, children.",
        "caption": MAN,
    },
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG, f"error: {message} (see --help)\n")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows defaults, where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def add_task(tasks: argparse._SubParsersAction, name: str) -> argparse.ArgumentParser:
    """The parser of one of ``TASKS``."""
    summary, files = TASKS[name]
    task = tasks.add_parser(name, help=summary, description=summary + ".", formatter_class=Help, allow_abbrev=False)
    needed = task.add_argument_group(
        "what to make", f"the task needs {flags(EXAMPLES[name])} and --output; without any, it shows an example"
    )
    for option in files:
        needed.add_argument(f"--{option}", metavar="FILE", help=FILES[option])
    add_options(task, needed)
    if name == "dub":
        needed.add_argument("--original-level", type=float, default=0.0, help="of the video's own sound, 1 as it was")
    task.set_defaults(**{option: None for option in FILES if option not in files})
    return task


def add_options(task: argparse.ArgumentParser, needed: argparse._ArgumentGroup) -> None:
    """What all tasks share."""
    from .geometry import TRAINED_FRAMES
    from .sampling import Outside
    from .sampling.schedule import SHIFT, STEPS
    from .text.speech import LANGUAGES
    from .windows import OVERLAP

    needed.add_argument("--speech", default="", metavar="TEXT", help="what the person says")
    needed.add_argument("--transcript", default="", metavar="TEXT", help="what is said in the --voice, word for word")
    needed.add_argument("--caption", default="", metavar="TEXT", help="what is seen")
    needed.add_argument("--output", metavar="FILE", help="the .mp4 to write; replaced if it exists")
    needed.add_argument("--language", choices=LANGUAGES, default="auto", help="of the speech")
    needed.add_argument("--model", choices=["tiny"], default="tiny", help="tiny is built in")
    needed.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    needed.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="number format the model computes in")
    size = task.add_argument_group("size")
    counted = ", with the --overlap" if task.prog.endswith(" continue") else ""
    size.add_argument(
        "--frames", type=int, help=f"at 16 a second, 4n + 1{counted} (default: {TRAINED_FRAMES}, or as given)"
    )
    size.add_argument("--window", type=int, default=TRAINED_FRAMES, help="longer clips are made in parts so long")
    size.add_argument("--overlap", type=int, default=OVERLAP, help="latents (4 frames) a part goes on from")
    own = "(default: the portrait's shape at the model's size)"
    size.add_argument("--width", type=int, help=f"pixels, a multiple of 32 {own}")
    size.add_argument("--height", type=int, help=f"pixels, a multiple of 32 {own}")
    sampling = task.add_argument_group("sampling")
    sampling.add_argument("--steps", type=int, default=STEPS, help="more is finer and slower")
    sampling.add_argument("--shift", type=float, default=SHIFT, help="larger spends more steps on the rough layout")
    sampling.add_argument("--seed", type=int, default=0, help="another number, another clip")
    guiding = task.add_argument_group(
        "guidance", "what is not given is the model's own: what measured best for the tiny one"
    )
    guiding.add_argument("--scale-video", type=float, help="strength for the pictures, 1 for none")
    guiding.add_argument("--scale-audio", type=float, help="strength for the sound, 1 for none")
    where = guiding.add_mutually_exclusive_group()
    where.add_argument(
        "--guided-share", type=float, help="share of the steps under modality-aware guidance, from the first on"
    )
    where.add_argument(
        "--interval",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="the same as flow times instead, 1 = noise, 0 = data; the paper has 1 0.5",
    )
    guiding.add_argument(
        "--outside",
        choices=[outside.value for outside in Outside],
        help="what happens after that: plain guidance, or none",
    )
    guiding.add_argument(
        "--skip-layer",
        type=skipped_layers,
        metavar="N|none",
        help="layer the unconditional pass leaves out",
    )


def skipped_layers(text: str) -> tuple[int, ...]:
    """The value of --skip-layer."""
    try:
        return () if text == "none" else (int(text),)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a layer's number nor none") from error


def flags(names: Iterable[str]) -> str:
    """Names of options as they are written."""
    return ", ".join(f"--{name}" for name in names)


def check_device(name: str) -> str:
    """The name of a device that can be used here. Raises ``ValueError`` for any other."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # a PyTorch built without the device asserts
        raise ValueError(f"the device {name!r} cannot be used here ({str(error).splitlines()[0]}): try cpu") from error
    return name
