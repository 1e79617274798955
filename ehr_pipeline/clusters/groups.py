"""Group the clusters that hold one kind of patient, divided only by age or by number of recorded concepts.

Two clusters belong to one group under three conditions: they have the same main disease; the mark test between the two finds no
distinguishing concept; and at least half of the concepts that distinguish either from all patients are more frequent in both (each
by a one-sided test at 5 %). The third condition is needed because the test between small clusters finds nothing merely because they
are small. It keeps two clusters apart if different concepts distinguish them from all patients, or if concepts distinguish only
one. If none distinguishes either, they are one group.

Groups are joined from pairs by complete linkage: every two clusters of a group fulfil the conditions, so a chain of similar
neighbours is not a group. Pairs are compared within small blocks of similar patients, because parts of one group differ mostly by
age. All pairs share one error rate (Bonferroni), so a group is divided by mistake in at most one cohort in twenty. (On testing
a division before reporting it: Kimes et al. 2017, Biometrics 73; Grabski, Street & Irizarry 2023, Nature Methods 20.)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.clusters.many_tests import benjamini_hochberg
from ehr_pipeline.clusters.mark_test import Halves, deviates, log_p_of
from ehr_pipeline.clusters.marker_concepts import MAX_Q, Marks
from ehr_pipeline.clusters.matching import Matching
from ehr_pipeline.clusters.methods import Labels
from ehr_pipeline.tables import json_files

SHARED, MORE = 0.5, 1.645
"""Smallest share of distinguishing concepts that two clusters of a group must have in common; smallest normal deviate at which a
concept counts as more frequent."""
MOST = 4
"""Largest number of patients in a block when two clusters are compared."""
FILE = "groups.json"
Pair = tuple[int, int]


@dataclass(frozen=True)
class Groups:
    """The groups of clusters, by cluster number."""

    parts: tuple[tuple[int, ...], ...]
    """The numbers of each group's clusters, ascending; groups in order of their first cluster."""
    apart: dict[Pair, tuple[int, ...]]
    """Token ids that distinguish the clusters of each compared pair of numbers (the smaller first), smallest p first."""

    def of(self, number: int) -> tuple[int, ...]:
        """Return the numbers of all clusters in the group of the cluster `number`."""
        return next((group for group in self.parts if number in group), (number,))

    def write(self, folder: Path) -> None:
        """Write `groups.json` to a folder that `read` can read."""
        pairs = [{"pair": pair, "tokens": tokens} for pair, tokens in sorted(self.apart.items())]
        json_files.write(folder / FILE, {"groups": self.parts, "compared": pairs})

    @classmethod
    def read(cls, folder: Path) -> "Groups":
        """Read the folder of a `clusters` artifact."""
        content = json_files.read(folder / FILE)
        pairs = {(pair["pair"][0], pair["pair"][1]): tuple(pair["tokens"]) for pair in content["compared"]}
        return cls(tuple(map(tuple, content["groups"])), pairs)


def find(marks: Marks, halves: Halves, matched_on: Matching, main: list[str]) -> Groups:
    """Group the clusters of `marks`. `matched_on` are attributes of the patients of `halves`; `main` is each cluster's main
    disease."""
    numbers = marks.numbers.tolist()
    if not len(marks.tokens):  # nothing was tested
        return Groups(tuple((number,) for number in numbers), {})
    candidates = [pair for pair in combinations(range(len(numbers)), 2) if _may_be_one(marks, pair, main)]
    tested = halves.columns(marks.tokens)
    compared = {pair: _between(tested, matched_on, pair) for pair in candidates}
    bar = np.log(MAX_Q / max(len(candidates), 1))
    marking = {pair: np.flatnonzero(log_q < bar) for pair, (_, log_q) in compared.items()}
    nearness = {pair: float(np.abs(d).max(initial=0)) for pair, (d, _) in compared.items() if not len(marking[pair])}
    groups = _joined(len(numbers), nearness)
    named = {
        (numbers[one], numbers[other]): tuple(
            marks.tokens[some[np.argsort(compared[one, other][1][some], kind="stable")]].tolist()
        )
        for (one, other), some in marking.items()
    }
    return Groups(tuple(sorted(tuple(sorted(numbers[place] for place in group)) for group in groups)), named)


def main_diseases(diseases: NDArray[np.str_], labels: Labels, count: int) -> list[str]:
    """Return, for each cluster, the disease of more than half of its patients; empty if there is none."""
    names_of_clusters = []
    for label in range(count):
        names, counted = np.unique(diseases[labels == label], return_counts=True)
        names_of_clusters.append(str(names[counted.argmax()]) if 2 * counted.max(initial=0) > counted.sum() else "")
    return names_of_clusters


def _may_be_one(marks: Marks, pair: Pair, main: list[str]) -> bool:
    """Return whether two clusters have the same main disease and share enough distinguishing concepts."""
    one, other = pair
    either = marks.more[one] | marks.more[other]
    both = (marks.deviate[one] > MORE) & (marks.deviate[other] > MORE)
    return main[one] == main[other] and bool((both & either).sum() >= SHARED * either.sum())


def _between(halves: Halves, matched_on: Matching, pair: Pair) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare two clusters by the mark test, on the patients who have no half in any other cluster. Return normal deviates (V,) and
    adjusted p values as natural logarithms (V,)."""
    inside = np.isin(halves.votes[0], pair) & np.isin(halves.votes[1], pair)
    rows = np.flatnonzero(inside)
    votes = [(vote[rows] == pair[1]).astype(np.int64) for vote in halves.votes]
    two = Halves((votes[0], votes[1]), (halves.roots[0][rows], halves.roots[1][rows]))
    deviate = (
        deviates(two, matched_on.among(rows).blockings(MOST), 2)[0] if len(rows) else np.zeros(halves.roots[0].shape[1])
    )
    return deviate, benjamini_hochberg(log_p_of(deviate))


def _joined(count: int, nearness: dict[Pair, float]) -> list[set[int]]:
    """Return groups in which any two clusters are a pair in `nearness`; pairs with the smallest values are joined first."""
    groups = [{place} for place in range(count)]

    def between(pair: Pair) -> Iterator[float]:
        for one in groups[pair[0]]:
            for other in groups[pair[1]]:
                yield nearness.get((min(one, other), max(one, other)), np.inf)

    while len(groups) > 1:
        farthest = {pair: max(between(pair)) for pair in combinations(range(len(groups)), 2)}
        one, other = min(farthest, key=lambda pair: farthest[pair])
        if not np.isfinite(farthest[one, other]):
            break
        groups[one] |= groups.pop(other)
    return groups
