"""The command line: `python -m uniavgen_core TASK --caption "..." --output out.mp4`, and what the task works on.

`python -m uniavgen_core download` fetches the published files.

Exit codes: 0 done, 2 something about the request is wrong (one sentence on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .options import EXAMPLES, FILES, TASKS, WRONG, Help, Parser, add_task, check_device, flags

if TYPE_CHECKING:  # PyTorch is imported late: it takes seconds, in which Ctrl-C must already work
    import torch
    from torch import Tensor

    from .audio.sound import Sound
    from .pipeline import Material
    from .sampling import Guidance
    from .types import Clip, Frames
    from .video.footage import Footage

INTERRUPTED = 130
ENDINGS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    logging.basicConfig(format="warning: %(message)s")
    try:
        options = build_parser().parse_args(arguments)
        options.run(options)
    except KeyboardInterrupt as stop:
        print(f"interrupted: {str(stop) or 'no file was written'}", file=sys.stderr)
        return INTERRUPTED
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print("error: there is not enough memory: ask for a smaller or shorter clip", file=sys.stderr)
        return WRONG
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return WRONG
    return 0


def leave(*_: object) -> NoReturn:
    """Ends at once, as long as nothing is written: while libraries are imported, an exception could be swallowed."""
    os.write(2, b"interrupted: no file was written\n")
    os._exit(INTERRUPTED)


def run(options: argparse.Namespace) -> None:
    """A task, from the options to the file."""
    from tqdm import tqdm

    from .pipeline import generate, join
    from .tiny import load_tiny
    from .video.mux import check_dub, check_output, write_dubbed, write_mp4

    for ending in ENDINGS:
        if signal.getsignal(ending) is leave:
            signal.signal(ending, signal.default_int_handler)
    complete(options)
    output = check_output(options.output)
    check_numbers(options)
    material, footage, earlier = read_material(options)
    material.check()
    if footage is not None:
        check_dub(footage, output, options.original_level)
    bundle = {"tiny": load_tiny}[options.model](*place_of(options))
    # a delay: no bar before the first step, so that none stands above an error
    with tqdm(total=options.steps, desc="sampling", unit="step", delay=1e-3, mininterval=0, file=sys.stderr) as bar:

        def step_done(step: int, steps: int, guess: object) -> None:
            bar.total = steps
            bar.update()

        clip = generate(
            bundle,
            material,
            speech=options.speech,
            caption=options.caption,
            language=options.language,
            frames=options.frames,
            width=options.width,
            height=options.height,
            steps=options.steps,
            shift=options.shift,
            guidance=guidance_of(options, bundle.guidance),
            seed=options.seed,
            window=options.window,
            overlap=options.overlap,
            callback=step_done,
        )
    if footage is not None:
        sound = under(clip.waveform, footage, options.original_level)
        write_dubbed(output, footage, sound, clip.sample_rate)
        print(f"{output}: the {len(footage.pts)} pictures of {footage.path.name} with a new voice")
        return
    if earlier is not None:
        clip = join(earlier, clip, options.overlap)
    if material.sound is not None:
        clip = with_sound(clip, material.sound)
    write_mp4(output, clip)
    frames, height, width = clip.frames.shape[:3]
    print(f"{output}: {frames} frames of {width} x {height} at {clip.fps} fps, {frames / clip.fps:g} s with sound")


def complete(options: argparse.Namespace) -> None:
    """Fills in the example where a task is told nothing. Raises ``ValueError`` if something it needs is left out."""
    example = EXAMPLES[options.task]
    missing = [name for name in (*example, "output") if not getattr(options, name)]
    if not any(getattr(options, name) for name in (*FILES, "speech", "transcript", "caption")):
        options.output = options.output or f"{options.task}.mp4"
        vars(options).update(example)
        if not all(file.is_file() for file in example.values() if isinstance(file, Path)):
            raise ValueError(f"{options.task} needs {flags(example)}: the example files are not installed here")
    elif missing:
        raise ValueError(f"{options.task} needs {flags(missing)} as well; without {flags(example)} it shows an example")


def check_numbers(options: argparse.Namespace) -> None:
    """Raises ``ValueError`` for numbers that no clip can be made with, before anything is read or loaded."""
    from .geometry import check_frames
    from .sampling import check_seed, timesteps
    from .tiny.config import GUIDANCE, TINY

    timesteps(options.steps, options.shift)
    check_seed(options.seed)
    guidance_of(options, GUIDANCE).check_layers(TINY.num_layers)
    for frames in (options.frames, options.window):
        if frames is not None:
            check_frames(frames)


def read_material(options: argparse.Namespace) -> tuple[Material, Footage | None, Clip | None]:
    """What the files hold, the footage to be dubbed, the clip to be continued. Raises ``ValueError`` or ``OSError``
    with a sentence."""
    from .audio.sound import Sound, read_sound
    from .pipeline import Earlier, Material
    from .video.picture import read_picture

    footage = frames = earlier = None
    if options.task == "dub":
        footage, frames = read_frames(options)
    if options.task == "continue":
        earlier = read_clip(options)
    return (
        Material(
            picture=options.image and read_picture(options.image),
            voice=options.voice and read_sound(options.voice),
            transcript=options.transcript,
            sound=options.audio and read_sound(options.audio),
            footage=frames,
            earlier=earlier
            and Earlier.of(earlier.frames, Sound(earlier.waveform, earlier.sample_rate), len(earlier.frames)),
        ),
        footage,
        earlier,
    )


def read_frames(options: argparse.Namespace) -> tuple[Footage, Frames]:
    """The footage of --video, and its pictures at 16 a second in the size of the clip."""
    from .pipeline import clip_size
    from .tiny.config import SHORT_SIDE
    from .video.footage import FootageFrames, read_footage

    footage = read_footage(options.video)
    size = clip_size((footage.height, footage.width), options.height, options.width, SHORT_SIDE)
    return footage, FootageFrames(footage, *size)


def read_clip(options: argparse.Namespace) -> Clip:
    """The clip of --video with its sound, at the model's pictures a second."""
    from .audio.sound import read_sound
    from .geometry import VIDEO_FPS
    from .types import Clip

    _, frames = read_frames(options)
    sound = read_sound(options.video)
    return Clip(frames[:], sound.waveform, VIDEO_FPS, sound.sample_rate)


def with_sound(clip: Clip, sound: Sound) -> Clip:
    """The clip with the sound that drives it, resampled only where MP4 cannot hold it."""
    from .audio.sound import writable
    from .types import Clip
    from .video.mux import AAC_RATES

    own = writable(sound, AAC_RATES)
    return Clip(clip.frames, own.waveform, clip.fps, own.sample_rate)


def under(voice: Tensor, footage: Footage, level: float) -> Tensor:
    """The voice [C, n] over the footage's own sound at ``level``."""
    from .audio.sound import read_sound, to_model_sound
    from .video.mux import mix

    if not level:
        return voice
    sound = read_sound(footage.path)
    return mix(voice, to_model_sound(sound.waveform, sound.sample_rate), level)


def place_of(options: argparse.Namespace) -> tuple[torch.device, torch.dtype]:
    """Where and in what the model computes. Raises ``ValueError`` for a device this machine does not have."""
    import torch

    name = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(check_device(name)), getattr(torch, options.dtype)


def guidance_of(options: argparse.Namespace, guidance: Guidance) -> Guidance:
    """The model's own guidance, with what the options change."""
    from .sampling import Outside, Unit

    asked = {
        "scale_video": options.scale_video,
        "scale_audio": options.scale_audio,
        "skip_layers": options.skip_layer,
        "outside": options.outside and Outside(options.outside),
    }
    if options.guided_share is not None:
        asked |= {"start": 0.0, "end": options.guided_share, "unit": Unit.STEPS}
    if options.interval is not None:
        asked |= {"start": options.interval[0], "end": options.interval[1], "unit": Unit.TIME}
    return replace(guidance, **{name: value for name, value in asked.items() if value is not None})


def build_parser() -> argparse.ArgumentParser:
    from .convert import add_convert
    from .download import add_download

    parser = Parser(prog="python -m uniavgen_core", description="Talking clips, pictures and sound together.")
    tasks = parser.add_subparsers(dest="task", required=True, metavar="task", parser_class=Parser)
    for name in TASKS:
        add_task(tasks, name).set_defaults(run=run)
    for add in (add_download, add_convert):
        add(tasks, formatter_class=Help, allow_abbrev=False)
    return parser


def is_out_of_memory(error: Exception) -> bool:
    """Of a full GPU PyTorch says so by a class of its own, of the computer's full memory only in words."""
    import torch

    full = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
    return full or "can't allocate memory" in str(error)


def sentence(error: Exception) -> str:
    """An error in words; the system's own errors are named with their file."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


if __name__ == "__main__":
    for sent in ENDINGS:  # being ended or losing the terminal leaves no file either
        signal.signal(sent, leave)
    sys.exit(main())
