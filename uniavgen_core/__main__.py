"""The command line: `python -m uniavgen_core joint --image face.png --speech "..." --caption "..." --output out.mp4`.

Exit codes: 0 done, 2 something about the request is wrong (one sentence on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:  # PyTorch is imported late: it takes seconds, in which Ctrl-C must already work
    import torch

    from .sampling import Guidance

WRONG, INTERRUPTED = 2, 130
DTYPES = ("float32", "bfloat16", "float16")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    logging.basicConfig(format="warning: %(message)s")
    try:
        run(build_parser().parse_args(arguments))
    except KeyboardInterrupt:
        print("interrupted: no file was written", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return WRONG
    return 0


def run(options: argparse.Namespace) -> None:
    """The joint task, from the options to the file."""
    from tqdm import tqdm

    from .pipeline import joint
    from .tiny import load_tiny
    from .video.mux import check_output, write_mp4
    from .video.picture import read_picture

    output = check_output(options.output)
    picture = read_picture(options.image)
    bundle = {"tiny": load_tiny}[options.model](*place_of(options))
    # no bar before the first step is done, so that none stands above an error
    with tqdm(total=options.steps, desc="sampling", unit="step", delay=1e-3, mininterval=0, file=sys.stderr) as bar:
        clip = joint(
            bundle,
            picture=picture,
            speech=options.speech,
            caption=options.caption,
            language=options.language,
            frames=options.frames,
            width=options.width,
            height=options.height,
            steps=options.steps,
            shift=options.shift,
            guidance=guidance_of(options, bundle.model.config.num_layers),
            seed=options.seed,
            callback=lambda step, steps, guess: bar.update(),
        )
    write_mp4(output, clip)
    frames, height, width = clip.frames.shape[:3]
    print(f"{output}: {frames} frames of {width} x {height} at {clip.fps} fps, {frames / clip.fps:g} s with sound")


def place_of(options: argparse.Namespace) -> tuple[torch.device, torch.dtype]:
    """Where and in what the model computes. Raises ``ValueError`` for a device this machine does not have."""
    import torch

    name = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # a PyTorch built without the device asserts
        raise ValueError(f"the device {name!r} cannot be used here ({str(error).splitlines()[0]}): try cpu") from error
    return torch.device(name), getattr(torch, options.dtype)


def guidance_of(options: argparse.Namespace, num_layers: int) -> Guidance:
    """The released guidance for a model of this depth, with what the options change."""
    from .sampling import Guidance, Outside, Unit

    guidance = Guidance.for_layers(num_layers)
    if options.interval is None:
        start, end, unit = 0.0, options.guided_share, Unit.STEPS
    else:
        start, end, unit = *options.interval, Unit.TIME
    return replace(
        guidance,
        scale_video=options.scale_video,
        scale_audio=options.scale_audio,
        start=start,
        end=end,
        unit=unit,
        outside=Outside(options.outside),
        skip_layers=guidance.skip_layers if options.skip_layer is None else options.skip_layer,
    )


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG, f"error: {message} (see --help)\n")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows defaults, where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def build_parser() -> argparse.ArgumentParser:
    from .geometry import TRAINED_FRAMES
    from .sampling import Guidance, Outside
    from .sampling.schedule import SHIFT, STEPS
    from .text.speech import LANGUAGES

    release = Guidance()
    parser = Parser(prog="python -m uniavgen_core", description="Talking clips, pictures and sound together.")
    tasks = parser.add_subparsers(dest="task", required=True, metavar="task", parser_class=Parser)
    task = tasks.add_parser(
        "joint",
        help="a portrait and two texts become a clip with voice",
        description="A portrait, what is said and what is seen become an MP4 with voice.",
        formatter_class=Help,
        allow_abbrev=False,
    )
    needed = task.add_argument_group("what to make")
    needed.add_argument("--image", required=True, metavar="FILE", help="portrait: PNG, JPEG, WebP ...")
    needed.add_argument("--speech", required=True, metavar="TEXT", help="what the person says")
    needed.add_argument("--caption", required=True, metavar="TEXT", help="what is seen")
    needed.add_argument("--output", required=True, metavar="FILE", help="the .mp4 to write; replaced if it exists")
    needed.add_argument("--language", choices=LANGUAGES, default="auto", help="of the speech")
    needed.add_argument("--model", choices=["tiny"], default="tiny", help="tiny is built in")
    needed.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    needed.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="number format the model computes in")
    size = task.add_argument_group("size")
    size.add_argument("--frames", type=int, default=TRAINED_FRAMES, help="at 16 a second; 4n + 1")
    own = "(default: the portrait's shape at the model's size)"
    size.add_argument("--width", type=int, help=f"pixels, a multiple of 32 {own}")
    size.add_argument("--height", type=int, help=f"pixels, a multiple of 32 {own}")
    sampling = task.add_argument_group("sampling")
    sampling.add_argument("--steps", type=int, default=STEPS, help="more is finer and slower")
    sampling.add_argument("--shift", type=float, default=SHIFT, help="larger spends more steps on the rough layout")
    sampling.add_argument("--seed", type=int, default=0, help="another number, another clip")
    guiding = task.add_argument_group("guidance")
    guiding.add_argument("--scale-video", type=float, default=release.scale_video, help="strength for the pictures")
    guiding.add_argument("--scale-audio", type=float, default=release.scale_audio, help="strength for the sound")
    where = guiding.add_mutually_exclusive_group()
    where.add_argument(
        "--guided-share", type=float, default=release.end, help="share of the steps under modality-aware guidance"
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
        default=release.outside.value,
        help="what happens after that: plain guidance, or none",
    )
    guiding.add_argument(
        "--skip-layer",
        type=skipped_layers,
        metavar="N|none",
        help="layer the unconditional pass leaves out (default: 11 of 30, in other models at the same share)",
    )
    return parser


def skipped_layers(text: str) -> tuple[int, ...]:
    """The value of --skip-layer."""
    try:
        return () if text == "none" else (int(text),)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a layer's number nor none") from error


def sentence(error: Exception) -> str:
    """An error in words; the system's own errors are named with their file."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # being ended leaves no file either
    sys.exit(main())
