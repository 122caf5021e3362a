"""What a drawn person looks like: chosen at random, told in words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .drawing import SIDE, Array, bounds, coverage

# Colours are red, green, blue from 0 to 255; the names are those of the captions.
SKINS = np.array([(252, 224, 203), (242, 202, 172), (228, 178, 142), (200, 146, 108), (164, 112, 80), (136, 92, 68)])
HAIRS = {
    "black": (42, 35, 34),
    "dark brown": (72, 47, 34),
    "brown": (112, 72, 46),
    "blond": (212, 176, 110),
    "red": (164, 78, 42),
    "grey": (164, 161, 156),
}
EYES = {"blue": (74, 118, 172), "green": (84, 130, 84), "brown": (102, 64, 38), "grey": (118, 130, 142)}
SHIRTS = {
    "red": (184, 52, 56),
    "blue": (52, 88, 164),
    "green": (56, 126, 88),
    "yellow": (228, 190, 84),
    "white": (234, 232, 226),
    "black": (50, 50, 56),
    "purple": (116, 74, 146),
    "orange": (220, 126, 62),
    "grey": (134, 138, 144),
    "pink": (226, 146, 166),
}
WALLS = {
    "blue": (134, 168, 202),
    "green": (152, 184, 152),
    "beige": (222, 206, 178),
    "grey": (172, 175, 180),
    "white": (238, 236, 232),
    "pink": (230, 198, 198),
    "yellow": (236, 217, 154),
    "purple": (182, 170, 208),
}
WOMEN_S_HAIR = ("long", "wavy", "bobbed", "tied")
MEN_S_HAIR = ("short", "parted", "curly")
NECKLINES = ("round", "pointed", "collar")
COLOUR_SPREAD = 9
DARK_SKIN = 0.6


@dataclass(frozen=True)
class Face:
    """A person seen from the front. Lengths in pixels, colours [3] from 0 to 255."""

    woman: bool
    skin: Array
    hair: Array
    eyes: Array
    lips: Array
    shirt: Array
    wall: Array
    hair_name: str
    eyes_name: str
    shirt_name: str
    wall_name: str
    style: str
    neckline: str
    x: float  # the middle between the ears
    y: float
    half_width: float
    half_height: float
    jaw: float  # how much narrower the face gets towards the chin
    eye_distance: float  # from the middle
    eye_size: float
    brow: float  # thickness
    nose: float  # half width
    side: int  # -1 or 1: where the hair is parted, and the light comes from

    @classmethod
    def random(cls, rng: np.random.Generator, woman: bool) -> Face:
        """Any face of that sex; every number is continuous, so no two are alike."""
        tone = rng.uniform()
        position = tone * (len(SKINS) - 1)
        skin = np.array([np.interp(position, range(len(SKINS)), channel) for channel in SKINS.T], np.float32)

        def pick(colours: dict[str, tuple[int, int, int]]) -> tuple[str, Array]:
            name = str(rng.choice(list(colours)))
            return name, (np.array(colours[name]) + rng.uniform(-COLOUR_SPREAD, COLOUR_SPREAD, 3)).astype(np.float32)

        dark = tone > DARK_SKIN
        hair_name, hair = pick({name: HAIRS[name] for name in ("black", "dark brown")} if dark else HAIRS)
        eyes_name, eyes = pick({"brown": EYES["brown"]} if dark else EYES)
        shirt_name, shirt = pick(SHIRTS)
        wall_name, wall = pick(WALLS)
        tint = np.array((206, 74, 88) if woman else (196, 100, 92), np.float32)
        share = rng.uniform(0.55, 0.75) if woman else rng.uniform(0.3, 0.45)
        lips = skin * (1 - share) + tint * share - 22 * tone
        return cls(
            woman=woman,
            skin=skin,
            hair=hair,
            eyes=eyes,
            lips=lips,
            shirt=shirt,
            wall=wall,
            hair_name=hair_name,
            eyes_name=eyes_name,
            shirt_name=shirt_name,
            wall_name=wall_name,
            style=str(rng.choice(WOMEN_S_HAIR if woman else MEN_S_HAIR)),
            neckline=str(rng.choice(NECKLINES)),
            x=64 + rng.uniform(-4, 4),
            y=66 + rng.uniform(-4, 4),
            half_width=rng.uniform(32.5, 35.5) if woman else rng.uniform(34, 37),
            half_height=rng.uniform(44.5, 46.5),
            jaw=rng.uniform(0.2, 0.28) if woman else rng.uniform(0.08, 0.16),
            eye_distance=rng.uniform(14, 15.5),
            eye_size=rng.uniform(4.2, 4.9) if woman else rng.uniform(3.6, 4.2),
            brow=rng.uniform(1.2, 1.7) if woman else rng.uniform(2, 2.8),
            nose=rng.uniform(4.2, 5.4) if woman else rng.uniform(5.2, 6.6),
            side=int(rng.choice((-1, 1))),
        )

    @property
    def mouth(self) -> tuple[float, float]:
        """Where the mouth's middle is: x, y."""
        return self.x, self.y + 25

    @cached_property
    def outline(self) -> Array:
        """The edge of the face [N, 2], without ears and hair."""
        angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        narrower = 1 - self.jaw * np.clip(np.sin(angles), 0, None) ** 2
        x = self.x + self.half_width * narrower * np.cos(angles)
        return np.stack([x, self.y + self.half_height * np.sin(angles)], 1)

    def mask(self, rows: int = 4, columns: int = 4) -> Array:
        """Share of each cell of the picture that is face: [rows, columns], both dividing 128."""
        if SIDE % rows or SIDE % columns:
            raise ValueError(f"a face mask cannot have {rows} x {columns} cells: both numbers must divide {SIDE}.")
        picture = np.zeros((SIDE, SIDE), np.float32)
        picture[bounds(self.outline)] = coverage(self.outline, *bounds(self.outline))
        return picture.reshape(rows, SIDE // rows, columns, SIDE // columns).mean((1, 3))

    def caption(self) -> str:
        """The picture in one sentence, for the model's text."""
        person = "woman" if self.woman else "man"
        shirt = f"{'an' if self.shirt_name[0] in 'aeiou' else 'a'} {self.shirt_name} shirt"
        return (
            f"A {person} with {self.style} {self.hair_name} hair and {self.eyes_name} eyes in {shirt} "
            f"in front of a {self.wall_name} wall talks."
        )
