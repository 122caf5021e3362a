"""Finds faces with dlib, whose model comes with the package, in boxes such as the published pipeline finds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from .faces import SAME, Detector, overlap

SIDE = 110  # pixels of a face in the pictures that refine its box: more than the 80 which dlib needs
SCALES = tuple(1.2 ** (step / 4) for step in range(4))  # dlib itself tries sizes 1.2 apart
AROUND = 0.6  # of a box's side, that is looked at beside it
# dlib's boxes begin at the brows. Against those of a network that learned WIDER FACE, as S3FD did, they are this much
# smaller and lower: means over pictures of four people.
TALLER, HIGHER = 1.22, 0.09


def dlib_detector() -> Detector:
    """dlib's frontal faces (histograms of gradients) of 80 pixels and more, which `from_forehead` makes about 100.

    Raises ``ImportError`` with a sentence.
    """
    try:
        import dlib
    except ImportError as error:
        raise ImportError(f"faces are found by dlib: pip install dlib-bin ({error})") from error
    detect = dlib.get_frontal_face_detector()

    def find(picture: np.ndarray) -> np.ndarray:
        found = [(box.left(), box.top(), box.right() + 1, box.bottom() + 1) for box in detect(picture)]
        return np.array(found, np.float64).reshape(-1, 4)

    def detector(picture: np.ndarray) -> np.ndarray:
        found = [refined(picture, box, find) for box in find(picture)]
        return from_forehead(np.array(found).reshape(-1, 4))

    return detector


def refined(picture: np.ndarray, box: np.ndarray, find: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The mean of the boxes that are found at sizes between those that dlib tries: one alone jumps by 20 %.

    picture: uint8 [H, W, 3]; box: [4]; find: a picture -> boxes [N, 4]
    """
    height, width, _ = picture.shape
    around = (box[2:] - box[:2]).max() * AROUND
    left, top = np.maximum(0, box[:2] - around)
    right, bottom = np.minimum((width, height), box[2:] + around)
    image, boxes = Image.fromarray(picture), []
    for scale in SCALES:
        factor = SIDE * scale / (box[2] - box[0])
        size = (max(1, round((right - left) * factor)), max(1, round((bottom - top) * factor)))
        seen = np.array(image.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom)))
        per_pixel = np.tile([(right - left) / size[0], (bottom - top) / size[1]], 2)
        found = find(seen) * per_pixel + [left, top, left, top]
        boxes += [other for other in found if overlap(box, other) > SAME]
    return np.mean(boxes or [box], axis=0)


def from_forehead(boxes: np.ndarray) -> np.ndarray:
    """dlib's boxes [N, 4], which begin at the brows -> [N, 4] that begin at the forehead."""
    side = boxes[:, 2:] - boxes[:, :2]
    middle = (boxes[:, 2:] + boxes[:, :2]) / 2 - side * [0, HIGHER]
    return np.concatenate([middle - side * TALLER / 2, middle + side * TALLER / 2], axis=1)
