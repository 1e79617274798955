"""Which cluster is nearest to each cluster, and which concepts distinguish the two."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.clusters.many_tests import benjamini_hochberg
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.enrichment import Enrichment, between
from ehr_pipeline.vocabulary.table import Vocabulary

NAMED = 3  # concepts on each side


@dataclass(frozen=True)
class Closest:
    """The cluster nearest to a cluster; clusters are numbered from 0."""

    other: int
    cosine: float
    """Cosine of the two mean vectors."""
    here: tuple[str, ...]
    """Names of the concepts that are more frequent among this cluster's patients, smallest p first."""
    there: tuple[str, ...]


def closest(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    found: Enrichment,
    vocabulary: Vocabulary,
    *,
    max_p: float,
    disclosure: Disclosure,
) -> list[Closest | None]:
    """Return each cluster's nearest by cosine of mean vectors; None if it is too small, or there is no other.

    `vectors` (n, d) and `labels` (n,) are of the clustered patients. Concepts are ranked by the chi-square test on the
    patients of the two clusters alone, and named if the Benjamini-Hochberg value is below `max_p`. A concept is not
    named if, in the cluster where it is more frequent, fewer patients than the threshold have it.
    """
    size = found.cluster_patients
    sums = np.zeros((len(size), vectors.shape[1]))
    np.add.at(sums, labels, vectors)
    means = sums / np.maximum(size[:, None], 1)
    norms = np.linalg.norm(means, axis=1)
    alike = (means @ means.T) / np.maximum(np.outer(norms, norms), 1e-12)
    shown = np.array([bool(n) and not disclosure.small(int(n)) for n in size])
    alike[:, ~shown] = -np.inf
    np.fill_diagonal(alike, -np.inf)
    nearest: list[Closest | None] = []
    for cluster in range(len(size)):
        other = int(alike[cluster].argmax())
        if not shown[cluster] or not np.isfinite(alike[cluster, other]):
            nearest.append(None)
            continue
        log_p, more_here = between(found, cluster, other)
        log_q = benjamini_hochberg(log_p)  # of thousands of concepts some are below any limit by chance
        names: tuple[list[str], list[str]] = ([], [])
        for token in np.argsort(log_p, kind="stable").tolist():
            side = 0 if more_here[token] else 1
            if log_q[token] >= np.log(max_p) or min(map(len, names)) >= NAMED:
                break
            with_it = int(found.patients[(cluster, other)[side], token])
            if len(names[side]) < NAMED and disclosure.named(with_it):
                names[side].append(vocabulary.name(token))
        nearest.append(Closest(other, float(alike[cluster, other]), tuple(names[0]), tuple(names[1])))
    return nearest
