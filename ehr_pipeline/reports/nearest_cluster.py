"""Find the nearest cluster of each cluster, and the concepts that distinguish the two."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.clusters.marker_concepts import Marks
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.enrichment import Enrichment
from ehr_pipeline.vocabulary.table import Vocabulary

NAMED = 3  # concepts on each side


@dataclass(frozen=True)
class Closest:
    """The nearest other cluster of a cluster; clusters are numbered from 0."""

    other: int
    cosine: float
    """Cosine of the two mean vectors."""
    here: tuple[str, ...]
    """Names of the concepts that mark this cluster and not the other, smallest p first."""
    there: tuple[str, ...]


def closest(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    found: Enrichment,
    *,
    marks: Marks,
    numbers: NDArray[np.int64],
    vocabulary: Vocabulary,
    disclosure: Disclosure,
) -> list[Closest | None]:
    """Return the nearest other cluster of each cluster, by cosine of mean vectors; None if the cluster is too small, or if there is
    no other.

    `vectors` (n, d) and `labels` (n,) are of the clustered patients, `numbers` (K,) of the clusters. The concepts named for each
    cluster of a pair mark it, but not the other one. In the cluster that they mark, enough patients have them, and their lift is
    above 1 (`Enrichment.lifted`)."""
    size = found.cluster_patients
    sums = np.zeros((len(size), vectors.shape[1]))
    np.add.at(sums, labels, vectors)
    means = sums / np.maximum(size[:, None], 1)
    norms = np.linalg.norm(means, axis=1)
    alike = (means @ means.T) / np.maximum(np.outer(norms, norms), 1e-12)
    shown = np.array([bool(n) and not disclosure.small(int(n)) for n in size])
    alike[:, ~shown] = -np.inf
    np.fill_diagonal(alike, -np.inf)

    def only(cluster: int, other: int) -> tuple[str, ...]:
        tokens = marks.not_in(int(numbers[cluster]), int(numbers[other]))
        named = [
            token
            for token in tokens
            if disclosure.named(int(found.patients[cluster, token])) and found.lifted(cluster, token, disclosure)
        ]
        return tuple(vocabulary.name(token) for token in named[:NAMED])

    nearest: list[Closest | None] = []
    for cluster in range(len(size)):
        other = int(alike[cluster].argmax())
        if not shown[cluster] or not np.isfinite(alike[cluster, other]):
            nearest.append(None)
            continue
        nearest.append(Closest(other, float(alike[cluster, other]), only(cluster, other), only(other, cluster)))
    return nearest
