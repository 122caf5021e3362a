"""Pictures of what was made: frames over their curves, and the mel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from uniavgen_core.audio.mel import denormalize
from uniavgen_core.audio.picture import mel_picture
from uniavgen_core.geometry import VIDEO_FPS

from ..clips import Clip
from ..drawing import Array
from ..faces import mouth_opening
from .reader import Reader
from .tasks import Made, Task

SHOWN = 10  # frames in a strip
GAP = 4  # pixels between them


def strip(frames: Array) -> Array:
    """uint8 [F, H, W, 3] -> some of them, evenly spread, side by side on white."""
    shown = frames[np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)]
    spaced = np.pad(shown, ((0, 0), (0, 0), (0, GAP), (0, 0)), constant_values=255)
    return np.concatenate(list(spaced), axis=1)[:, :-GAP]


def curves(task: Task, clip: Clip, made: Made, reader: Reader) -> dict[str, Array]:
    """What to compare, each [F]: the true opening only where its timing was given."""
    found = {
        "mouth, from pixels": mouth_opening(made.frames),
        "heard in the sound": reader.read(made.tokens, len(made.frames)),
    }
    return {"true": clip.opening, **found} if task in (Task.DRIVEN, Task.ALONE) else found


def draw(path: Path, task: Task, clip: Clip, made: Made, reader: Reader) -> None:
    """Writes ``path`` (a PNG): frames, the curves under them, what is said."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.2, 3.9), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(1, 1.3))
    above.imshow(strip(made.frames))
    above.set_axis_off()
    above.set_title(f"{task.value}: “{clip.text}”", fontsize=10)
    times = np.arange(len(made.frames)) / VIDEO_FPS
    for name, curve in curves(task, clip, made, reader).items():
        below.plot(times, curve, label=name, color="black" if name == "true" else None)
    below.set(xlabel="seconds", ylabel="opening", xlim=(0, times[-1]), ylim=(-0.03, 1.03))
    below.legend(loc="upper right", fontsize=8)
    figure.savefig(path, dpi=100)


def draw_mel(path: Path, made: Made) -> None:
    """Writes ``path`` (a PNG): the sound's mel."""
    Image.fromarray(mel_picture(denormalize(made.tokens))).save(path)
