"""Drawn faces: what moves, what stays, what is told about them, and mouths measured from pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from training.faces import Face, mouth_opening, render
from training.lips import SEARCH_COLUMNS, SEARCH_ROWS
from training.looks import MEN_S_HAIR, WOMEN_S_HAIR


def some_face(seed: int = 0, woman: bool = True) -> Face:
    return Face.random(np.random.default_rng(seed), woman)


def still(face: Face, opening: float = 0, width: float = 0.5, blink: float = 0) -> np.ndarray:
    return render(face, *(np.array([value], np.float32) for value in (opening, width, blink)))[0]


def many_faces(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Frames of random faces with random mouths, [count * 8, 128, 128, 3], and how far those are open."""
    rng = np.random.default_rng(7)
    openings = rng.uniform(0, 1, (count, 8)).astype(np.float32)
    openings[:, 0], openings[:, 1] = 0, 1
    widths = rng.uniform(0, 1, (count, 8)).astype(np.float32)
    frames = [
        render(Face.random(rng, index % 2 == 0), opening, width, np.zeros(8, np.float32))
        for index, (opening, width) in enumerate(zip(openings, widths, strict=True))
    ]
    return np.concatenate(frames), openings.ravel()


def test_a_face_follows_from_the_seed() -> None:
    np.testing.assert_array_equal(still(some_face(3)), still(some_face(3)))
    assert (still(some_face(3)) != still(some_face(4))).mean() > 0.5


def test_the_caption_tells_what_is_drawn() -> None:
    face = replace(some_face(), style="long", hair_name="red", eyes_name="blue", shirt_name="orange", wall_name="grey")
    told = "A woman with long red hair and blue eyes in an orange shirt in front of a grey wall talks."
    assert face.caption() == told
    assert some_face(woman=False).caption().startswith("A man with ")


@pytest.mark.parametrize("style", WOMEN_S_HAIR + MEN_S_HAIR)
def test_every_style_can_be_drawn(style: str) -> None:
    face = replace(some_face(1, style in WOMEN_S_HAIR), style=style, hair=np.array((0, 0, 250), np.float32))
    picture = still(face).astype(int)
    blue = picture[..., 2] - picture[..., 0] > 120
    assert blue[: int(face.y) - 35].sum() > 300
    assert not blue[SEARCH_ROWS, SEARCH_COLUMNS].any()  # no hair hangs where mouths are measured


def test_only_the_mouth_moves_with_speech_and_only_the_eyes_with_a_blink() -> None:
    face = some_face(2)
    rest, talking, blinking = still(face), still(face, 1, 0.8), still(face, blink=1)
    rows, columns = np.nonzero((rest != talking).any(-1))
    x, y = face.mouth
    assert y - 14 <= rows.min() and rows.max() <= y + 19 and x - 21 <= columns.min() and columns.max() <= x + 21
    rows, columns = np.nonzero((rest != blinking).any(-1))
    assert face.y - 14 <= rows.min() and rows.max() <= face.y
    assert (rest != blinking).any(-1).sum() > 100


def test_the_mask_is_the_face() -> None:
    face = some_face(5)
    mask = face.mask()
    assert mask.shape == (4, 4) and mask.min() == 0 and mask.max() <= 1
    assert mask[1:3, 1:3].min() > 0.7
    sharp = face.mask(128, 128)
    assert sharp.sum() == pytest.approx(shoelace(face.outline), rel=0.01)
    np.testing.assert_allclose(sharp.reshape(4, 32, 4, 32).mean((1, 3)), mask, atol=1e-6)
    with pytest.raises(ValueError, match="divide 128"):
        face.mask(3, 4)


def shoelace(corners: np.ndarray) -> float:
    """The area inside a polygon."""
    following = np.roll(corners, -1, 0)
    return abs((corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]).sum()) / 2


def test_the_opening_is_measured_on_any_face() -> None:
    frames, openings = many_faces()
    found = mouth_opening(frames)
    assert np.corrcoef(found, openings)[0, 1] > 0.99
    assert found[openings == 0].max() < 0.06
    assert found[openings == 1].min() > 0.85


def test_the_opening_is_measured_in_blurred_and_noisy_pictures() -> None:
    frames, openings = many_faces()
    blurred = gaussian_filter(frames.astype(np.float32), (0, 1, 1, 0))
    noisy = blurred + np.random.default_rng(1).normal(0, 4, frames.shape)
    assert np.corrcoef(mouth_opening(noisy.clip(0, 255).astype(np.uint8)), openings)[0, 1] > 0.97


def test_dark_skin_clothes_and_hair_are_no_open_mouth() -> None:
    dark = np.array((40, 40, 46), np.float32)
    rng = np.random.default_rng(11)
    for index in range(20):
        face = Face.random(rng, index % 2 == 0)
        shade = np.array((132, 88, 64), np.float32)
        face = replace(face, skin=shade, lips=shade * 0.9, shirt=dark, hair=dark, wall=dark)
        assert mouth_opening(still(face)[None]).max() < 0.06


def test_pictures_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="128"):
        mouth_opening(np.zeros((2, 64, 64, 3), np.uint8))
