"""Suppress small counts, and locations on maps, in reports. `figures`, `tabulate` and `by_subtraction` do the rest."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

OTHERS = -1
"""Stands for the group of patients whose actual group is not shown."""
FAR = 0.05
"""Fraction of a map's longer side; places farther than this from a mark are not in its neighbourhood."""


def not_all(share: str, count: int, of: int) -> str:
    """Return the text of a share; '>99.9 %' if it is that of all, but `count` is not all of them."""
    return ">99.9 %" if count < of and share == "100.0 %" else share


@dataclass(frozen=True)
class Marks:
    """The marks that may represent patients on a map: m marks, each for neighbouring patients of one group."""

    places: NDArray[np.float64]
    """Places of the marks (m, 2): the mean place of those of a mark's patients who are nearest to the patients' median."""
    group: NDArray[np.int64]
    """Groups of the marks (m,); `OTHERS` for all small groups together."""
    apart: NDArray[np.bool_]
    """Whether half of a mark's patients are farther than `FAR` from their median (m,); there may be no patient near the mark."""
    fewest: int
    """Smallest number of patients that a mark represents."""


@dataclass(frozen=True)
class Disclosure:
    """Suppresses counts from 1 to `below` - 1. A zero in a table with fixed rows is shown: it concerns nobody.

    A *name* taken from the data is different: its presence alone reveals that at least one patient has, or had, it (`named`).

    If a total is shown with a count, the rest is a count too: "221 of 222" reveals one patient. So the count and the rest are both
    guarded.
    """

    below: int

    def small(self, count: int) -> bool:
        """Return whether a count is suppressed."""
        return 0 < count < self.below

    def named(self, patients: int) -> bool:
        """Return whether a name taken from the data may be shown, given how many patients have it now.

        With no patients it may not: a vocabulary keeps its concepts, and showing one that no patient has any more would reveal that
        somebody who had it opted out. Use this for tables of clusters, whose counts are shown; for names from all data see
        `figures.Naming`.
        """
        return patients >= self.below

    def large_enough(self, sizes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return a mask (K,) of the groups, of sizes (K,), that are large enough to be shown."""
        return sizes >= self.below

    def show(self, count: int, of: int | None = None) -> str:
        """Return a count as text: '1,234', or '<10'; or a bound ('>1,224') if the rest of a total `of` is small."""
        if self.small(count):
            return f"<{self.below}"
        return f">{max(of - self.below, 0):,}" if of is not None and self.small(of - count) else f"{count:,}"

    def share(self, count: int, of: int) -> str:
        """Return a share as text: '–' if either number is small, a lower bound if the rest is small or would be rounded away."""
        if not of or self.small(count) or self.small(of):
            return "–"
        if self.small(of - count):
            return f">{math.floor(100 * (of - self.below) / of)} %" if of > self.below else "–"
        return not_all(f"{100 * count / of:.1f} %", count, of)

    def about(self, count: int, of: int | None = None) -> str:
        """Return a count rounded to a multiple of the threshold, so that differences between counts do not reveal a
        few patients.

        If the remainder of the total, `of - count`, is below the threshold (also if it is 0), a lower bound is returned: with
        a total of 16 and a threshold of 10, 'about 20' would reveal that the count is 15 or 16.
        """
        if self.small(count):
            return f"<{self.below}"
        if of is not None and self.below > 1 and of - count < self.below:
            return f">{max(of - self.below, 0):,}"
        return f"about {self.rounded(count):,}" if count and self.below > 1 else f"{count:,}"

    def around(self, count: int) -> tuple[int, int]:
        """Return the smallest and the largest count that `about` shows as the same text."""
        if not count or self.below == 1:
            return count, count
        if self.small(count):
            return 1, self.below - 1
        fewest = self.rounded(count) - self.below // 2
        return max(fewest, self.below), fewest + self.below - 1

    def rounded(self, count: int) -> int:
        """Return a count rounded to the nearest multiple of the threshold, as `about` shows it."""
        return (count + self.below // 2) // self.below * self.below

    def rounded_or_none(self, count: int) -> int:
        """Return a count rounded, or 0 if it is under one and a half times the threshold, even if it is not 0.

        So a reader who knows the exact total knows the rest of it only within a range as wide as the threshold.
        """
        return 0 if self.below > 1 and 2 * count < 3 * self.below else self.rounded(count)

    def coarse(self, count: int, of: int) -> str:
        """Return a share as a range that contains the true share and reveals no more than the count rounded by `about`.

        '69–86 %', or 'about 22 %' if both ends round to one number; a bound such as '<5 %' if few or no patients are in the
        count, or few or none outside it. '–' if `of` is less than twice the threshold.
        """
        if not of or of < 2 * self.below:
            return "–"
        if self.below > 1 and count < self.below:
            return f"<{math.ceil(100 * self.below / of)} %"
        if self.below > 1 and of - count < self.below:
            return f">{math.floor(100 * (of - self.below) / of)} %"
        if self.below == 1:
            return f"about {round(100 * count / of)} %"
        fewest, most = self.around(count)
        return self.between(fewest, min(most, of - self.below), of)

    def between(self, fewest: int, most: int, of: int) -> str:
        """Return a share of a group as a range from `fewest` to `most`, coarse as by `coarse`; '–' if the group is small."""
        if not of or of < 2 * self.below:
            return "–"
        low, high = 100 * fewest / of, 100 * most / of
        if most >= of:
            return f">{math.floor(low)} %"
        if fewest <= 0:
            return f"<{math.ceil(high)} %"
        return f"about {round(low)} %" if round(low) == round(high) else f"{math.floor(low)}–{math.ceil(high)} %"

    def mean(self, share: float, of: int) -> tuple[float, float]:
        """Return the ends of the range that may be shown for the mean share (0 to 1) of a group of `of` patients.

        Both ends are usually the share itself. But if the share amounts to fewer patients than the threshold, the range goes from 0
        to the threshold as a share of the group. If the rest amounts to fewer patients, the range goes up to 1 in the same way.
        """
        least = self.below / of if self.below > 1 and of else 0.0
        if share < least:
            return 0.0, min(least, 1.0)
        if 1 - share < least:
            return max(1 - least, 0.0), 1.0
        return share, share

    def composition(
        self, counts: Mapping[str, int], of: int, other: Mapping[str, int] | None = None
    ) -> list[tuple[str, str]]:
        """Return the categories of a group of `of` patients with their shares, in order. Other tables may hide some of the counts.

        Shares are coarse: an exact one would allow a reader to compute what is hidden elsewhere. If fewer than the threshold, or
        none, are outside a category, its share is a lower bound. Small categories are omitted. A share is exact only if another
        table shows the same count under the same name (`other`), and the group has no small category that it would reveal.
        """
        alone = not any(self.small(count) for count in counts.values())
        return [
            (name, self.share(count, of) if alone and (other or {}).get(name) == count else self._part(count, of))
            for name, count in counts.items()
            if count and count >= self.below
        ]

    def _part(self, count: int, of: int) -> str:
        if self.below > 1 and of - count < self.below:
            return f">{math.floor(100 * (of - self.below) / of)} %" if of > self.below else "–"
        return self.coarse(count, of)

    def nested_need_rounding(self, counts: Sequence[int]) -> bool:
        """Return whether successive numbers of patients, each a part of the one before, are so close that they must be rounded."""
        return any(self.small(more - less) for more, less in pairwise(counts))

    def part(self, count: int, of: int) -> str:
        """Return a share made of two counts as `about` shows them: 'about 12 %'; a bound if the rest is small."""
        whole = self.rounded(of)
        if self.below == 1:
            return f"{100 * count / of:.0f} %"
        if of - count < self.below:
            return f">{max(math.floor(100 - 100 * self.below / max(whole - self.below // 2, 1)), 0)} %"
        return f"about {100 * self.rounded(count) / whole:.0f} %"

    def marks(self, points: NDArray[np.floating], group: NDArray[np.integer], most: int, salt: str = "") -> Marks:
        """Return the marks (up to about `most`) that a map may show for n patients, given their places (n, 2) and groups (n,).

        Groups of fewer than `below` patients are pooled as `OTHERS`, which are not drawn if they too are fewer than
        `below`. Each mark combines neighbours of one group (microaggregation: Domingo-Ferrer and Mateo-Sanz 2002, IEEE
        Trans. Knowl. Data Eng. 14(1)), so that patients can neither be counted nor be located by comparing two maps.

        Maps with different `salt` divide the same patients along different axes, and move each mark by up to about half the spread
        of its patients, so that no mark of one map is also a mark of the other, even where both show the same group. The marks of
        each group are in the order of their places, which says nothing about the order of patients.
        """
        numbers, counts = np.unique(group, return_counts=True)
        group = np.where(np.isin(group, numbers[~self.large_enough(counts)]), OTHERS, group)
        fewest = max(self.below, -(-len(group) // most))
        places, drawn, apart = [np.empty((0, 2))], [np.empty(0, np.int64)], [np.empty(0, bool)]
        rng = np.random.default_rng(list(hashlib.blake2b(salt.encode(), digest_size=16, person=b"marks").digest()))
        angle = rng.uniform(0, np.pi / 2) if salt else 0.0
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        for number in np.unique(group).tolist():
            places_of_group = points[group == number].astype(np.float64)
            if len(places_of_group) >= self.below:
                marks, away = _joined(places_of_group @ turned if salt else places_of_group, fewest)
                if salt:
                    marks = (marks + rng.uniform(-0.5, 0.5, marks.shape) * away[:, None]) @ turned.T
                order = np.lexsort(marks.T)
                marks, away = marks[order], away[order]
                places.append(marks)
                drawn.append(np.full(len(marks), number))
                apart.append(away > FAR * np.ptp(points, axis=0).max())
        return Marks(np.concatenate(places), np.concatenate(drawn), np.concatenate(apart), self.below)


def _joined(points: NDArray[np.float64], fewest: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the places (m, 2) of a group's marks, made of patients at `points` (n, 2), and, for each mark, the median distance
    (m,) of its patients from their own median."""
    if fewest == 1:
        return points, np.zeros(len(points))
    marks, away = [], []
    for part in _parts(points, fewest):
        middle = np.median(part, axis=0)
        distance = np.linalg.norm(part - middle, axis=1)
        nearer = np.argsort(distance, kind="stable")[: max(len(part) // 2, 2)]
        marks.append(part[nearer].mean(0))  # not the median, which may be a patient's place
        away.append(np.median(distance))
    return np.array(marks), np.array(away)


def _parts(points: NDArray[np.float64], fewest: int) -> Iterator[NDArray[np.float64]]:
    """Divide points (n, 2) into parts of `fewest` to 2 x `fewest` - 1 neighbours; one part if there are fewer points.

    Parts are split repeatedly along their wider side, at the widest gap of the middle half, so that islands stay separate.
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
