"""Divide patients into blocks of similar ones, so shared attributes cannot explain differences within a block.

Patients of a block are equal in all categories, such as disease and sex, and near each other in all numbers, such as age. Blocks
are made by microaggregation (Domingo-Ferrer & Mateo-Sanz 2002, IEEE Transactions on Knowledge and Data Engineering 14(1)): the
remaining patient who is farthest from the mean of the remaining patients forms a block with their nearest neighbours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.embeddings.patient_blocks import Labels

BLOCK_SIZE = 10
"""Number of patients in a block: at least this many, unless fewer are equal in all categories, and fewer than twice as many."""
SEARCHED = 1000
"""Neighbours are searched among at most this many patients; more are split first, at the median of the most varied number."""


def nearest_blocks(
    categories: Sequence[NDArray[Any]], numbers: Sequence[NDArray[Any]], size: int = BLOCK_SIZE
) -> Labels:
    """Return block numbers (n,), from 0, of patients equal in all `categories` (n,) and near in all `numbers` (n,)."""
    coded = np.stack([np.unique(category, return_inverse=True)[1] for category in categories])
    cell = np.unique(coded, axis=1, return_inverse=True)[1].ravel()
    places = np.stack(numbers, axis=1).astype(np.float64)
    places = (places - places.mean(axis=0)) / np.maximum(places.std(axis=0), 1e-12)
    waiting = np.split(np.argsort(cell, kind="stable"), np.cumsum(np.bincount(cell))[:-1])
    blocks = np.empty(len(cell), np.int64)
    count = 0
    while waiting:
        members = waiting.pop()
        if len(members) > SEARCHED:
            widest = int(places[members].std(axis=0).argmax())
            ordered = members[np.argsort(places[members, widest], kind="stable")]
            waiting += [ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]]
            continue
        for block in _neighbours(places[members], size):
            blocks[members[block]] = count
            count += 1
    return blocks


def shuffled(blocks: Labels, rng: np.random.Generator) -> Labels:
    """Return a random permutation (n,) that keeps every patient in their block."""
    order = np.lexsort((rng.random(len(blocks)), blocks))
    permutation = np.empty(len(blocks), np.int64)
    permutation[np.argsort(blocks, kind="stable")] = order
    return permutation


def centred(values: NDArray[np.floating[Any]], blocks: Labels) -> NDArray[np.float64]:
    """Return values (n, V) minus the mean of the patient's block; blocks are numbered from 0 without gaps."""
    sizes = np.bincount(blocks)
    ordered = values[np.argsort(blocks, kind="stable")]
    sums = np.add.reduceat(ordered, np.cumsum(sizes) - sizes, axis=0, dtype=np.float64)
    return np.asarray(values - (sums / sizes[:, None])[blocks], np.float64)


def balance(blocks: Labels, numbers: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Return the standard deviation of each number (n,) within blocks, as a share of its overall one: 0 is a perfect match, 1 no
    match.

    Patients alone in their block are left out, because they are compared with nobody. NaN if all are alone, or if a number does not
    vary.
    """
    sizes = np.bincount(blocks)
    kept = sizes[blocks] > 1
    free = int(kept.sum() - (sizes > 1).sum())
    spread = {}
    for name, values in numbers.items():
        number = np.asarray(values, np.float64)
        inside = centred(number[:, None], blocks)[kept, 0]
        total = float(number.std(ddof=1)) if len(number) > 1 else 0.0
        spread[name] = float(np.sqrt((inside**2).sum() / free)) / total if free and total else float("nan")
    return spread


def _neighbours(places: NDArray[np.float64], size: int) -> list[Labels]:
    """Divide rows of `places` (n, d) into blocks of `size` to 2 `size` - 1 near ones, or one block of fewer rows."""
    left = np.arange(len(places))
    blocks = []
    while len(left) >= 2 * size:
        here = places[left]
        outer = here[((here - here.mean(axis=0)) ** 2).sum(axis=1).argmax()]
        near = np.argpartition(((here - outer) ** 2).sum(axis=1), size - 1)[:size]
        blocks.append(left[near])
        left = np.delete(left, near)
    return [*blocks, left]
