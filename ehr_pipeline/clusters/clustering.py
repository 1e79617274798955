"""Cluster the patients: graph, spectrum, clusters with their numbers, stability, and other methods for comparison.

Writes `trust.json`, `choice.csv`, `support.csv`, `comparison.csv` and `numbers.json` to the artifact.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.clusters import cluster_stability, comparison, number_of_clusters, stable_numbers
from ehr_pipeline.clusters.methods import METHODS, Labels, Vectors, by_size, checked
from ehr_pipeline.clusters.neighbour_graph import neighbour_graph
from ehr_pipeline.clusters.number_of_clusters import HalvesAgreement, largest
from ehr_pipeline.clusters.settings import ClustersSettings
from ehr_pipeline.clusters.spectral import Spectrum, spectrum
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import json_files, schemas

TRUST, CHOICE = "trust.json", "choice.csv"
_log = logging.getLogger("ehr_pipeline")


@dataclass(frozen=True)
class Division:
    """The cluster of every patient, by each requested method."""

    labels: Labels
    """Clusters (n,) from 0, in order of their numbers."""
    numbers: NDArray[np.int64]
    """The number of each cluster (clusters,), in ascending order."""
    others: dict[str, Labels]
    """Clusters (n,) by other methods, numbered from 0 by descending size; -1 for a patient without a cluster."""
    stability: NDArray[np.float64]
    """Stability of each patient (n,); NaN for a patient who was in no subset."""
    counts: Counts
    assigned: NDArray[np.bool_]
    """Flags (n,) of patients who were not clustered but assigned by vote of their nearest clustered patients."""


def divide(
    vectors: Vectors,
    plain: Vectors,
    settings: ClustersSettings,
    seed: int,
    out: Path,
    *,
    tried: list[HalvesAgreement],
    ids: pa.Array,
    earlier: Artifact | None,
) -> Division:
    """Cluster patients by their vectors (n, D), and by `plain` (n, B), the vectors of the baseline without a model.

    `tried` shows which numbers of clusters the data support; if the setting is 'auto', the largest of these is used. A cluster that
    matches one of the artifact `earlier` keeps its number. Raises UserError if the patients cannot be divided.
    """
    n = largest(tried) if settings.n == "auto" else settings.n
    unit = checked(vectors, n)
    graph = neighbour_graph(unit, settings.neighbours, seed, settings.index)
    whole = spectrum(graph, n, seed, max(settings.examine_up_to - n, 0) + 1)
    spectral = settings.method == "spectral"
    unsorted = whole.labels(n) if spectral else METHODS[settings.method](unit, graph, n, seed)
    labels, numbers, numbering = _numbered(by_size(unsorted), ids, earlier if settings.keep_numbers else None)
    json_files.write(out / stable_numbers.FILE, numbering)
    sampling = cluster_stability.Sampling(settings.resamples, settings.resample_patients, settings.neighbours, seed)
    tested = cluster_stability.examine(unit, labels, settings.method, _without_last(whole), sampling)
    _write_trust(out / TRUST, tested, labels, numbers, settings)
    spreadsheet.write(out / CHOICE, schemas.CHOICE, _choice(whole, tested))
    number_of_clusters.write(out, tried, tested.strength)
    others: dict[str, Labels] = {name: by_size(METHODS[name](unit, graph, n, seed)) for name in settings.others}
    bare = checked(plain, 1)
    bare_graph = neighbour_graph(bare, settings.neighbours, seed, settings.index)
    others["baseline"] = by_size(METHODS[settings.method](bare, bare_graph, n, seed))
    rows = [comparison.row(settings.method, unit, labels, labels, sampling, n=n, again=settings.method)]
    for name, other in others.items():
        space, again = (bare, settings.method) if name == "baseline" else (unit, name)
        rows.append(comparison.row(name, space, other, labels, sampling, n=n, again=again))
    comparison.write(out, rows)
    words = [cluster_stability.words(value, settings.unstable_below) for value in tested.clusters]
    counts = {
        "graph": {"parts": graph.parts, "exact": graph.exact},
        "eigenvectors": _convergence(whole, n),
        "stability": {word: words.count(word) for word in ("stable", "doubtful", "unstable", "untested")},
        "numbers_kept": len(numbering["kept"]),
        **{f"agreement_with_{row.method}": row.agreement for row in rows[1:]},
    }
    return Division(labels, numbers, others, tested.patients, counts, np.zeros(len(labels), bool))


def _numbered(
    labels: Labels, ids: pa.Array, earlier: Artifact | None
) -> tuple[Labels, NDArray[np.int64], dict[str, Any]]:
    """Give clusters the numbers of matching earlier clusters, or new ones. Return labels in the order of these numbers, the sorted
    numbers (clusters,), and the content of `numbers.json`."""
    given, numbering = stable_numbers.numbers(labels, ids, earlier)
    rank = np.argsort(np.argsort(given))
    return rank[labels], np.sort(given), numbering


def _without_last(whole: Spectrum) -> Spectrum:
    """Drop the last eigenvector, which was computed only for the last eigengap."""
    return Spectrum(whole.coordinates[:, : max(whole.coordinates.shape[1] - 1, 2)], whole.leading)


def _convergence(whole: Spectrum, n: int) -> dict[str, Any]:
    """Return how exact the eigenvectors behind the clusters are. Logs a warning if some did not converge."""
    residuals, right = whole.leading.residuals[:n], whole.leading.converged[:n]
    if not right.all():
        _log.warning(
            "%d of %d eigenvectors did not converge (largest residual %.1e): the graph has no clear gap after %d clusters."
            " See choice.csv for a better number.",
            int((~right).sum()),
            n,
            residuals.max(),
            n,
        )
    return {"wanted": n, "converged": int(right.sum()), "largest_residual": float(residuals.max())}


def _write_trust(
    path: Path,
    tested: cluster_stability.ClusterStability,
    labels: Labels,
    numbers: NDArray[np.int64],
    settings: ClustersSettings,
) -> None:
    """Write the stability of each cluster, as a number and in a word, by the cluster's number."""
    table = {
        str(number): {
            "jaccard": _rounded(value),
            "between": [_rounded(end) for end in ends],
            "words": cluster_stability.words(value, settings.unstable_below),
            "patients_mean": _rounded(np.nanmean(values)) if np.isfinite(values).any() else None,
        }
        for label, (number, value, ends) in enumerate(
            zip(numbers.tolist(), tested.clusters, tested.spread.T, strict=True)
        )
        for values in [tested.patients[labels == label]]
    }
    rules = {"resamples": settings.resamples, "unstable_below": settings.unstable_below}
    json_files.write(path, rules | {"clusters": table})


def _choice(whole: Spectrum, tested: cluster_stability.ClusterStability) -> Iterator[tuple[object, ...]]:
    """Yield a row for each number of clusters, to help choose it: an eigenvalue, the gap after it, and how well clusters of subsets
    agree with those of all patients."""
    for n in range(2, _without_last(whole).coordinates.shape[1] + 1):
        seen = tested.over_n[:, n - 2] if n - 2 < tested.over_n.shape[1] else np.zeros(0)
        agreement = (f"{seen.mean():.4f}", f"{seen.std():.4f}") if len(seen) else ("", "")
        eigen = whole.leading
        values = (f"{eigen.values[n - 1]:.6f}", f"{whole.gap(n):.6f}", f"{eigen.residuals[n - 1]:.1e}")
        yield (n, *values, str(bool(eigen.converged[n - 1])).lower(), *agreement)


def read_trust(folder: Path) -> dict[str, Any]:
    """Read the stability of each cluster (key `clusters`, by number) from the folder of a `clusters` artifact."""
    stability: dict[str, Any] = json_files.read(folder / TRUST)
    return stability


def read_choice(folder: Path) -> list[dict[str, Any]]:
    """Read the table of numbers of clusters that were tried (`schemas.CHOICE`); [] if the artifact has none."""
    path = folder / CHOICE
    return list(spreadsheet.read(path, schemas.CHOICE)) if path.is_file() else []


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
