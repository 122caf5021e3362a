"""Clips of any length, window by window: each goes on from the last latents and audio tokens of the one before.

A window that starts at latent g starts at frame 4g and at audio token 25g exactly, so time runs on. Only its first
latent differs from latent g of the whole clip: it holds one frame, the last of that latent's four.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from .geometry import TRAINED_FRAMES, ClipLength
from .text.script import check_fits, divide, last_words
from .types import AVLatent, VideoAutoencoder

TOKENS_PER_LATENT = 25
OVERLAP = 6  # latents: 21 frames, 1.3 s


@dataclass(frozen=True)
class Window:
    """A part of a long clip.

    start: its first latent, counted in the whole clip
    latents: how many it has; overlap: how many of them, at its beginning, the windows before have made, or, in the
        first window, the clip that it goes on from
    """

    start: int
    latents: int
    overlap: int

    @property
    def length(self) -> ClipLength:
        return ClipLength.from_latents(self.latents)

    @property
    def end(self) -> int:
        """The latent after its last one."""
        return self.start + self.latents

    @property
    def tokens(self) -> slice:
        """Its audio tokens in the whole clip."""
        first = self.start * TOKENS_PER_LATENT
        return slice(first, first + self.length.tokens)

    @property
    def overlap_tokens(self) -> int:
        return ClipLength.from_latents(self.overlap).tokens if self.overlap else 0

    @property
    def repeated(self) -> int:
        """Frames of it that the windows before have made."""
        return ClipLength.from_latents(self.overlap).frames if self.start else 0

    @property
    def given_seconds(self) -> float:
        """Seconds at its beginning that another clip has made, in which nothing new is said."""
        return ClipLength.from_latents(self.overlap).seconds if self.overlap and not self.start else 0.0

    def check_text(self, text: str) -> None:
        """Raises ``ValueError`` if no one can say the text in the window."""
        check_fits(text, self.length.seconds, self.given_seconds)


def plan_windows(
    length: ClipLength, window: int = TRAINED_FRAMES, overlap: int = OVERLAP, given: int = 0
) -> list[Window]:
    """Windows that cover a clip, each of ``window`` frames, the last one reaching back as far as it must.

    given: how many latents, with their sound, an earlier clip has made
    Raises ``ValueError`` if the overlap is not from 1 to one latent less than a window, or nothing is left to make.
    """
    latents = min(ClipLength(window).latents, length.latents)
    if given >= latents:
        raise ValueError(
            f"{given} latents, {ClipLength.from_latents(given).frames} frames, of an earlier clip leave nothing to "
            f"make in {ClipLength.from_latents(latents).frames} frames: ask for more, or go on from fewer latents"
        )
    if length.latents == latents:
        return [Window(0, latents, given)]
    if not 1 <= overlap < latents:
        raise ValueError(f"windows of {latents} latents can overlap by 1 to {latents - 1} latents, not {overlap}")
    windows, made = [Window(0, latents, given)], latents
    while made < length.latents:
        start = min(made - overlap, length.latents - latents)
        windows.append(Window(start, latents, made - start))
        made = start + latents
    return windows


def cut(whole: AVLatent, window: Window, first: Tensor | None) -> AVLatent:
    """The window's latents and tokens; what windows before have made is given.

    first: [B, 48, 1, H/16, W/16], the window's first frame as a latent (`first_frame`); None for the first window
    """
    video = whole.video[:, :, window.start : window.end].clone()
    if first is not None:
        video[:, :, :1] = first
    audio = whole.audio[:, :, window.tokens]
    return AVLatent(
        video,
        audio,
        max(window.overlap, min(whole.clean_video - window.start, window.latents)),
        max(window.overlap_tokens, min(whole.clean_audio - window.tokens.start, audio.shape[2])),
    )


def paste(whole: AVLatent, window: Window, part: AVLatent) -> AVLatent:
    """The whole clip with what the window has made written into it."""
    video, audio = whole.video.clone(), whole.audio.clone()
    video[:, :, window.start + window.overlap : window.end] = part.video[:, :, window.overlap :]
    tokens = window.tokens
    audio[:, :, tokens.start + window.overlap_tokens : tokens.stop] = part.audio[:, :, window.overlap_tokens :]
    return replace(whole, video=video, audio=audio)


def first_frame(vae: VideoAutoencoder, whole: AVLatent, window: Window) -> Tensor | None:
    """The frame at which a later window starts, as a latent of its own [B, 48, 1, H/16, W/16]; None for the first."""
    if not window.start:
        return None
    before = whole.video[:, :, max(0, window.start + 1 - window.latents) : window.start + 1]
    return vae.encode(vae.decode(before)[:, :, -1:])


def continued(whole: AVLatent) -> int:
    """How many leading latents of a clip come, with their sound, from an earlier one."""
    return whole.clean_video if 0 < whole.clean_audio < whole.audio.shape[2] else 0


def last_latents(vae: VideoAutoencoder, whole: AVLatent, latents: int) -> tuple[Tensor, Tensor]:
    """The end of a clip as the beginning of another that goes on from it: latents [B, 48, k, ...], tokens [B, 80, n].

    Raises ``ValueError`` if the clip has not so many latents.
    """
    have = whole.video.shape[2]
    if not 1 <= latents <= have:
        raise ValueError(
            f"the earlier clip has {have} latents, so one can go on from 1 to {have} of them, not {latents}"
        )
    end = Window(have - latents, ClipLength(TRAINED_FRAMES).latents, latents)
    part = cut(whole, end, first_frame(vae, whole, end))
    return part.video, part.audio


def texts(speech: str, windows: list[Window]) -> list[str]:
    """What is said in each window: its own part of the speech, after what its overlap repeats of those before."""
    parts = divide(speech, [window.latents - window.overlap for window in windows])
    said = []
    for index, window in enumerate(windows):
        repeated = [
            last_words(part, min(1.0, (before.end - window.start) / (before.latents - before.overlap)))
            for before, part in zip(windows[:index], parts, strict=False)
            if before.end > window.start
        ]
        said.append(" ".join(filter(None, (*repeated, parts[index]))))
    return said
