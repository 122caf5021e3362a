"""How far lips and sound lie apart at each shift, as a picture: a deep valley is good, and where it lies the offset."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .score import FARTHEST, SyncScore

WIDTH, HEIGHT = 720, 440  # pixels
LEFT, RIGHT, TOP, BOTTOM = 64, 72, 56, 64  # around the curve
PAPER, INK, FAINT, CURVE, MARK = (20, 20, 24), (225, 225, 225), (70, 70, 78), (120, 180, 255), (255, 160, 60)
TICKS = 5  # offsets between two numbers
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # between lines of distance
MOST_LINES = 7


def picture(found: SyncScore) -> np.ndarray:
    """uint8 [440, 720, 3]: the distance over the offset, its least marked, its median a dashed line."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw, font, large = ImageDraw.Draw(image), ImageFont.load_default(14), ImageFont.load_default(18)
    median = found.distance + found.confidence
    lowest, highest, step = _scale(min(found.distances), max(found.distances))

    def x(offset: int) -> float:
        return LEFT + (offset + FARTHEST) / (2 * FARTHEST) * (WIDTH - LEFT - RIGHT)

    def y(distance: float) -> float:
        return HEIGHT - BOTTOM - (distance - lowest) / (highest - lowest) * (HEIGHT - TOP - BOTTOM)

    for line in range(round((highest - lowest) / step) + 1):
        distance = lowest + line * step
        draw.line((LEFT, y(distance), WIDTH - RIGHT, y(distance)), FAINT)
        draw.text((LEFT - 8, y(distance)), f"{distance:g}" if step >= 1 else f"{distance:.2f}", INK, font, "rm")
    for offset in range(-FARTHEST, FARTHEST + 1):
        draw.line((x(offset), HEIGHT - BOTTOM, x(offset), HEIGHT - BOTTOM + (7 if offset % TICKS == 0 else 3)), INK)
        if offset % TICKS == 0:
            draw.text((x(offset), HEIGHT - BOTTOM + 10), f"{offset:+d}" if offset else "0", INK, font, "mt")
    for left in range(LEFT, WIDTH - RIGHT, 12):
        draw.line((left, y(median), left + 6, y(median)), INK)
    draw.text((WIDTH - RIGHT + 8, y(median)), "median", INK, font, "lm")
    curve = [(x(FARTHEST - index), y(distance)) for index, distance in enumerate(found.distances)]
    draw.line((x(found.offset), y(median), x(found.offset), y(found.distance)), MARK, 2)  # the confidence
    draw.line(curve, CURVE, 2)
    for place in curve:
        draw.circle(place, 3, CURVE)
    draw.circle((x(found.offset), y(found.distance)), 6, MARK)
    title = f"LSE-C {found.confidence:.2f}   LSE-D {found.distance:.2f}   offset {found.offset:+d}"
    draw.text((LEFT, 10), title, MARK, large)
    draw.text((LEFT, 34), "mean distance of lips and sound", INK, font)
    draw.text((LEFT, HEIGHT - 14), "lips come first", INK, font, "ls")
    draw.text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14), "offset, in pictures of 1/25 s", INK, font, "ms")
    draw.text((WIDTH - RIGHT, HEIGHT - 14), "sound comes first", INK, font, "rs")
    return np.array(image)


def _scale(least: float, most: float) -> tuple[float, float, float]:
    """Multiples of a round step around both, and the step."""
    step = next((step for step in STEPS if (most - least) / step <= MOST_LINES - 2), STEPS[-1])
    lowest, highest = np.floor(least / step) * step, np.ceil(most / step) * step
    return float(lowest), float(max(highest, lowest + step)), step
