"""The still part of a drawn face: wall, clothes, hair, skin and nose; then eyes, open or shut.

Painted from back to front. The light falls from the side where the hair is parted.
"""

from __future__ import annotations

import numpy as np

from .drawing import SIDE, Array, X, Y, curve, ellipse, glow, paint, rounded
from .looks import Face

SHADE = np.array((96, 46, 40), np.float32)  # what skin turns to in shadow
BLUSH = np.array((226, 96, 96), np.float32)
WHITE = np.array((246, 242, 238), np.float32)
LASHES = np.array((44, 32, 30), np.float32)
LOOSE = {"long": 66, "wavy": 60, "bobbed": 38}  # styles that frame the face: how far below its middle they end


def portrait(face: Face) -> Array:
    """The picture [128, 128, 3], 0 to 255, of the face without eyes and mouth."""
    light = 1.01 + face.side * 0.09 * (X - SIDE / 2) / SIDE - 0.22 * (Y / SIDE) ** 2
    canvas = face.wall * light[..., None]
    canvas += 10 * glow(64 + 40 * face.side, 30, 50, 50)[..., None]
    hair = _hair_colours(face)
    _back_hair(canvas, face, hair)
    _body(canvas, face)
    _head(canvas, face)
    _nose(canvas, face)
    _front_hair(canvas, face, hair)
    _brows(canvas, face)
    return canvas


def paint_eyes(canvas: Array, face: Face, lid: float) -> None:
    """Draws both eyes in place; ``lid`` is 0 for open and 1 for shut."""
    size, half = face.eye_size, 7.3
    y = face.y - 6.5
    u = np.linspace(-1, 1, 33)
    for side in (-1, 1):
        x = face.x + side * face.eye_distance
        across = x + half * u
        tilt = -0.8 * side * u  # outer corners a little higher
        arch = (1 - u**2) ** 0.75
        raised, lower = y + tilt - size * arch, y + tilt + 0.62 * size * arch
        upper = raised + lid * (lower - raised)
        almond = np.concatenate([np.stack([across, upper], 1), np.stack([across, lower], 1)[::-1]])
        socket = np.concatenate([np.stack([across, raised - 0.5], 1), np.stack([across, lower], 1)[::-1]])
        paint(canvas, face.skin * 0.9, socket)
        paint(canvas, WHITE, almond)
        paint(canvas, WHITE * 0.82, ellipse(x, y - size, half, 0.75 * size), within=almond, strength=0.6)
        middle = y + 0.1 - 0.19 * size
        radius = 0.9 * size
        paint(canvas, face.eyes * 0.55, ellipse(x, middle, radius, radius), within=almond)
        paint(canvas, face.eyes * 1.05, ellipse(x, middle, 0.8 * radius, 0.8 * radius), within=almond)
        paint(canvas, LASHES * 0.5, ellipse(x, middle, 0.45 * radius, 0.45 * radius), within=almond)
        gleam = ellipse(x + face.side * 1.2, middle - 1.3, 0.95, 0.95)
        paint(canvas, WHITE, gleam, within=almond, strength=0.95)
        thickness = (1.5 if face.woman else 1.0) * (0.55 + 0.45 * np.clip(side * u, -0.5, 1))
        lashes = np.stack([across, upper - thickness], 1)
        paint(canvas, LASHES, np.concatenate([lashes, np.stack([across, upper + 0.45], 1)[::-1]]))
        crease = np.stack([across, raised - 2 + 0.8 * u**2], 1)
        paint(canvas, face.skin * 0.72, np.concatenate([crease, crease[::-1] + (0, 0.8)]), strength=0.5)
        under = np.stack([across, lower], 1)[4:-4]
        paint(canvas, face.skin * 0.62, np.concatenate([under, under[::-1] + (0, 0.7)]), strength=0.6)


def _hair_colours(face: Face) -> Array:
    """The hair's colour at each pixel: strands from the parting, a shine across the top."""
    from_x, from_y = X - face.x - 8 * face.side, Y - face.y + 40
    strands = np.sin(46 * np.arctan2(from_x, from_y + 30)) + 0.6 * np.sin(31 * np.arctan2(from_x, from_y + 45))
    shine = glow(face.x + 14 * face.side, face.y - 40, 24, 9)
    lightness = 0.97 + 0.05 * strands + 0.18 * shine - 0.14 * np.clip((Y - face.y) / 60, -0.4, 1)
    return face.hair * lightness[..., None] + 26 * shine[..., None]


def _back_hair(canvas: Array, face: Face, hair: Array) -> None:
    x, y, half = face.x, face.y, face.half_width
    if face.style == "tied":
        paint(canvas, hair * 0.9, ellipse(x + 3 * face.side, y - 50, 15, 13))
        return
    if face.style not in LOOSE:
        return
    bottom = LOOSE[face.style]
    wide = half + (12 if face.style == "wavy" else 8)
    right = [(0, -53), (half * 0.8, -42), (wide - 2, -10), (wide, 18), (wide + 1, bottom - 12), (wide - 8, bottom)]
    points = np.array([*right, *[(-px, py) for px, py in right[:0:-1]]]) + (x, y)
    outline = rounded(points, 128)
    if face.style == "wavy":
        below = np.clip((outline[:, 1] - y + 30) / 40, 0, 1)
        outline[:, 0] += 2.2 * below * np.sin(outline[:, 1] / 3.2)
    paint(canvas, hair * 0.8, outline)


def _body(canvas: Array, face: Face) -> None:
    x, y = face.x, face.y
    neck, shoulder = (11.5, 45) if face.woman else (15, 54)
    skin = face.skin * 0.9
    line = curve([(neck, 24), (neck - 0.5, 40), (neck + 4, 49), (neck + 14, 54)], 16)
    throat = np.concatenate([line, [(0, 66)], (line * (-1, 1))[::-1]]) + (x, y)
    shadow = glow(x, y + 40, 16, 13)[..., None]
    paint(canvas, skin + 0.35 * shadow * (face.skin * 0.62 - skin), throat)

    dip = {"round": 58, "pointed": 66, "collar": 60}[face.neckline]
    inner = neck + 3
    if face.neckline == "round":
        hem = ellipse(0, 48, inner, dip - 48, 0, 180)
    else:
        hem = np.array([(inner, 47), (0, dip), (-inner, 47)])
    sleeve = curve([(shoulder + 5, 78), (shoulder - 2, 62), (shoulder - 16, 53), (inner, 47)], 24)
    outline = np.concatenate([sleeve, hem, (sleeve * (-1, 1))[::-1], [(-shoulder, 90), (shoulder, 90)]]) + (x, y)
    light = (
        1 + 0.1 * face.side * (X - x) / 50 - 0.12 * ((X - x) / 55) ** 2 + 0.05 * glow(x + 26 * face.side, y + 58, 18, 9)
    )
    light = light - 0.1 * glow(x - 30, y + 74, 3, 14) - 0.1 * glow(x + 30, y + 74, 3, 14)
    shirt = face.shirt * light[..., None]
    paint(canvas, shirt, outline)
    edge = np.concatenate([hem, (hem * (1.1, 1) + (0, 2.2))[::-1]]) + (x, y)
    paint(canvas, shirt * 0.82, edge)
    if face.neckline == "collar":
        for side in (-1, 1):
            flap = np.array([(inner - 1, 43), (1, 60), (9, 68), (inner + 8, 50)]) * (side, 1) + (x, y)
            paint(canvas, shirt * 0.8, flap + (0, 1.2), strength=0.6)
            paint(canvas, np.minimum(shirt * 1.08 + 6, 255), flap)


def _skin(face: Face) -> Array:
    """The face's skin at each pixel: light from one side, cheeks, shadow of eyes and chin."""
    u, v = (X - face.x) / face.half_width, (Y - face.y) / face.half_height
    light = 1.02 + 0.05 * face.side * u - 0.03 * v + 0.05 * glow(face.x + 5 * face.side, face.y - 26, 22, 12)
    rim = np.clip(u**2 + v**2, 0, 1) ** 2.5
    skin = face.skin * light[..., None]
    skin += (0.24 * rim)[..., None] * (face.skin * 0.35 + SHADE * 0.45 - skin)
    for side in (-1, 1):
        cheek = glow(face.x + side * 20, face.y + 11, 9, 7.5)
        skin += (cheek * (0.2 if face.woman else 0.12))[..., None] * (BLUSH - skin)
        socket = glow(face.x + side * face.eye_distance, face.y - 9, 10, 5)
        skin += (0.13 * socket)[..., None] * (face.skin * 0.6 - skin)
    chin = glow(face.x, face.y + 38, 9, 3.5)
    return skin + (0.03 * chin)[..., None] * (255 - skin)


def _head(canvas: Array, face: Face) -> None:
    for side in (-1, 1):
        ear = (face.x + side * (face.half_width - 0.5), face.y + 2)
        paint(canvas, face.skin * 0.93, ellipse(*ear, 5, 9))
        paint(canvas, face.skin * 0.76, ellipse(ear[0] + side * 0.8, ear[1] - 0.5, 2.4, 5.5), strength=0.7)
    paint(canvas, _skin(face), face.outline)


def _nose(canvas: Array, face: Face) -> None:
    x, y, half = face.x, face.y, face.nose
    dark = face.skin * 0.72
    bridge = curve([(2.4, -8), (2.2, 0), (half - 0.6, 8), (half, 11), (half - 1.6, 13)], 24) * (-face.side, 1) + (x, y)
    inside = curve([(1.2, -8), (0.6, 0), (1.2, 7), (2.2, 11), (half - 1.6, 13)], 24) * (-face.side, 1) + (x, y)
    paint(canvas, dark, np.concatenate([bridge, inside[::-1]]), strength=0.28)
    under = curve([(-half, 10.5), (-half * 0.6, 13.2), (0, 14), (half * 0.6, 13.2), (half, 10.5)], 24)
    lifted = curve([(-half, 10.5), (-half * 0.55, 12), (0, 12.6), (half * 0.55, 12), (half, 10.5)], 24)
    paint(canvas, dark, np.concatenate([under, lifted[::-1]]) + (x, y), strength=0.75)
    for side in (-1, 1):
        paint(canvas, face.skin * 0.58, ellipse(x + side * half * 0.45, y + 12.4, 1.3, 0.75), strength=0.7)
    tip = glow(x + 0.8 * face.side, y + 8.5, 2.6, 2.6) * 0.16 + glow(x + 0.6 * face.side, y - 1, 1.6, 8) * 0.1
    canvas += tip[..., None] * (255 - canvas)


def _hairline(style: str, half: float, side: int) -> Array:
    """The hair's edge on the forehead [N, 2] from ear to ear, from the face's middle; parted on the given side."""
    ear, temple = half - 2.5, half - 4
    points = {
        "long": [(ear, 4), (temple, -16), (24, -28), (9, -37), (-6, -34), (-20, -27), (-temple, -14), (-ear, 4)],
        "wavy": [(ear, 4), (temple, -16), (15, -30), (0, -37), (-15, -30), (-temple, -16), (-ear, 4)],
        "bobbed": [(ear, 4), (temple, -14), (18, -21), (0, -22), (-18, -21), (-temple, -14), (-ear, 4)],
        "tied": [(ear, -4), (temple, -20), (15, -33), (0, -36), (-15, -33), (-temple, -20), (-ear, -4)],
        "short": [(ear, 0), (temple, -18), (20, -28), (0, -31), (-20, -28), (-temple, -18), (-ear, 0)],
        "parted": [(ear, 0), (temple, -18), (24, -28), (14, -35), (-4, -32), (-19, -26), (-temple, -16), (-ear, 0)],
        "curly": [(ear, 0), (temple, -17), (19, -26), (0, -28), (-19, -26), (-temple, -17), (-ear, 0)],
    }[style]
    line = curve(points, 48)
    return line if side > 0 else (line * (-1, 1))[::-1]


def _front_hair(canvas: Array, face: Face, hair: Array) -> None:
    x, y, half = face.x, face.y, face.half_width
    top = {"short": 51, "parted": 54}.get(face.style, 52)
    wide = half + (4 if face.woman else 1.5)
    line = _hairline(face.style, half, face.side)
    from_ear = np.degrees(np.arcsin(line[0, 1] / top))
    cap = np.concatenate([ellipse(0, 0, wide, top, 180 - from_ear, 360 + from_ear), line]) + (x, y)
    paint(canvas, face.skin * 0.7, cap + (0, 1.6), within=face.outline, strength=0.4)
    paint(canvas, hair, cap)
    if face.style == "curly":
        for ring, (count, inwards) in enumerate(((13, 1), (11, 9), (9, 17))):
            for angle in np.radians(np.linspace(192 + 13 * ring, 348 - 13 * ring, count)):
                curl = (x + (wide - inwards) * np.cos(angle), y + 2 + (top - inwards) * np.sin(angle))
                paint(canvas, hair * 0.86, ellipse(*curl, 6.5, 6.5))
                paint(canvas, hair * (0.98 + 0.04 * ring), ellipse(curl[0] + 0.8 * face.side, curl[1] - 0.8, 5.2, 5.2))
    if face.style in LOOSE:
        length = LOOSE[face.style] - 3
        lock = [(half - 3, -22), (half + 4, -20), (half + 7, 10), (half + 8, length - 18), (half + 2, length)]
        lock += [(half - 5, length - 14), (half - 1, 18), (half - 2, -2)]
        for side in (-1, 1):
            outline = rounded(np.array(lock) * (side, 1)) + (x, y)
            if face.style == "wavy":
                outline[:, 0] += 1.6 * np.sin(outline[:, 1] / 3.2)
            paint(canvas, hair * 0.95, outline)


def _brows(canvas: Array, face: Face) -> None:
    colour = face.hair * 0.62 + 0.12 * face.skin
    for side in (-1, 1):
        x, y = face.x + side * face.eye_distance, face.y - 15.5
        line = curve(np.array([(-7, 0), (-2, -1.3), (3, -1.5), (8.5, 1.4)]) * (side, 1) + (x, y), 24)
        taper = np.interp(np.linspace(0, 1, 24), (0, 0.15, 0.6, 1), (0.6, 1, 0.8, 0.15)) * face.brow
        below = line + np.stack([0 * taper, taper], 1)
        paint(canvas, colour, np.concatenate([line, below[::-1]]), strength=0.88)
