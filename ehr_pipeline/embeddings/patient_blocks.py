"""Divide patients into blocks of similar ones by repeated halving, and compute means over patients compared within their block."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HALVED = 20
"""The most patients in a block that is made by halving."""
NORMAL_95 = 1.96

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """An estimate with the ends of its interval."""

    value: float
    low: float
    high: float


def matched_blocks(categories: list[NDArray[Any]], numbers: list[NDArray[Any]], most: int = HALVED) -> Labels:
    """Return the index of each patient's block (n,). A block has at most `most` patients, who are equal in all categories (n,) and
    close in all numbers (n,).

    Within each combination of categories, patients are halved repeatedly, at the median of each number in turn.
    """
    combination = np.unique(
        np.stack([np.unique(c, return_inverse=True)[1] for c in categories]), axis=1, return_inverse=True
    )[1]
    blocks = np.empty(len(combination), np.int64)
    count = 0
    waiting = [(np.flatnonzero(combination == number), 0) for number in np.unique(combination)]
    while waiting:
        members, depth = waiting.pop()
        if len(members) <= most:
            blocks[members] = count
            count += 1
            continue
        ordered = members[np.argsort(numbers[depth % len(numbers)][members], kind="stable")]
        middle = len(ordered) // 2
        waiting += [(ordered[:middle], depth + 1), (ordered[middle:], depth + 1)]
    return blocks


def mean_over_blocks(values: NDArray[np.float64], block: Labels, deviations: float = NORMAL_95) -> Estimate:
    """Return the mean of `values` (n,) with its interval. Patients of a block were compared with each other, so blocks are the
    units.

    The variance is that of a ratio of block sums (Cochran 1977, 'Sampling techniques', chapter 9A). The interval reaches
    `deviations` standard deviations to each side; 1.96 gives a 95 % interval.
    """
    _, place = np.unique(block, return_inverse=True)
    sums, sizes = np.bincount(place, values), np.bincount(place)
    mean, count = float(values.mean()), len(sizes)
    squares = float(((sums - mean * sizes) ** 2).sum())
    wide = deviations * float(np.sqrt(squares * count / max(count - 1, 1))) / len(values)
    return Estimate(mean, mean - wide, mean + wide)
