"""The maps of patients: by cluster, by density, and by every audited attribute."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.reports import pictures
from ehr_pipeline.reports.cards import AGE_BANDS, band_name
from ehr_pipeline.reports.disclosure import Disclosure
from ehr_pipeline.reports.settings import ReportsSettings

TITLES = {
    "concepts": "Number of concepts",
    "age": "Age at the last visit (years)",
    "year": "Year of the first disease record",
}
MOST_CATEGORIES = 12  # that colours can tell apart; the less frequent ones are 'other'
DENSE = 5_000  # patients, from which on a map of density is drawn as well


def draw(
    attributes: dict[str, NDArray[Any]],
    clustered: pa.Table,
    settings: ReportsSettings,
    disclosure: Disclosure,
    out: Path,
) -> list[tuple[str, Path]]:
    """Draw the map by cluster, where there are many patients by density, and by each attribute (n,). Returns names and files."""
    keep = np.arange(clustered.num_rows)
    if len(keep) > settings.map_points:
        keep = np.sort(np.random.default_rng(0x3AB).choice(keep, settings.map_points, replace=False))
    points = np.stack([clustered.column(name).to_numpy() for name in "xy"], axis=1)[keep]
    cluster = clustered.column("cluster").to_numpy()[keep]
    drawn = [("cluster", out / "map_cluster.png")]
    pictures.map_of_clusters(drawn[0][1], points, cluster)
    if len(keep) >= DENSE:
        drawn.append(("density", out / "map_density.png"))
        pictures.map_of_density(drawn[-1][1], points, disclosure.below)
    for name, values in attributes.items():
        title = TITLES.get(name, name.capitalize())
        path = out / f"map_{name}.png"
        values = values[keep]
        if name == "age":
            names = [band_name(band) for band in range(len(AGE_BANDS))]
            bands = np.searchsorted(AGE_BANDS[1:], values, side="right")
            pictures.map_in_bands(path, points, bands, names, title)
        elif np.issubdtype(values.dtype, np.number):
            edges = np.unique(np.quantile(values, (0.2, 0.4, 0.6, 0.8)).round())
            bands = np.searchsorted(edges, values, side="right")
            pictures.map_in_bands(path, points, bands, _between(edges), title)
        else:
            pictures.map_of_categories(path, points, _most_frequent(disclosure.merge_rare(values)), title)
        drawn.append((name, path))
    return drawn


def _between(edges: NDArray[np.float64]) -> list[str]:
    """The bands that edges make, in words."""
    texts = [f"{edge:.0f}" for edge in edges]
    return [
        f"under {texts[0]}",
        *(f"{low} to <{high}" for low, high in pairwise(texts)),
        f"{texts[-1]} and over",
    ]


def _most_frequent(values: NDArray[Any]) -> NDArray[Any]:
    names, counts = np.unique(values, return_counts=True)
    if len(names) <= MOST_CATEGORIES:
        return values
    rare = names[np.argsort(-counts, kind="stable")[MOST_CATEGORIES - 1 :]]
    return np.where(np.isin(values, rare), "other", values)
