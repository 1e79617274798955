"""Disclosure control in one place: small counts of patients are never shown outside the data artifacts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

OTHERS = -1
"""The group of patients whose own group is not told."""
FAR = 0.05
"""Of the longer side of a map: what is no longer the neighbourhood of a mark."""


@dataclass(frozen=True)
class Marks:
    """What a map may show of patients: marks, each of which stands for neighbours of one group."""

    places: NDArray[np.float64]
    """Of the marks (m, 2): the mean place of those patients who lie in the middle."""
    group: NDArray[np.int64]
    """Of the marks (m,); `OTHERS` for the small groups together."""
    apart: NDArray[np.bool_]
    """Whether half of a mark's patients lie further from the middle than `FAR` of the map (m,): then nobody need be there."""
    fewest: int
    """Patients for whom a mark stands at least."""


@dataclass(frozen=True)
class Disclosure:
    """Suppresses counts from 1 to `below` - 1. A count of zero in a fixed table is shown: it says that nobody is concerned.

    A *name* that comes from the data is another matter: that it stands there says that somebody bears it, or bore it (`named`).

    Where a total is shown beside a count, the rest is a count too: "221 of 222" tells of one patient. So both are guarded.
    """

    below: int

    def small(self, count: int) -> bool:
        """Whether a count must not be shown."""
        return 0 < count < self.below

    def named(self, patients: int) -> bool:
        """Whether a name that comes from the data may be shown, by how many patients bear it now.

        Of none it may not: a vocabulary keeps its concepts, and to show what nobody has any more tells of those who left. This is
        for tables of clusters, whose counts are shown; for names out of all data see `figures.Naming`.
        """
        return patients >= self.below

    def told(self, sizes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Of which groups, by their sizes (K,), may be told (K,)."""
        return sizes >= self.below

    def show(self, count: int, of: int | None = None) -> str:
        """A count as text: '1,234', or '<10'; '>1,224' where fewer than ten of a total `of` are left over."""
        if self.small(count):
            return f"<{self.below}"
        return f">{max(of - self.below, 0):,}" if of is not None and self.small(of - count) else f"{count:,}"

    def share(self, count: int, of: int) -> str:
        """A share as text, left out where either number is small; a lower bound where the rest is."""
        if not of or self.small(count) or self.small(of):
            return "–"
        if self.small(of - count):
            return f">{math.floor(100 * (of - self.below) / of)} %" if of > self.below else "–"
        return f"{100 * count / of:.1f} %"

    def about(self, count: int, of: int | None = None) -> str:
        """A count rounded to a multiple of the threshold, so that no difference from another one tells of a few patients.

        A bound where fewer than ten of a total `of` are left over, nobody or some: 'about 20' of 16 would tell which.
        """
        if self.small(count):
            return f"<{self.below}"
        if of is not None and self.below > 1 and of - count < self.below:
            return f">{max(of - self.below, 0):,}"
        return f"about {self.rounded(count):,}" if count and self.below > 1 else f"{count:,}"

    def around(self, count: int) -> tuple[int, int]:
        """The fewest and the most patients that `about` tells by the same text."""
        if not count or self.below == 1:
            return count, count
        if self.small(count):
            return 1, self.below - 1
        fewest = self.rounded(count) - self.below // 2
        return max(fewest, self.below), fewest + self.below - 1

    def rounded(self, count: int) -> int:
        """A count to the nearest multiple of the threshold, as `about` shows it."""
        return (count + self.below // 2) // self.below * self.below

    def coarse(self, count: int, of: int) -> str:
        """A share as text that tells no more than the count rounded as in `about`; the truth lies within what it says.

        '69–86 %', or 'about 22 %' where that is one number; a bound where few or none have it, or lack it. Left out of fewer than
        two steps.
        """
        if not of or of < 2 * self.below:
            return "–"
        if self.below > 1 and count < self.below:
            return f"<{math.ceil(100 * self.below / of)} %"
        if self.below > 1 and of - count < self.below:
            return f">{math.floor(100 * (of - self.below) / of)} %"
        fewest, most = self.around(count)
        low, high = 100 * fewest / of, 100 * min(most, of - self.below) / of
        if self.below == 1 or round(low) == round(high):
            return f"about {round(100 * count / of if self.below == 1 else low)} %"
        return f"{math.floor(low)}–{math.ceil(high)} %"

    def mean(self, share: float, of: int) -> tuple[float, float]:
        """What may be told of the mean share (0 to 1) of a group of `of` patients: the two ends between which it lies.

        Both are the share itself, unless about so few patients make it, or are missing from it, that it would tell of them.
        """
        least = self.below / of if self.below > 1 and of else 0.0
        if share < least:
            return 0.0, min(least, 1.0)
        if 1 - share < least:
            return max(1 - least, 0.0), 1.0
        return share, share

    def composition(
        self, counts: Mapping[str, int], of: int, told: Mapping[str, int] | None = None
    ) -> list[tuple[str, str]]:
        """Which categories a group of `of` patients is made of, in their order, where other tables hide some of the same counts.

        Shares are coarse: beside an exact one, what is hidden elsewhere could be reckoned. Where fewer than the threshold are left
        over, nobody or some, the share is a lower bound; small categories are not named. Only a count that another table has `told`
        by the same name stands here exactly as there, unless small categories could be reckoned from it.
        """
        alone = not any(self.small(count) for count in counts.values())
        return [
            (name, self.share(count, of) if alone and (told or {}).get(name) == count else self._part(count, of))
            for name, count in counts.items()
            if count and count >= self.below
        ]

    def _part(self, count: int, of: int) -> str:
        if self.below > 1 and of - count < self.below:
            return f">{math.floor(100 * (of - self.below) / of)} %" if of > self.below else "–"
        return self.coarse(count, of)

    def nested_need_rounding(self, counts: Sequence[int]) -> bool:
        """Whether numbers of patients, each a part of the one before, differ by so few that exact ones would tell of them."""
        return any(self.small(more - less) for more, less in pairwise(counts))

    def marks(self, points: NDArray[np.floating], group: NDArray[np.integer], most: int) -> Marks:
        """What a map may show of patients at places (n, 2) in groups (n,): about `most` marks at most.

        Groups of fewer than `below` patients are pooled as `OTHERS`, which are not drawn either where all of them together are so
        few. The patients of a group are joined with their neighbours (microaggregation: Domingo-Ferrer and Mateo-Sanz 2002, IEEE
        Trans. Knowl. Data Eng. 14(1)), so that neither can anybody be counted, nor a patient's place be found in two maps.
        """
        numbers, counts = np.unique(group, return_counts=True)
        group = np.where(np.isin(group, numbers[~self.told(counts)]), OTHERS, group)
        fewest = max(self.below, -(-len(group) // most))
        places, drawn, apart = [np.empty((0, 2))], [np.empty(0, np.int64)], [np.empty(0, bool)]
        for number in np.unique(group).tolist():
            own = points[group == number].astype(np.float64)
            if len(own) >= self.below:
                marks, away = _joined(own, fewest)
                places.append(marks)
                drawn.append(np.full(len(marks), number))
                apart.append(away > FAR * np.ptp(points, axis=0).max())
        return Marks(np.concatenate(places), np.concatenate(drawn), np.concatenate(apart), self.below)


def _joined(points: NDArray[np.float64], fewest: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The marks (m, 2) of the patients of a group (n, 2), and how far half of each one's patients are from their median (m,)."""
    if fewest == 1:
        return points, np.zeros(len(points))
    marks, away = [], []
    for part in _parts(points, fewest):
        middle = np.median(part, axis=0)
        distance = np.linalg.norm(part - middle, axis=1)
        nearer = np.argsort(distance, kind="stable")[: max(len(part) // 2, 2)]
        marks.append(part[nearer].mean(0))  # the median itself may be a patient's place
        away.append(np.median(distance))
    return np.array(marks), np.array(away)


def _parts(points: NDArray[np.float64], fewest: int) -> Iterator[NDArray[np.float64]]:
    """Neighbours together: parts of at least `fewest` points (n, 2), and fewer than twice as many; one part where there are fewer.

    Halved again and again along the wider side, at the widest gap of the middle half, so that islands stay apart.
    """
    waiting = [points]
    while waiting:
        part = waiting.pop()
        if len(part) < 2 * fewest:
            yield part
            continue
        wider = np.ptp(part, axis=0).argmax()
        part = part[np.argsort(part[:, wider], kind="stable")]
        side = part[:, wider]
        margin = max(fewest, len(part) // 4)
        gaps = np.diff(side[margin - 1 : len(part) - margin + 1])
        middle = len(gaps) // 2
        cut = margin + (int(gaps.argmax()) if gaps.max() > gaps[middle] else middle)
        waiting += [part[cut:], part[:cut]]
