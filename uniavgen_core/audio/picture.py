"""A mel as a picture to look at: time to the right in seconds, pitch upwards in hertz, loud is bright."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .mel import FLOOR, MAX_FREQUENCY, MEL_BINS
from .places import Place

TOKENS_A_SECOND = 100
BIN_HEIGHT = 4  # pixels
WIDEST, TOKEN_WIDTH = 4096, 2  # pixels
LEFT, BOTTOM, TOP, RIGHT = 56, 22, 8, 12  # margins for the scales
WORDS = 16  # pixels of the line of words above the mel
LOUDEST = 2.5  # of a log-mel at full scale, about
# from silent to loud
COLOURS = np.array([(8, 8, 24), (60, 20, 110), (170, 45, 110), (240, 120, 50), (255, 240, 170)], np.float64)
HERTZ = (250, 500, 1000, 2000, 4000, 8000)
INK = (225, 225, 225)


def mel_picture(log_mel: Tensor, words: Sequence[Place] = ()) -> np.ndarray:
    """Log-mel [80, L], not normalised -> uint8 [H, W, 3]. ``ValueError`` if it has no tokens.

    words: written in a line above it, each where it begins
    """
    bins, tokens = log_mel.shape
    if not tokens:
        raise ValueError("the mel has no tokens, so there is nothing to draw")
    quietest = np.log(FLOOR)
    level = (log_mel.detach().float().cpu().numpy()[::-1] - quietest) / (LOUDEST - quietest)
    level = np.nan_to_num(level).clip(0, 1) * (len(COLOURS) - 1)
    colours = [np.interp(level, range(len(COLOURS)), channel) for channel in COLOURS.T]
    pixels = Image.fromarray(np.stack(colours, axis=-1).round().astype(np.uint8))
    width, height = min(WIDEST, max(240, TOKEN_WIDTH * tokens)), BIN_HEIGHT * bins
    kind = Image.Resampling.NEAREST if width >= tokens else Image.Resampling.BOX
    image = Image.new("RGB", (LEFT + width + RIGHT, TOP + height + BOTTOM), (20, 20, 24))
    image.paste(pixels.resize((width, height), kind), (LEFT, TOP))
    _draw_scales(ImageDraw.Draw(image), width, height, tokens / TOKENS_A_SECOND)
    if not words:
        return np.array(image)
    above = Image.new("RGB", (image.width, image.height + WORDS), (20, 20, 24))
    above.paste(image, (0, WORDS))
    _draw_words(ImageDraw.Draw(above), words, height, width / tokens)
    return np.array(above)


def _draw_words(draw: ImageDraw.ImageDraw, words: Sequence[Place], height: int, token_width: float) -> None:
    """Each word at its place, and a line down where it begins. A word that would cover the one before is left out."""
    font = ImageFont.load_default()
    free = 0.0  # where the line of words is not written on yet
    for word in words:
        x = LEFT + word.start * token_width
        draw.line((x, WORDS + TOP, x, WORDS + TOP + height), (120, 120, 130))
        if x >= free:
            draw.text((x, 4), word.text, INK, font, anchor="lt")
            free = x + font.getlength(word.text) + 4


def _draw_scales(draw: ImageDraw.ImageDraw, width: int, height: int, seconds: float) -> None:
    font = ImageFont.load_default()
    for hertz in HERTZ:
        y = TOP + height * (1 - _height_of(hertz))
        draw.line((LEFT - 5, y, LEFT - 1, y), INK)
        draw.text((LEFT - 8, min(max(y, TOP + 5), TOP + height - 5)), f"{hertz} Hz", INK, font, anchor="rm")
    step = next(step for step in (0.1, 0.5, 1, 5, 10, 60, 600) if seconds / step * 45 <= width or step == 600)
    for i in range(int(seconds / step) + 1):
        x = LEFT + width * i * step / seconds
        draw.line((x, TOP + height, x, TOP + height + 5), INK)
        draw.text((x, TOP + height + 7), f"{i * step:g} s", INK, font, anchor="mt")


def _height_of(hertz: float) -> float:
    """Where a frequency lies between the bottom of the picture (0) and its top (1), on Slaney's scale."""

    def mel(hertz: float) -> float:
        return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)

    filters = mel(hertz) / mel(MAX_FREQUENCY) * (MEL_BINS + 1)  # filter 1 is the lowest bin
    return min(1.0, float(filters - 0.5) / MEL_BINS)
