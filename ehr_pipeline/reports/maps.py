"""The maps of patients: by cluster, by density, and by every audited attribute."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.disclosure.suppression import OTHERS, Disclosure
from ehr_pipeline.reports import pictures
from ehr_pipeline.reports.cards import AGE_BANDS, band_name
from ehr_pipeline.reports.settings import ReportsSettings

TITLES = {
    "concepts": "Number of concepts",
    "age": "Age at the last visit (years)",
    "year": "Year of the first disease record",
}
MOST_CATEGORIES = 12  # that can be distinguished by colour; the less frequent ones are 'others'
NOT_KNOWN = "not known"
"""The name of the group of patients without a value."""
DENSE = 5_000  # smallest number of patients for which a map of density is drawn as well


def draw(
    attributes: dict[str, NDArray[Any]],
    clusters: Clusters,
    settings: ReportsSettings,
    disclosure: Disclosure,
    out: Path,
) -> dict[str, Path | None]:
    """Draw the map by cluster, by each attribute (n,), and by density if there are many patients.

    Returns the file of each map; None where it would show nothing: no cluster, or fewer than two groups, may be shown.
    """
    points = clusters.points.astype(np.float64)
    numbers, labels = np.unique(clusters.numbers, return_inverse=True)
    drawn: dict[str, Path | None] = {"cluster": None}
    if told := centres(points, clusters.numbers, disclosure):
        drawn["cluster"] = path = out / "map_cluster.png"
        pictures.map_of_clusters(path, disclosure.marks(points, labels, settings.map_points), told, len(numbers))
    if len(points) >= DENSE:
        drawn["density"] = path = out / "map_density.png"
        pictures.map_of_density(path, points, disclosure.below)
    for name, values in attributes.items():
        names, coded, ordered = _groups(name, values)
        marks = disclosure.marks(points, coded, settings.map_points)
        drawn[name] = None
        if len(np.unique(marks.group)) > 1:
            drawn[name] = path = out / f"map_{name}.png"
            title = TITLES.get(name, name.capitalize())
            if ordered:
                pictures.map_in_bands(path, marks, names, title, len(names) - names.count(NOT_KNOWN))
            else:
                pictures.map_of_categories(path, marks, names, title)
    return drawn


def _groups(name: str, values: NDArray[Any]) -> tuple[list[str], NDArray[np.integer], bool]:
    """Group an attribute (n,): return the names of groups, each value's index in them (n,), and whether they are ordered."""
    if name == "age":
        bands = np.searchsorted(AGE_BANDS[1:], values, side="right")
        return [band_name(band) for band in range(len(AGE_BANDS))], bands, True
    if np.issubdtype(values.dtype, np.number):
        return *_bands(values), True
    return *_most_frequent(values), False


def centres(
    points: NDArray[np.float64], cluster: NDArray[np.integer], disclosure: Disclosure
) -> dict[int, tuple[float, float]]:
    """Return the median place of each cluster that may be shown, by number; `points` (n, 2), `cluster` (n,)."""
    numbers, sizes = np.unique(cluster, return_counts=True)
    medians = {
        number: np.median(points[cluster == number], axis=0) for number in numbers[disclosure.told(sizes)].tolist()
    }
    return {number: (float(x), float(y)) for number, (x, y) in medians.items()}


def _bands(values: NDArray[np.number]) -> tuple[list[str], NDArray[np.integer]]:
    """Return the names of the fifths of a number (n,), and the index of each value's fifth (n,); NaN values come last."""
    known = np.isfinite(values)
    if not known.any():
        return [NOT_KNOWN], np.zeros(len(values), np.int64)
    digits = _digits(values[known])
    edges = np.unique(np.quantile(values[known], (0.2, 0.4, 0.6, 0.8)).round(digits))
    names = _between(edges, digits)
    bands = np.searchsorted(edges, values, side="right")
    return (names, bands) if known.all() else ([*names, NOT_KNOWN], np.where(known, bands, len(names)))


def _digits(values: NDArray[np.floating]) -> int:
    """Return the decimals for the names of bands: 0 for whole numbers, otherwise about two significant digits."""
    if not len(values) or (values == np.round(values)).all():
        return 0
    spread = float(np.subtract(*np.quantile(values, (0.8, 0.2))))
    return int(np.clip(1 - np.floor(np.log10(spread)), 0, 6)) if spread > 0 else 0


def _between(edges: NDArray[np.float64], digits: int) -> list[str]:
    """Return the names of the bands between edges."""
    texts = [f"{edge:.{digits}f}" for edge in edges]
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
