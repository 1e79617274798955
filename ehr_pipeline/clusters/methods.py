"""How patients are divided: one function per method, registered in METHODS.

Each takes unit vectors (n, D), the number of clusters, the number of neighbours in the graph and a seed, and returns a label for
each patient (n,), from 0. All work on the same graph of nearest neighbours by cosine.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import AgglomerativeClustering, SpectralClustering
from sklearn.neighbors import kneighbors_graph

from ehr_pipeline.errors import UserError

Labels = NDArray[np.int64]
Vectors = NDArray[np.float32]
WEAK_LINK = 1e-3


def neighbour_graph(unit: Vectors, neighbours: int) -> Any:
    """A symmetric graph (n, n) in which a link weighs 1 when both patients are neighbours of each other, else 0.5.

    Where the graph falls apart, its parts are joined by weak links between their nearest centres, so that spectral methods have
    one graph to work on; the parts still come out as clusters.
    """
    graph = kneighbors_graph(unit, min(neighbours, len(unit) - 1), include_self=True)
    graph = csr_array(0.5 * (graph + graph.T))
    count, part = connected_components(graph, directed=False)
    if count > 1:
        centres = np.stack([unit[part == number].mean(0) for number in range(count)])
        member = np.array([np.flatnonzero(part == number)[0] for number in range(count)], np.int32)
        joined = member[[int(np.argmax(centres[:number] @ centres[number])) for number in range(1, count)]]
        links = (np.full(count - 1, WEAK_LINK), (member[1:], joined))
        link = coo_array(links, shape=graph.shape).tocsr()
        graph = graph + link + link.T
    # scikit-learn takes 32-bit indices only; sums of sparse matrices may widen them.
    return csr_array((graph.data, graph.indices.astype(np.int32), graph.indptr.astype(np.int32)), shape=graph.shape)


def spectral(unit: Vectors, n: int, neighbours: int, seed: int) -> Labels:
    """Spectral clustering (Ng 2001) with labels by pivoted QR (Damle 2019)."""
    model = SpectralClustering(n, affinity="precomputed", assign_labels="cluster_qr", random_state=seed)
    labels: Labels = model.fit_predict(neighbour_graph(unit, neighbours)).astype(np.int64)
    return labels


def agglomerative(unit: Vectors, n: int, neighbours: int, seed: int) -> Labels:
    """Ward's method (Ward 1963) on the graph, so that memory grows with the number of patients, not with its square."""
    model = AgglomerativeClustering(n, linkage="ward", connectivity=neighbour_graph(unit, neighbours))
    labels: Labels = model.fit_predict(unit).astype(np.int64)
    return labels


METHODS: dict[str, Callable[[Vectors, int, int, int], Labels]] = {"spectral": spectral, "agglomerative": agglomerative}


def unit_length(vectors: Vectors) -> Vectors:
    """Vectors (n, D) scaled to length 1, so that distances order as cosines do."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def cluster(vectors: Vectors, method: str, n: int, neighbours: int, seed: int) -> Labels:
    """Labels from 0, by falling size. Raises UserError when there are too few patients."""
    if len(vectors) < max(n, 3):
        raise UserError(
            f"{len(vectors)} patients cannot be divided into {n} clusters."
            f" Set clusters.n to at most {max(len(vectors) // 3, 1)}, or widen the cohort."
        )
    return by_size(METHODS[method](unit_length(vectors), n, neighbours, seed))


def by_size(labels: Labels) -> Labels:
    """The same division with clusters numbered by falling size; equal sizes in order of their first patient."""
    names, first, size = np.unique(labels, return_index=True, return_counts=True)
    rank = np.empty(len(names), np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(names))
    renumbered: Labels = rank[np.searchsorted(names, labels)]
    return renumbered
