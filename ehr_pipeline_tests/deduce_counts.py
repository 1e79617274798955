"""What an attacker knows of the counts of a study: each text that tells of one narrows it, and counts add up.

What came in is kept, collapsed or dropped; what one stage keeps the next takes in; parts sum to wholes. All counts are narrowed by
all of this at once, until nothing changes, and so by all pairs. Found is

- a count from 1 to the threshold - 1 of which fewer values are left than these,
- a hidden count of which one value is left, though it does not follow from what is shown exactly,
- a number somewhere in a text that is a hidden count, digit by digit. A bound is read as its number and as the nearest value that
  it allows: ">308" as 308 and as 309. It is no finding where one of the two is known to all: it may follow from that one. Nor is
  a number of an asset from which its place is not made. `Attack.excused` lists both; `attack_on_outputs.stays` shows whether
  they are the same with another secret.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ehr_pipeline.disclosure.kinds import Plain, Score, Share, figures
from ehr_pipeline.store.count_kinds import declared
from ehr_pipeline.tables.asset_names import STAGES as ASSETS

MOST = 10**12
VERBATIM = 100
"""Hidden counts from here on are looked for digit by digit: smaller ones stand in any text by chance."""


@dataclass(frozen=True)
class Shown:
    """A text that tells of a count, or of the sum of several."""

    place: str
    counts: tuple[str, ...]
    text: str
    low: int
    high: int


@dataclass(frozen=True)
class Secrets:
    """What is to be had: the counts of a study by their place in the manifests, and how they add up."""

    counts: Mapping[str, int]
    sums: list[tuple[str, tuple[str, ...]]]
    """A count, and those that it is the sum of."""
    things: frozenset[int]
    """Numbers that tell of nobody."""


@dataclass(frozen=True)
class Excused:
    """A text with the digits of a hidden count, which follows from a count that is known to all, or cannot know the hidden one."""

    name: str
    text: str
    place: str


@dataclass
class Attack:
    """What was read, and what is known of each count."""

    secrets: Secrets
    below: int
    shown: list[Shown] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """All that is shown, by its place, for what is looked for digit by digit."""
    made_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The assets from which places are made, of those places that are not made from all."""
    excused: list[Excused] = field(default_factory=list)
    """Filled by `found`."""

    @property
    def pairs(self) -> int:
        """How many pairs of texts tell of the same count, or of counts that add up."""
        of: dict[str, int] = {}
        for one in self.shown:
            for name in one.counts:
                of[name] = of.get(name, 0) + 1
        same = sum(number * (number - 1) // 2 for number in of.values())
        added = [[of.get(name, 0) for name in (whole, *parts)] for whole, parts in self.secrets.sums]
        return same + sum((sum(each) ** 2 - sum(n * n for n in each)) // 2 for each in added)

    def known(self, exact: bool = False) -> dict[str, tuple[int, int]]:
        """The fewest and the most that each count can be; by what is shown `exact`ly alone, or by all."""
        ends = dict.fromkeys(self.secrets.counts, (0, MOST))
        equations = [(one.counts, one.low, one.high) for one in self.shown if not exact or one.low == one.high]
        for names, low, high in equations:
            if len(names) == 1:
                ends[names[0]] = max(ends[names[0]][0], low), min(ends[names[0]][1], high)
        for _ in range(100):
            before = dict(ends)
            for names, low, high in equations:
                _narrow(ends, names, low, high)
            for whole, parts in self.secrets.sums:
                low, high = (sum(ends[name][side] for name in parts) for side in (0, 1))
                ends[whole] = max(ends[whole][0], low), min(ends[whole][1], high)
                _narrow(ends, parts, *ends[whole])
            if ends == before:
                break
        return ends

    def found(self) -> list[str]:
        """What follows and should not, in words."""
        for one in self.shown:
            count = sum(self.secrets.counts[name] for name in one.counts)
            assert one.low <= count <= one.high, (
                f"misread: {one.text} in {one.place} of {one.counts}, which are {count}"
            )
        ends, public = self.known(), self.known(exact=True)
        problems: list[str] = []
        hidden: dict[int, list[str]] = {}
        for name, count in self.secrets.counts.items():
            low, high = ends[name]
            assert low <= count <= high, f"{name} is {count}, but was read as {low} to {high}"
            if 0 < count < self.below:
                if low > 1 or high < self.below - 1:
                    problems.append(f"{name}, which is {count}, lies from {low} to {high}")
            elif count and public[name][0] != public[name][1]:
                hidden.setdefault(count, []).append(name)
                if low == high:
                    problems.append(f"{name} is {count} and nothing else")
        open_to_all = {count for name, count in self.secrets.counts.items() if public[name][0] == public[name][1]}
        return problems + self._digit_by_digit(hidden, open_to_all)

    def _could_know(self, place: str, name: str) -> bool:
        """Whether a place is made from the asset of a count. What no manifest holds may be known everywhere."""
        asset = name.partition("/")[0]
        return asset in self.made_of.get(place, (asset,)) or asset not in ASSETS

    def _digit_by_digit(self, hidden: Mapping[int, list[str]], open_to_all: set[int]) -> list[str]:
        """What stands in a text as a hidden count does; `excused` takes up what is no finding by itself."""
        problems: list[str] = []
        self.excused.clear()
        known = self.secrets.things | open_to_all
        for place, text in self.texts.items():
            for sign, digits in re.findall(r"(?<![\w.,:–-])([<>]?)(\d[\d,]*)(?![\w:–-])(?!\.\d)", text):
                number = integer(digits)
                allowed = number + {"<": -1, ">": 1, "": 0}[sign]
                for one in {number, allowed}:
                    if one not in hidden or one < VERBATIM or not one % self.below or one in known:
                        continue
                    names = [name for name in hidden[one] if self._could_know(place, name)]
                    if not names or {number, allowed} & open_to_all:
                        self.excused.append(Excused((names or hidden[one])[0], sign + digits, place))
                    else:
                        problems.append(f"{names[0]}: {one} stands in {place}, as {sign}{digits}")
        return problems


def _narrow(ends: dict[str, tuple[int, int]], names: tuple[str, ...], low: int, high: int) -> None:
    """What a sum from `low` to `high` tells of each of its parts."""
    least, most = (sum(ends[name][side] for name in names) for side in (0, 1))
    for name in names:
        fewest, largest = ends[name]
        ends[name] = (
            max(fewest, low - (most - largest)),
            min(largest, high - (least - fewest)),
        )


def integer(text: str) -> int:
    """A number that may have commas between thousands; 0 for none."""
    return int(text.replace(",", "") or 0)


def secrets(manifests: Mapping[str, Any], sizes: Mapping[int, int], things: Iterable[int] = ()) -> Secrets:
    """The counts of manifests by asset and the sizes of clusters by number, and how they add up."""
    counts = {place: number for asset, found in manifests.items() for place, number in _numbers(found, asset)}
    counts |= {f"size/{number}": size for number, size in sizes.items()}
    dataset, cohort = "patient_dataset/patients/kept", "cohort/kept"
    counts["none_of_the_diseases"] = counts[dataset] - counts[cohort]
    chains = (
        ("raw_records/kept", "extract_catalog/kept", "mapped_events/rows_in"),
        ("mapped_events/kept", "vocabulary/events/rows_in", "patient_dataset/rows_in"),
        ("patient_dataset/kept", "encoder_checkpoint/rows_in"),
        (dataset, "data_split/rows_in", "data_split/kept"),
        (cohort, "patient_embeddings/rows_in"),
        ("patient_embeddings/kept", "clusters/rows_in", "clusters/kept", "cluster_reports/rows_in"),
        ("clusters/kept", "patient_trajectories/patients/rows_in"),
    )
    sums = [
        *_conserved(counts),
        (dataset, (cohort, "none_of_the_diseases")),
        ("data_split/kept", ("data_split/train", "data_split/validation")),
        ("clusters/kept", tuple(name for name in counts if name.startswith("size/"))),
        (cohort, tuple(name for name in counts if name.startswith("cohort/by_disease/"))),
        (
            "raw_records/patients/kept",
            ("patient_dataset/patients/rows_in", "patient_dataset/patients_without_events"),
        ),
        (
            "patient_dataset/dropped/not_in_vocabulary",
            tuple(name for name in counts if name.startswith("vocabulary/events/dropped/")),
        ),
        *((one, (other,)) for chain in chains for one, other in pairwise(chain)),
    ]
    there = [(whole, parts) for whole, parts in sums if {whole, *parts} <= counts.keys()]
    true = [(whole, parts) for whole, parts in there if counts[whole] == sum(counts[part] for part in parts)]
    return Secrets(counts, true, frozenset(things))


def _numbers(found: Any, place: str) -> Iterator[tuple[str, int]]:
    """All whole numbers of counts, things apart, by place."""
    kinds = figures(found, declared(place))

    def walk(counts: Any, kind: Any, path: str) -> Iterator[tuple[str, int]]:
        if isinstance(counts, dict):
            for name, value in counts.items():
                yield from walk(value, kind.get(name) if isinstance(kind, dict) else None, f"{path}/{name}")
        elif isinstance(counts, int) and not isinstance(counts, bool) and not isinstance(kind, Plain | Score | Share):
            yield path, counts

    yield from walk(found, kinds, place)


def _conserved(counts: Mapping[str, int]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What came in is kept, collapsed, or dropped."""
    for name in counts:
        if name.endswith("/rows_in"):
            stem = name.removesuffix("rows_in")
            parts = [stem + part for part in ("kept", "collapsed") if stem + part in counts]
            yield name, (*parts, *(other for other in counts if other.startswith(f"{stem}dropped/")))


def things_of(manifests: Mapping[str, Any]) -> Iterator[int]:
    """Whole numbers of the manifests that tell of nobody."""
    for asset, found in manifests.items():
        named = {name for name, _ in _numbers(found, asset)}
        for place, value in leaves(found, asset):
            if isinstance(value, int) and place not in named:
                yield value


def leaves(found: Any, place: str) -> Iterator[tuple[str, Any]]:
    """What nested counts hold that is no text, by place."""
    if isinstance(found, dict):
        for name, part in found.items():
            yield from leaves(part, f"{place}/{name}" if place else name)
    elif not isinstance(found, bool | str | list):
        yield place, found
