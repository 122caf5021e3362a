"""Faces in pictures: found one by one, followed through them, and cropped as SyncNet is to see them.

As joonson/syncnet_python's run_pipeline.py, with its numbers, but for the detector: there S3FD, here any, as a rule
that of `detector`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..recording import Unmeasurable

Detector = Callable[[np.ndarray], np.ndarray]
"""uint8 [H, W, 3] -> boxes [N, 4] of the faces from forehead to chin: left, top, right, bottom in pixels"""

SAME = 0.5  # boxes of one face in two pictures overlap by more: intersection over union
MISSED = 25  # pictures after the last in which a face was found, up to which it may turn up again
LEAST = 100  # pixels: the larger of a face's mean width and height is more
SHORTEST = 13  # pictures in which a face must be found: those that the median is taken of
SMOOTHED = 13
MARGIN = 0.4  # of half a box's side, beside it; twice below it
GREY = 110  # outside the picture
SIDE = 224


@dataclass(frozen=True)
class Track:
    """A face in successive pictures.

    first: the index of the first; boxes: float [F, 4] as of a `Detector`
    among: how many faces, this one counted, are seen long enough
    """

    first: int
    boxes: np.ndarray
    among: int = 1

    @property
    def size(self) -> float:
        """Pixels: the larger of the mean width and height."""
        return float((self.boxes[:, 2:] - self.boxes[:, :2]).mean(axis=0).max())


def follow(pictures: Sequence[np.ndarray], detector: Detector) -> Track:
    """The face that is seen longest; of equally long ones, the largest. (The published scripts score every track.)

    pictures: uint8 [H, W, 3] each, 25 a second. Raises `Unmeasurable` without one that is seen long enough.
    """
    found = tracks(_found(pictures, detector))
    if not found:
        raise Unmeasurable(
            f"no face was found: one must face the camera, more than {LEAST} pixels tall, in {SHORTEST} pictures or "
            "more of 25 a second"
        )
    return replace(max(found, key=lambda track: (len(track.boxes), track.size)), among=len(found))


def _found(pictures: Sequence[np.ndarray], detector: Detector) -> Iterator[np.ndarray]:
    """The boxes in each; a picture that is shown again, as those of slower clips are, is not searched again."""
    last = boxes = None
    for picture in pictures:
        if last is None or not np.array_equal(picture, last):
            last, boxes = picture, detector(picture)
        yield boxes


def tracks(found: Iterable[np.ndarray]) -> list[Track]:
    """Boxes [N, 4] of each picture -> the faces that are seen in enough of them and large enough.

    Where a face is missed in between, its box moves steadily from the last to the next.
    """
    paths: list[list[tuple[int, np.ndarray]]] = []
    for index, boxes in enumerate(found):
        free = list(boxes)
        for path in paths:
            last, box = path[-1]
            if free and index - last <= MISSED:
                overlaps = [overlap(box, other) for other in free]
                if max(overlaps) > SAME:
                    path.append((index, free.pop(int(np.argmax(overlaps)))))
        paths += [[(index, box)] for box in free]
    whole = [_filled(path) for path in paths if len(path) >= SHORTEST]
    return [track for track in whole if track.size > LEAST]


def _filled(path: list[tuple[int, np.ndarray]]) -> Track:
    seen = np.array([index for index, _ in path])
    boxes = np.stack([box for _, box in path])
    every = np.arange(seen[0], seen[-1] + 1)
    return Track(int(seen[0]), np.stack([np.interp(every, seen, edge) for edge in boxes.T], axis=1))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    shared = np.prod(np.maximum(0, np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])))
    areas = np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])
    return float(shared / (areas - shared))


def crop(pictures: np.ndarray, track: Track) -> np.ndarray:
    """uint8 [F, H, W, 3], those of the track -> uint8 [F, 224, 224, 3]: from the box's top to one margin's width below
    and to both sides, grey where the picture ends.

    Boxes are smoothed by a running median first (which takes zeros before and after the clip, as published).
    """
    from scipy.signal import medfilt

    left, top, right, bottom = track.boxes.T
    halves = medfilt(np.maximum(right - left, bottom - top) / 2, SMOOTHED)
    across, down = medfilt((left + right) / 2, SMOOTHED), medfilt((top + bottom) / 2, SMOOTHED)
    cropped = [_cropped(*values) for values in zip(pictures, halves, across, down, strict=True)]
    return np.stack(cropped)


def _cropped(picture: np.ndarray, half: float, across: float, down: float) -> np.ndarray:
    pad = int(half * (1 + 2 * MARGIN))
    padded = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), constant_values=GREY)
    across, down, beside = across + pad, down + pad, half * (1 + MARGIN)
    below = half * (1 + 2 * MARGIN)
    return resized(padded[int(down - half) : int(down + below), int(across - beside) : int(across + beside)])


def resized(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [224, 224, 3]: bilinear without smoothing, as cv2.resize."""
    import torch

    planes = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(planes, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return small[0].round().byte().permute(1, 2, 0).numpy()
