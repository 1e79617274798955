"""The map of patients: one frame, coloured by cluster and by every audited attribute. Each colouring has separate marks."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.disclosure.suppression import OTHERS, Disclosure, Marks
from ehr_pipeline.drawing import plots
from ehr_pipeline.reports.cards import AGE_BANDS, band_name
from ehr_pipeline.reports.settings import ReportsSettings

TITLES = {
    "cluster": "Cluster",
    "concepts": "Number of concepts",
    "age": "Age at the last visit (years)",
    "year": "Year of the first disease record",
}
MENU = {"concepts": "Amount of record", "age": "Age", "year": "First record"}
"""Shorter words for the menu of colours."""
MOST_CATEGORIES = 12  # that can be distinguished by colour; the less frequent ones are 'others'
UNKNOWN = "not known"
"""The name of the group of patients without a value."""
OTHER_COLOUR, PALE = "#404040", "#c0c4c8"
"""The colours of `OTHERS`, and of patients without a value."""


@dataclass(frozen=True)
class Group:
    """The patients that one colour of a map represents."""

    name: str
    colour: str
    share: str
    """Its share of the patients, rounded."""


@dataclass(frozen=True)
class Layer:
    """The map in one colouring: marks (m) with the groups that they belong to."""

    name: str
    title: str
    menu: str
    """Its name in the menu of colours."""
    groups: dict[int, Group]
    """The groups that have marks, by the numbers that the marks have; `OTHERS` last."""
    marks: Marks


def layers(
    attributes: dict[str, NDArray[Any]],
    clusters: Clusters,
    settings: ReportsSettings,
    disclosure: Disclosure,
    key: str,
) -> dict[str, Layer | None]:
    """Return the map by cluster and by each attribute (n,); `key` is a secret of the study.

    A layer is None if it would show nothing: if no cluster, or fewer than two groups, may be shown.
    """
    points = clusters.points.astype(np.float64)
    numbers, labels = np.unique(clusters.numbers, return_inverse=True)

    def layer(name: str, names: list[str], coded: NDArray[np.integer], colours: list[str]) -> Layer:
        marks = disclosure.marks(points, coded, settings.map_points, f"{key}/{name}")
        groups = {
            number: Group(
                "others" if number == OTHERS else names[number],
                OTHER_COLOUR if number == OTHERS else colours[number],
                _share(coded, number, marks, disclosure),
            )
            for number in sorted(np.unique(marks.group).tolist(), key=lambda number: (number == OTHERS, number))
        }
        title = TITLES.get(name, name.capitalize())
        return Layer(name, title, MENU.get(name, title), groups, marks)

    by_cluster = layer("cluster", [str(n) for n in numbers.tolist()], labels, plots.distinct(len(numbers)))
    found: dict[str, Layer | None] = {"cluster": by_cluster if centres(by_cluster.marks) else None}
    for name, values in attributes.items():
        names, coded, ordered = _groups(name, values)
        known = len(names) - names.count(UNKNOWN) if ordered else len(names)
        colours = [*plots.steps(known), *[PALE] * (len(names) - known)] if ordered else plots.distinct(len(names))
        drawn = layer(name, names, coded, colours)
        found[name] = drawn if len(drawn.groups) > 1 else None
    return found


def _share(coded: NDArray[np.integer], number: int, marks: Marks, disclosure: Disclosure) -> str:
    """Return the share of a group's patients as text; `OTHERS` is the group of all patients whose own group has no marks."""
    if number == OTHERS:
        shown = [own for own in np.unique(marks.group).tolist() if own != OTHERS]
        return disclosure.part(int((~np.isin(coded, shown)).sum()), len(coded))
    return disclosure.part(int((coded == number).sum()), len(coded))


def centres(marks: Marks) -> dict[int, tuple[float, float]]:
    """For each group except `OTHERS`, return the place for its number on the map: the place of the mark nearest to the middle of
    its marks."""
    found = {}
    for number in np.unique(marks.group).tolist():
        places = marks.places[marks.group == number]
        if number != OTHERS:
            nearest = places[np.linalg.norm(places - np.median(places, axis=0), axis=1).argmin()]
            found[number] = (float(nearest[0]), float(nearest[1]))
    return found


def _groups(name: str, values: NDArray[Any]) -> tuple[list[str], NDArray[np.integer], bool]:
    """Group an attribute (n,): return the names of groups, each value's index in them (n,), and whether they are ordered."""
    if name == "age":
        bands = np.searchsorted(AGE_BANDS[1:], values, side="right")
        return [band_name(band) for band in range(len(AGE_BANDS))], bands, True
    if np.issubdtype(values.dtype, np.number):
        return *_bands(values), True
    return *_most_frequent(values), False


def _bands(values: NDArray[np.number]) -> tuple[list[str], NDArray[np.integer]]:
    """Divide numbers (n,) into fifths. Returns the names, and the index of each value's fifth (n,); NaN values come last."""
    known = np.isfinite(values)
    if not known.any():
        return [UNKNOWN], np.zeros(len(values), np.int64)
    digits = _digits(values[known])
    edges = np.unique(np.quantile(values[known], (0.2, 0.4, 0.6, 0.8)).round(digits))
    names = _between(edges, digits)
    bands = np.searchsorted(edges, values, side="right")
    return (names, bands) if known.all() else ([*names, UNKNOWN], np.where(known, bands, len(names)))


def _digits(values: NDArray[np.floating]) -> int:
    """Return the number of decimals in the names of bands: as many as show the spread of the values with two digits.

    It is never above 0 for whole numbers. A negative number rounds the names to tens, hundreds and so on.
    """
    if not len(values):
        return 0
    spread = float(np.subtract(*np.quantile(values, (0.8, 0.2))))
    most = 0 if (values == np.round(values)).all() else 6
    return int(np.clip(1 - np.floor(np.log10(spread)), -6, most)) if spread > 0 else 0


def _between(edges: NDArray[np.float64], digits: int) -> list[str]:
    """Return the names of the bands between edges."""
    texts = [f"{edge:.{max(digits, 0)}f}" for edge in edges]
    return [f"under {texts[0]}", *(f"{low} to <{high}" for low, high in pairwise(texts)), f"{texts[-1]} and over"]


def _most_frequent(values: NDArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the most frequent names, and the index of each value in them (n,); `OTHERS` if it is not among them."""
    names, coded, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(names) <= MOST_CATEGORIES:
        return [str(name) for name in names], coded
    kept = np.sort(np.argsort(-counts, kind="stable")[: MOST_CATEGORIES - 1])
    place = np.full(len(names), OTHERS)
    place[kept] = np.arange(len(kept))
    return [str(name) for name in names[kept]], place[coded]
