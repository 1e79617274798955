"""Patients who have several of the cohort's diseases, by cluster: a table, and its picture.

A patient has each disease whose list chose them for the cohort. Columns are sets of diseases, as in an UpSet plot (Lex et al.
2014): a patient is in one column only. All numbers are computed from counts rounded to the threshold; small counts are left empty
(`Disclosure.rounded_or_none`). A card may show the exact number of patients with a disease. If a reader subtracts the rounded
counts from it, the rest is known only within a range as wide as the threshold.

Axes: n patients, K clusters, L sets of diseases.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.drawing import plots

Set = tuple[str, ...]
MOST_SETS = 12
"""Largest number of sets of several diseases that have columns of their own; less frequent sets share one column."""
OTHERS: Set = ()
"""The set of the column of all other combinations."""
ROW, COLUMN = 0.26, 0.55
"""Height of a cluster's row and width of a set's column in the picture, in inches."""
DARK = 0.6
"""Share of the darkest colour from which numbers are written in white."""


@dataclass(frozen=True)
class Overlap:
    """Patients by cluster and set of diseases. Shares and numbers of patients are computed from rounded counts; 0 also stands for
    too few."""

    sets: tuple[Set, ...]
    """The columns: single diseases, then combinations, the most frequent first."""
    numbers: tuple[int, ...]
    """The clusters of the rows."""
    shares: NDArray[np.float64]
    """Share of a cluster's patients (K, L) in each set."""
    together: NDArray[np.float64]
    """Share of a cluster's patients (K,) with several diseases, whichever they are."""
    patients: tuple[int, ...]
    """Patients of each set (L,)."""
    everywhere: NDArray[np.float64]
    """Share of all patients in each set, and with several diseases (L + 1,)."""
    several: int
    """Patients with several diseases, not rounded."""
    of: int

    @property
    def combined(self) -> NDArray[np.bool_]:
        """Flags (L,) of the sets of several diseases."""
        return np.array([len(one) != 1 for one in self.sets], bool)


def overlap(diseases: Sequence[Sequence[str]], clusters: NDArray[np.int64], disclosure: Disclosure) -> Overlap | None:
    """Count patients by cluster number (n,) and by their set of diseases (n,). None if no combination of diseases may be shown."""
    sets = [tuple(sorted(each)) for each in diseases]
    counts = Counter(sets)
    frequent = sorted((each for each in counts if len(each) > 1), key=lambda each: (-counts[each], each))
    own = [each for each in frequent if disclosure.rounded_or_none(counts[each])][:MOST_SETS]
    if not own:
        return None
    alone = sorted((each for each in counts if len(each) == 1), key=lambda each: (-counts[each], each))
    columns = [*alone, *own]
    column = {each: place for place, each in enumerate(columns)}
    place = np.array([column.get(each, len(columns)) for each in sets])
    numbers, row, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    table = np.zeros((len(numbers), len(columns) + 1), np.int64)
    np.add.at(table, (row, place), 1)
    large_enough = disclosure.large_enough(sizes)
    total = [disclosure.rounded_or_none(int(count)) for count in table.sum(axis=0)]
    kept = np.flatnonzero(total)
    table = np.column_stack([table[:, kept], table[:, len(alone) :].sum(axis=1)])[large_enough]
    rounded = [[disclosure.rounded_or_none(count) for count in counts] for counts in table.tolist()]
    whole = [disclosure.rounded(size) for size in sizes[large_enough].tolist()]
    counted = [*(total[column] for column in kept), disclosure.rounded_or_none(sum(len(each) > 1 for each in sets))]
    shares = np.minimum(np.reshape(rounded, (len(whole), len(kept) + 1)) / np.reshape(whole, (-1, 1)), 1)
    return Overlap(
        tuple([*columns, OTHERS][column] for column in kept),
        tuple(numbers[large_enough].tolist()),
        shares[:, :-1],
        shares[:, -1],
        tuple(counted[:-1]),
        np.array(counted) / disclosure.rounded(len(sets)),
        sum(len(each) > 1 for each in sets),
        len(sets),
    )


def draw(path: Path, found: Overlap) -> None:
    """Draw the shares by cluster and set of diseases, in percent; dots below say which diseases a set is made of.

    The last column holds all patients with several diseases.
    """
    names = sorted({name for each in found.sets for name in each})
    height = ROW * (len(found.numbers) + 1 + len(names)) + 1.2
    with plots.figure(path, width=2.6 + COLUMN * (len(found.sets) + 1), height=height) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[len(found.numbers) + 1, max(len(names), 1)])
        _cells(upper, found)
        _dots(lower, found.sets, names)


def _cells(axes: Any, found: Overlap) -> None:
    """Draw the table."""
    shares = np.vstack([np.column_stack([found.shares, found.together]), found.everywhere])
    most = max(float(shares.max(initial=0)), 0.01)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=most, aspect="auto")
    axes.axvline(len(found.sets) - 0.5, color="#333333", lw=1)
    for row, column in np.argwhere(shares > 0).tolist():
        share = shares[row, column]
        colour = "white" if share > DARK * most else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axes.axhline(len(found.numbers) - 0.5, color="#333333", lw=1)
    axes.set_yticks(range(len(shares)), [*map(str, found.numbers), "all"])
    axes.set(ylabel="cluster", title="Diseases of the patients in each cluster (% of patients, approximate)")
    axes.tick_params(length=0, labelbottom=False)


def _dots(axes: Any, sets: Sequence[Set], names: list[str]) -> None:
    """Draw which diseases each set is made of."""
    for column, each in enumerate(sets):
        rows = [names.index(name) for name in each]
        axes.plot([column] * len(names), range(len(names)), "o", ms=4, color="#dddddd")
        axes.plot([column] * len(rows), rows, "o-", ms=5, lw=1.5, color="#333333")
    beside = [(sets.index(OTHERS), "others")] if OTHERS in sets else []
    for column, words in [*beside, (len(sets), "several")]:
        axes.text(column, (len(names) - 1) / 2, words, rotation=90, ha="center", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
