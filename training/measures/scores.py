"""What is counted on a clip, and how numbers of many clips become one with its spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..drawing import Array
from ..vae import MOUTH

RESAMPLES = 1000
STILL = 1e-3  # deviation of a curve below which it does not move

Rows = Sequence[Mapping[str, float | None]]  # one a clip; None where nothing could be measured


@dataclass(frozen=True)
class Score:
    """value: over all clips; error: its standard error over clips, NaN for a single one
    seeds: deviation of the value from seed to seed, None if there is but one
    """

    value: float
    error: float
    seeds: float | None = None


def correlation(a: Array, b: Array) -> float:
    """Pearson's, from -1 to 1; 0 if one of the curves stands still."""
    if min(np.std(a), np.std(b)) < STILL:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def psnr(frames: Array, picture: Array) -> float:
    """dB of frames [F, 128, 128, 3] against a picture [128, 128, 3], both 0 to 255, outside the mouth."""
    error = (np.asarray(frames, np.float32) - np.asarray(picture, np.float32)) / 255
    outside = np.ones(error.shape[1:3], bool)
    outside[MOUTH] = False
    return float(-10 * np.log10(max(np.square(error[:, outside]).mean(), 1e-10)))


def overlap(found: Array, true: Array) -> float:
    """Intersection over union of face masks: [T, rows, columns] against [rows, columns], cut at a half."""
    found, true = found >= 0.5, np.broadcast_to(true >= 0.5, found.shape)
    union = (found | true).sum()
    return float((found & true).sum() / union) if union else 1.0


Statistic = Callable[[Mapping[str, Array]], float]


def mean(name: str) -> Statistic:
    return lambda columns: float(np.mean(columns[name]))


def ratio(part: str, whole: str) -> Statistic:
    """All of one as a share of all of another."""
    return lambda columns: float(np.sum(columns[part]) / np.sum(columns[whole]))


def correlate(a: str, b: str) -> Statistic:
    return lambda columns: correlation(columns[a], columns[b])


def correlate_within(a: str, b: str, group: str) -> Statistic:
    """Of the logarithms, each less the mean of its group."""

    def statistic(columns: Mapping[str, Array]) -> float:
        a_less, b_less = np.log(columns[a]), np.log(columns[b])
        for one in np.unique(columns[group]):
            chosen = columns[group] == one
            a_less[chosen] -= a_less[chosen].mean()
            b_less[chosen] -= b_less[chosen].mean()
        return correlation(a_less, b_less)

    return statistic


def deviation(found: str, wanted: str) -> Statistic:
    """The median of how far off it is, as a share."""
    return lambda columns: float(np.median(np.abs(columns[found] / columns[wanted] - 1)))


def summarize(rows: Rows, names: Sequence[str], statistic: Statistic, resamples: int = RESAMPLES) -> Score | None:
    """The statistic of the columns ``names``, with its error by the bootstrap over clips; None if nothing is there.

    rows: have "clip" and "seed"; the seeds of one clip count as one clip, their mean
    """
    rows = [row for row in rows if all(row.get(name) is not None for name in names)]
    if not rows:
        return None
    value = _value(rows, names, statistic)
    clips = sorted({row["clip"] for row in rows})
    means = {name: np.array([_mean(rows, name, clip) for clip in clips]) for name in names}
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(clips), size=(resamples, len(clips)))
    resampled = [statistic({name: column[chosen] for name, column in means.items()}) for chosen in drawn]
    seeds = sorted({row["seed"] for row in rows})
    each = [_value([row for row in rows if row["seed"] == seed], names, statistic) for seed in seeds]
    return Score(
        value,
        float(np.std(resampled)) if len(clips) > 1 else float("nan"),
        float(np.std(each, ddof=1)) if len(seeds) > 1 else None,
    )


def _value(rows: Rows, names: Sequence[str], statistic: Statistic) -> float:
    return statistic({name: np.array([row[name] for row in rows], float) for name in names})


def _mean(rows: Rows, name: str, clip: int) -> float:
    return float(np.mean([row[name] for row in rows if row["clip"] == clip]))
