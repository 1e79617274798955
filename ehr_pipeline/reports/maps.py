"""The maps of patients: by cluster, by density, and by every audited attribute."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.reports import pictures
from ehr_pipeline.reports.cards import AGE_BANDS, band_name
from ehr_pipeline.reports.disclosure import OTHERS, Disclosure, Marks
from ehr_pipeline.reports.settings import ReportsSettings

TITLES = {
    "concepts": "Number of concepts",
    "age": "Age at the last visit (years)",
    "year": "Year of the first disease record",
}
MOST_CATEGORIES = 12  # that colours can tell apart; the less frequent ones are 'others'
DENSE = 5_000  # patients, from which on a map of density is drawn as well


def draw(
    attributes: dict[str, NDArray[Any]],
    clustered: pa.Table,
    settings: ReportsSettings,
    disclosure: Disclosure,
    out: Path,
) -> list[tuple[str, Path]]:
    """Draw the map by cluster, where there are many patients by density, and by each attribute (n,). Returns names and files."""
    points, cluster = places(clustered), clustered.column("cluster").to_numpy()
    numbers, labels = np.unique(cluster, return_inverse=True)

    def marks(groups: NDArray[np.integer]) -> Marks:
        return disclosure.marks(points, groups, settings.map_points)

    drawn = [("cluster", out / "map_cluster.png")]
    pictures.map_of_clusters(drawn[0][1], marks(labels), centres(points, cluster, disclosure), len(numbers))
    if len(points) >= DENSE:
        drawn.append(("density", out / "map_density.png"))
        pictures.map_of_density(drawn[-1][1], points, disclosure.below)
    for name, values in attributes.items():
        title = TITLES.get(name, name.capitalize())
        path = out / f"map_{name}.png"
        if name == "age":
            bands = np.searchsorted(AGE_BANDS[1:], values, side="right")
            pictures.map_in_bands(path, marks(bands), [band_name(band) for band in range(len(AGE_BANDS))], title)
        elif np.issubdtype(values.dtype, np.number):
            edges = np.unique(np.quantile(values, (0.2, 0.4, 0.6, 0.8)).round())
            bands = np.searchsorted(edges, values, side="right")
            pictures.map_in_bands(path, marks(bands), _between(edges), title)
        else:
            names, coded = _most_frequent(values)
            pictures.map_of_categories(path, marks(coded), names, title)
        drawn.append((name, path))
    return drawn


def places(clustered: pa.Table) -> NDArray[np.float64]:
    """Where patients lie on the map (n, 2)."""
    return np.stack([clustered.column(name).to_numpy().astype(np.float64) for name in "xy"], axis=1)


def centres(
    points: NDArray[np.float64], cluster: NDArray[np.integer], disclosure: Disclosure
) -> dict[int, tuple[float, float]]:
    """The median place of each cluster (by its number) of which may be told; `points` (n, 2), `cluster` (n,)."""
    numbers, sizes = np.unique(cluster, return_counts=True)
    told = numbers[sizes >= disclosure.below].tolist()
    medians = {number: np.median(points[cluster == number], axis=0) for number in told}
    return {number: (float(x), float(y)) for number, (x, y) in medians.items()}


def _between(edges: NDArray[np.float64]) -> list[str]:
    """The bands that edges make, in words."""
    texts = [f"{edge:.0f}" for edge in edges]
    return [
        f"under {texts[0]}",
        *(f"{low} to <{high}" for low, high in pairwise(texts)),
        f"{texts[-1]} and over",
    ]


def _most_frequent(values: NDArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Names, and the place (n,) of each value in them; `OTHERS` where it is not among the most frequent."""
    names, coded, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(names) <= MOST_CATEGORIES:
        return [str(name) for name in names], coded
    kept = np.sort(np.argsort(-counts, kind="stable")[: MOST_CATEGORIES - 1])
    place = np.full(len(names), OTHERS)
    place[kept] = np.arange(len(kept))
    return [str(name) for name in names[kept]], place[coded]
