"""What becomes of the things given that a person may not expect: said as warnings, which the node shows."""

from __future__ import annotations

import logging
from typing import Any

from ..uniavgen_core.text.script import seconds_of

STRETCHED, ENLARGED = 1.08, 2.0  # times, from which it is seen
NOTICED = 0.25  # seconds of sound or pictures that are cut off or missing; a clip comes in latents of so many
HURRIED = 1.3  # times the usual pace

log = logging.getLogger(__name__)


def on_size(name: str, size: tuple[int, int], clip: tuple[int, int]) -> None:
    """A picture is resized to the clip, whatever its proportions. Sizes: (height, width)."""
    (height, width), (clip_height, clip_width) = size, clip
    scales = clip_height / height, clip_width / width
    shown = f"{name} is {width} x {height} and the clip {clip_width} x {clip_height}"
    if max(scales) > STRETCHED * min(scales):
        longer = "wider" if scales[1] > scales[0] else "taller"
        log.warning(
            "%s: it is stretched, %.0f %% %s than it was; crop it to the clip's proportions, or give the clip its size",
            shown,
            100 * (max(scales) / min(scales) - 1),
            longer,
        )
    if min(scales) > ENLARGED:
        log.warning("%s: it is enlarged %.1f times and will look soft", shown, min(scales))


def on_first_only(name: str, count: int) -> None:
    """Of a batch the first is used."""
    if count > 1:
        log.warning("%d are connected to %s: only the first is used", count, name)


def on_shorter(name: str, seconds: float, clip: float, rest: str) -> None:
    """What is given does not last as long as the clip."""
    if clip - seconds > NOTICED:
        log.warning("%s lasts %.2f s and the clip %.2f s: %s", name, seconds, clip, rest)


def on_pace(text: str, seconds: float) -> None:
    """What is said takes longer than there is time."""
    needed = seconds_of(text)
    if needed > HURRIED * seconds:
        log.warning(
            "the speech takes about %.1f s at the usual pace and there are %.1f s for it: it will be hurried or cut",
            needed,
            seconds,
        )


def on_fitted_sound(seconds: float, pictures: float) -> None:
    """Sound is cut or filled up to the length of the pictures."""
    lengths = f"the sound lasts {seconds:.2f} s and the pictures {pictures:.2f} s"
    if seconds - pictures > NOTICED:
        log.warning("%s: the last %.2f s of the sound are cut off", lengths, seconds - pictures)
    elif pictures - seconds > NOTICED:
        log.warning("%s: the last %.2f s are silent", lengths, pictures - seconds)


def on_caption(caption: Any, read: int) -> None:
    """Of an encoded caption [1, N, width] the model reads so many tokens."""
    tokens = caption.shape[1]
    if tokens > read:
        log.warning(
            "the caption has %d tokens, of which the model reads the first %d: the rest has no effect", tokens, read
        )


def on_image_beside_source(images: Any) -> None:
    """A dubbed source keeps its own pictures."""
    if images is not None:
        log.warning("the source's own pictures are used: 'images' has no effect beside it")
