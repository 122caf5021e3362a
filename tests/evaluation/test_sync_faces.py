"""Faces that are found, followed and cropped for SyncNet: boxes of which the answer is known, and a portrait."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.sync import detector, faces

PORTRAIT = Path(__file__).parents[2] / "assets" / "portrait.png"
BOX = np.array([[20.0, 5.0, 130.0, 115.0]])


def blind(picture: np.ndarray) -> np.ndarray:
    return np.zeros((0, 4))


def moved(*edges: float) -> np.ndarray:
    return np.array([edges])


@pytest.mark.case("Media", "many faces")
def test_a_face_is_followed_across_gaps_and_the_longest_counts() -> None:
    near, far = [10, 10, 210, 210], [300, 10, 420, 130]
    found = [np.array([near, far]) if index < 20 else np.array([far]) for index in range(50)]
    found[30:40] = [np.zeros((0, 4))] * 10
    short, longest = sorted(faces.tracks(found), key=lambda track: len(track.boxes))
    assert (short.first, len(short.boxes), short.size) == (0, 20, 200)
    assert (longest.first, len(longest.boxes), longest.size) == (0, 50, 120)
    pictures = np.zeros((50, 4, 4, 3), np.uint8)
    pictures[:, 0, 0, 0] = np.arange(50)
    told = iter(found)
    assert faces.follow(pictures, lambda picture: next(told)).size == 120


def test_a_picture_that_stays_is_searched_once() -> None:
    searched = []
    pictures = np.repeat(np.arange(10, dtype=np.uint8), 3)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    track = faces.follow(pictures, lambda picture: searched.append(picture[0, 0, 0]) or BOX)
    assert searched == list(range(10)) and len(track.boxes) == 30


def test_between_two_sightings_a_box_moves_steadily() -> None:
    found = [moved(x, 0, x + 200, 200) for x in range(0, 40, 2)]
    found[9:14] = [np.zeros((0, 4))] * 5
    (track,) = faces.tracks(found)
    assert track.boxes[:, 0] == pytest.approx(np.arange(0, 40, 2))


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ([moved(0, 0, 99, 100)] * 20, 0),  # it must be more
        ([moved(0, 0, 99, 101)] * 20, 1),
        ([moved(0, 0, 200, 200)] * 12, 0),
        ([moved(0, 0, 200, 200)] * 13, 1),
        ([moved(0, 0, 200, 200)] * 13 + [moved(300, 0, 500, 200)] * 13, 2),  # it jumps: another face
        ([moved(0, 0, 200, 200)] * 13 + [np.zeros((0, 4))] * 25 + [moved(0, 0, 200, 200)] * 13, 2),  # gone too long
    ],
)
def test_which_faces_count(found: list[np.ndarray], kept: int) -> None:
    assert len(faces.tracks(found)) == kept


def test_the_crop_reaches_from_the_box_s_top_to_margins_below_and_beside() -> None:
    """A box of 100 x 100: 140 x 140 pixels, from its top, 20 pixels more to each side, 40 below; grey outside."""
    rows, columns = np.mgrid[:300, :400]
    picture = np.stack([rows // 2, columns // 2, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    count = 20
    track = faces.Track(0, np.tile([150.0, 190.0, 250.0, 290.0], (count, 1)))
    cropped = faces.crop(np.stack([picture] * count), track)
    assert cropped.shape == (count, 224, 224, 3)
    middle = cropped[10].astype(int)
    assert middle[0, 100, 0] == 190 // 2
    assert abs(middle[50, 0, 1] - 130 // 2) <= 1 and abs(middle[50, -1, 1] - 269 // 2) <= 1
    inside = round((300 - 190) / 140 * 224)
    assert (middle[inside + 1 :] == faces.GREY).all() and not (middle[: inside - 1] == faces.GREY).all(axis=-1).any()


def test_one_wrong_box_does_not_move_the_crop() -> None:
    boxes = np.tile([50.0, 50.0, 150.0, 150.0], (30, 1))
    pictures = np.random.default_rng(3).integers(0, 256, (30, 200, 200, 3), dtype=np.uint8)
    expected = faces.crop(pictures, faces.Track(0, boxes.copy()))
    boxes[15] = [60, 30, 190, 170]
    assert np.array_equal(faces.crop(pictures, faces.Track(0, boxes)), expected)


def test_dlib_finds_a_face_from_the_forehead_and_none_where_there_is_none() -> None:
    find = detector.dlib_detector()
    portrait = np.array(Image.open(PORTRAIT).convert("RGB").resize((256, 256)))
    (box,) = find(portrait)
    width, height = box[2:] - box[:2]
    assert width == pytest.approx(height, rel=0.02) and width > faces.LEAST
    assert np.abs((box[:2] + box[2:]) / 2 - 128).max() < 30
    assert find(np.zeros((120, 160, 3), np.uint8)).shape == (0, 4)
    (other,) = detector.from_forehead(moved(100, 100, 200, 200))
    assert other == pytest.approx([89, 80, 211, 202])


def test_a_box_is_the_mean_of_those_at_sizes_in_between() -> None:
    """Of a finder that rounds sizes to a step of 1.2 and knows of one face, 150 pixels wide at (100, 80)."""
    picture = np.zeros((400, 500, 3), np.uint8)
    picture[80:230, 100:250] = 255

    def find(seen: np.ndarray) -> np.ndarray:
        rows, columns = (np.flatnonzero(seen[..., 0].max(axis=axis) > 127) for axis in (1, 0))
        side = 80 * 1.2 ** np.round(np.log(len(columns) / 80) / np.log(1.2))
        middle = np.array([columns.mean(), rows.mean()]) + 0.5
        return np.concatenate([middle - side / 2, middle + side / 2])[None]

    (rough,) = find(picture)
    fine = detector.refined(picture, rough, find)
    assert abs(rough[2] - rough[0] - 150) > 10
    assert fine == pytest.approx([100, 80, 250, 230], abs=3)
    assert np.array_equal(detector.refined(picture, rough, blind), rough)
