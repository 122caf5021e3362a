"""A run of a sampler as the node shows it: a moving picture of the clip so far, its steps, and the time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.utils
import latent_preview
import torch
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL import Image
from torch import Tensor

from ..uniavgen_core.geometry import TEMPORAL_STRIDE, VIDEO_FPS
from .adapter_latent import after_first
from .notices import tell_state

PICTURES_A_SECOND = VIDEO_FPS // TEMPORAL_STRIDE  # a picture for each latent, as fast as the clip itself
Callback = Callable[[int, Any, Any, int], None]


@contextmanager
def shown_on_node(model: Any, steps: int) -> Iterator[Callback]:
    """Gives what the host calls after each of ``steps``: step from 0, guess of the clip, noised clip, steps.

    The pictures are those of the preview method that is set in the host. By colours (latent2rgb, auto) all of the clip
    is shown, again and again, also while a long step is computed; by a small decoder (taesd) a picture with each step.
    """
    latent_format = model.model.latent_format
    previewer = latent_preview.get_previewer(model.load_device, latent_format)
    bar, clock, film = comfy.utils.ProgressBar(steps), StepClock(steps), Film(steps)

    def callback(step: int, guess: Any, noised: Any, total: int) -> None:
        video = None if previewer is None else latent_format.video_of(guess)
        if video is None:
            film.pictures = []
        elif isinstance(previewer, latent_preview.Latent2RGBPreviewer):
            film.pictures = by_colours(previewer, video)
        else:
            place = (step + 1) % video.shape[2]
            film.pictures = [previewer.decode_latent_to_preview_image("JPEG", video[:1, :, place : place + 1])[1]]
        with film.lock:
            film.done = step + 1
            bar.update_absolute(film.done, steps, film.picture())
        tell_state(clock.sentence(step + 1))

    with film:
        yield callback


class Film:
    """Shows the latest pictures of a clip one after another on the node that runs, by a thread of its own.

    The thread never asks the host whether to stop: that would take the word from the sampler.
    """

    def __init__(self, steps: int):
        self.steps, self.done = steps, 0
        self.pictures: list[Image.Image] = []
        self.lock = threading.Lock()
        self._start = time.monotonic()
        self._over = threading.Event()
        context = get_executing_context()
        self._node = None if context is None else context.node_id
        self._thread = threading.Thread(target=self._play, name="uniavgen preview", daemon=True)

    def picture(self) -> tuple[str, Image.Image, int] | None:
        """The picture of this moment, as the host sends it."""
        pictures = self.pictures
        if not pictures:
            return None
        place = len(pictures) // 2 + int((time.monotonic() - self._start) * PICTURES_A_SECOND)
        return "JPEG", pictures[place % len(pictures)], latent_preview.MAX_PREVIEW_RESOLUTION

    def __enter__(self) -> Film:
        if self._node is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _play(self) -> None:
        while not self._over.wait(1 / PICTURES_A_SECOND):
            with self.lock:
                if len(self.pictures) > 1:
                    get_progress_state().update_progress(self._node, self.done, self.steps, self.picture())


class StepClock:
    """Counts the steps of a run and says how long the rest takes."""

    def __init__(self, steps: int, now: Callable[[], float] = time.monotonic):
        self._steps, self._now = steps, now
        self._start = now()
        self._first: float | None = None  # when the first step ended: it also loads, compiles and prepares

    def sentence(self, done: int) -> str:
        now = self._now()
        if done >= self._steps:
            return f"{self._steps} step{'s' * (self._steps > 1)} in {spoken(now - self._start)}"
        if self._first is None:
            self._first, self._counted = now, done
        steady = done - self._counted
        each = (now - self._first) / steady if steady else (now - self._start) / done
        return f"step {done} of {self._steps}, about {spoken(each * (self._steps - done))} left"


def by_colours(previewer: latent_preview.Latent2RGBPreviewer, video: Tensor) -> list[Image.Image]:
    """A small picture of each latent of the first clip in [B, 48, T, h, w], but its first."""
    weight, bias = previewer.latent_rgb_factors, previewer.latent_rgb_factors_bias
    clip = after_first(video)[0].movedim(0, -1).float()  # [T - 1, h, w, 48]
    colours = torch.nn.functional.linear(clip, weight.to(clip), None if bias is None else bias.to(clip))
    pixels = ((colours + 1) / 2).clamp(0, 1).mul(255).nan_to_num().to("cpu", torch.uint8)
    return [Image.fromarray(picture.numpy()) for picture in pixels]


def spoken(seconds: float) -> str:
    """8 s, 1 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
