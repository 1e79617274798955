"""Spectral clustering (Ng 2001; Shi and Malik 2000) with labels by pivoted QR (Damle, Minden and Ying 2019)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, svd

from ehr_pipeline.clusters import eigenvectors
from ehr_pipeline.clusters.neighbour_graph import Graph

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Spectrum:
    """The smoothest functions on a graph, from which any number of clusters up to k can be derived."""

    coordinates: NDArray[np.float64]
    """Eigenvectors of the random walk on the graph (n, k)."""
    leading: eigenvectors.Leading
    """Eigenpairs of the normalised graph, and how exact they are."""

    def labels(self, n: int) -> Labels:
        """Labels (patients,) of n clusters, from 0; n is at most k."""
        return cluster_qr(self.coordinates[:, :n])

    def gap(self, n: int) -> float:
        """The eigengap after n, which is large when one more cluster would not be well separated; 0 if k is n."""
        values = self.leading.values
        return float(values[n - 1] - values[n]) if n < len(values) else 0.0


def spectrum(graph: Graph, n: int, seed: int, more: int = 0) -> Spectrum:
    """The spectrum for n clusters, plus up to `more` further eigenvectors, whose convergence is not required."""
    links = graph.links.copy()
    root = np.sqrt(links.sum(axis=1))
    root[root == 0] = 1
    links.data = (links.data / np.repeat(root, np.diff(links.indptr)) / root[links.indices]).astype(np.float32)
    size = min(n + more, links.shape[0])
    found = eigenvectors.leading(links, size, seed, wanted=n)
    return Spectrum(found.vectors / root[:, None], found)


def cluster_qr(coordinates: NDArray[np.float64]) -> Labels:
    """Labels (patients,) from coordinates (patients, k): the k most different patients define the axes, and each patient is
    assigned to the nearest axis.

    It is the same as a function in scikit-learn that is not public.
    """
    k = coordinates.shape[1]
    pivots = qr(coordinates.T, mode="r", pivoting=True)[1][:k]
    left, _, right = svd(coordinates[pivots].T)
    labels: Labels = np.abs(coordinates @ (left @ right)).argmax(axis=1).astype(np.int64)
    return labels
