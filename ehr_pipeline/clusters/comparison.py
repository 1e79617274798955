"""Compare clusters of the same patients made by several methods, in one table."""

from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score, silhouette_score

from ehr_pipeline.clusters.cluster_stability import FEWEST, Sampling, jaccard, subsets
from ehr_pipeline.clusters.methods import METHODS, Labels, Vectors
from ehr_pipeline.clusters.neighbour_graph import neighbour_graph
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.tables import schemas

FILE = "comparison.csv"
SILHOUETTE_OF = 5000
SUBSETS = 3


@dataclass(frozen=True)
class Row:
    """The measures of one method; None where there is no value."""

    method: str
    clusters: int
    smallest: int
    largest: int
    unassigned: int
    agreement: float
    """Adjusted Rand index with the clusters of the report."""
    stability: float | None
    """Mean Jaccard coefficient of the method's clusters over three subsets of the patients."""
    silhouette: float | None
    """Mean silhouette by cosine distance, of at most 5,000 patients."""


def row(method: str, unit: Vectors, labels: Labels, chosen: Labels, sampling: Sampling, *, n: int, again: str) -> Row:
    """Return the row of a method with labels (patients,), compared with the labels `chosen` for the report. Its stability is that
    of dividing subsets into n clusters by the method `again`."""
    sizes = np.bincount(labels[labels >= 0])
    return Row(
        method,
        len(sizes),
        int(sizes.min(initial=len(labels))),
        int(sizes.max(initial=0)),
        int((labels < 0).sum()),
        float(adjusted_rand_score(chosen, labels)),
        _stability(unit, labels, again, sampling, n),
        _silhouette(unit, labels, sampling.seed),
    )


def write(folder: Path, rows: list[Row]) -> None:
    """Write the table to a folder."""
    spreadsheet.write(folder / FILE, schemas.COMPARISON, (map(_text, astuple(one)) for one in rows))


def read(folder: Path) -> list[Row]:
    """Read the rows from the folder of a `clusters` artifact. Raises Damaged when the table is not valid."""
    return [Row(**row) for row in spreadsheet.read(folder / FILE, schemas.COMPARISON)]


def _text(value: str | float | None) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _stability(unit: Vectors, labels: Labels, method: str, sampling: Sampling, n: int) -> float | None:
    if len(unit) < FEWEST or labels.max() < 0:
        return None
    few = Sampling(min(SUBSETS, sampling.count), sampling.patients, sampling.neighbours, sampling.seed)
    overlaps, n = [], min(n, len(unit) // 2 - 1)
    for number, rows in enumerate(subsets(len(unit), few)):
        part = unit[rows]
        again = METHODS[method](part, neighbour_graph(part, few.neighbours, few.seed + number), n, few.seed + number)
        if again.max() >= 0:
            there = np.unique(labels[rows][labels[rows] >= 0])
            overlaps.append(float(jaccard(labels[rows], again, int(labels.max()) + 1)[there].max(axis=1).mean()))
    return float(np.mean(overlaps)) if overlaps else None


def _silhouette(unit: Vectors, labels: Labels, seed: int) -> float | None:
    inside = np.flatnonzero(labels >= 0)
    if len(inside) > SILHOUETTE_OF:
        inside = np.random.default_rng([seed, 0x511]).choice(inside, SILHOUETTE_OF, replace=False)
    kinds = len(np.unique(labels[inside]))
    if not 1 < kinds < len(inside):
        return None
    return float(silhouette_score(unit[inside], labels[inside], metric="cosine"))
