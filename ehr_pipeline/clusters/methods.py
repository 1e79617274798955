"""Methods of clustering: one function per method, registered in METHODS.

Each takes unit vectors (n, D), their graph of nearest neighbours, the number of clusters and a seed, and returns a label for each
patient (n,), from 0; -1 means no cluster. Leiden and HDBSCAN choose the number of clusters themselves.
"""

import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans

from ehr_pipeline.clusters.neighbour_graph import Graph, neighbour_graph
from ehr_pipeline.clusters.settings import most_clusters
from ehr_pipeline.clusters.spectral import spectrum
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.errors import UserError

DECIMALS = 5
"""Unit vectors that are equal to this many decimals count as equal: further decimals are rounding error."""
TOO_FEW = " These are too few for any division: widen the cohort (more codes or diseases in [[embeddings.cohort]], more extracts)."

Labels = NDArray[np.int64]
Vectors = NDArray[np.float32]


def spectral(unit: Vectors, graph: Graph, n: int, seed: int) -> Labels:
    """Spectral clustering of the graph."""
    return spectrum(graph, n, seed).labels(n)


def agglomerative(unit: Vectors, graph: Graph, n: int, seed: int) -> Labels:
    """Ward's method (Ward 1963) on the graph, so memory grows with the number of patients, not with its square."""
    model = AgglomerativeClustering(n, linkage="ward", connectivity=graph.links)
    labels: Labels = model.fit_predict(unit).astype(np.int64)
    return labels


def kmeans(unit: Vectors, graph: Graph, n: int, seed: int) -> Labels:
    """K-means on the unit vectors, the best of ten starts."""
    labels: Labels = KMeans(n, n_init=10, random_state=seed).fit_predict(unit).astype(np.int64)
    return labels


def leiden(unit: Vectors, graph: Graph, n: int, seed: int) -> Labels:
    """Return communities of highest modularity (Traag 2019), by igraph, which the extra `clusters` installs."""
    try:
        import igraph
    except ImportError:
        raise UserError(
            "clusters.compare contains leiden, which needs igraph. Install it: pip install 'ehr-pipeline[clusters]'"
        ) from None
    upper = graph.links.tocoo()
    once = upper.row < upper.col
    edges = np.stack([upper.row[once], upper.col[once]], axis=1)
    igraph.set_random_number_generator(random.Random(seed))
    try:
        communities = igraph.Graph(len(unit), edges).community_leiden(
            objective_function="modularity", weights=upper.data[once].astype(float), n_iterations=10
        )
    finally:
        igraph.set_random_number_generator(random)
    return np.array(communities.membership, np.int64)


def hdbscan(unit: Vectors, graph: Graph, n: int, seed: int) -> Labels:
    """Return dense regions as clusters (Campello 2013); patients between regions get -1. A region has at least a fifth of the
    patients that each of n equal clusters would have. Time grows with the square of the number of patients."""
    smallest = max(len(unit) // (5 * n), 5)
    labels: Labels = HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(unit).astype(np.int64)
    return labels


METHODS: dict[str, Callable[[Vectors, Graph, int, int], Labels]] = {
    "spectral": spectral,
    "agglomerative": agglomerative,
    "kmeans": kmeans,
    "leiden": leiden,
    "hdbscan": hdbscan,
}


def cluster(vectors: Vectors, method: str, n: int, neighbours: int, seed: int) -> Labels:
    """Return labels from 0, by descending size. Raises UserError if the patients cannot be divided (`checked`)."""
    unit = checked(vectors, n)
    return by_size(METHODS[method](unit, neighbour_graph(unit, neighbours, seed), n, seed))


def checked(vectors: Vectors, n: int) -> Vectors:
    """Scale the vectors (n, D) to length 1. Raises UserError if they cannot be divided into n clusters."""
    if len(vectors) < max(n, 3):
        most = most_clusters(len(vectors))
        raise UserError(
            f"{count_text(len(vectors)).capitalize()} patients cannot be divided into {n} clusters."
            + (f" Set clusters.n to at most {most}, or widen the cohort." if most else TOO_FEW)
        )
    bad = int((~np.isfinite(vectors)).any(axis=1).sum())
    if bad:
        raise UserError(
            f"{count_text(bad).capitalize()} of {count_text(len(vectors))} patient vectors contain NaN or infinity."
            " See the checks of encoder_checkpoint and patient_embeddings: the encoder may have diverged (lower"
            " encoder.learning_rate)."
        )
    unit = unit_length(vectors)
    kinds = len(np.unique(np.round(unit[: 100 * n], DECIMALS), axis=0))
    kinds = kinds if kinds >= n else len(np.unique(np.round(unit, DECIMALS), axis=0))
    if kinds < n:
        raise UserError(
            f"The {count_text(len(vectors))} patients have only {kinds} different vectors, which cannot be divided"
            f" into {n} clusters."
            " Lower clusters.n, or check which concepts are pooled (embeddings.pooling)."
        )
    return unit


def by_size(labels: Labels) -> Labels:
    """Relabel clusters from 0 by descending size, clusters of equal size by their first patient. -1 is left unchanged."""
    names, first, size = np.unique(labels[labels >= 0], return_index=True, return_counts=True)
    rank = np.empty(len(names), np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(names))
    return np.where(labels < 0, -1, np.append(rank, -1)[np.searchsorted(names, labels)])
