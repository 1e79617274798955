"""Spectral clustering (Ng 2001; Shi and Malik 2000) with labels by pivoted QR (Damle, Minden and Ying 2019)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd

from ehr_pipeline.clusters import eigenvectors
from ehr_pipeline.clusters.neighbour_graph import Graph

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Spectrum:
    """The leading eigenvectors of a graph, from which any number of clusters up to k can be made."""

    coordinates: NDArray[np.float64]
    """Eigenvectors of the random walk on the graph (n, k)."""
    leading: eigenvectors.Eigenpairs
    """Eigenpairs of the normalised graph, and how exact they are."""

    def labels(self, n: int) -> Labels:
        """Return labels (patients,) of n clusters, from 0; n is at most k."""
        return cluster_qr(self.coordinates[:, :n])

    def gap(self, n: int) -> float:
        """Return the gap between eigenvalues n and n + 1. If it is large, n clusters are well separated, and n + 1 would not be.
        0 if only n eigenvalues were computed."""
        values = self.leading.values
        return float(values[n - 1] - values[n]) if n < len(values) else 0.0


def spectrum(graph: Graph, n: int, seed: int, more: int = 0) -> Spectrum:
    """Return the spectrum for n clusters, with up to `more` further eigenvectors, whose convergence is not required."""
    links = graph.links.copy()
    root = np.sqrt(links.sum(axis=1))
    root[root == 0] = 1
    links.data = (links.data / np.repeat(root, np.diff(links.indptr)) / root[links.indices]).astype(np.float32)
    size = min(n + more, links.shape[0])
    pairs = eigenvectors.leading(links, size, seed, wanted=n)
    return Spectrum(pairs.vectors / root[:, None], pairs)


def cluster_qr(coordinates: NDArray[np.float64]) -> Labels:
    """Return labels (patients,) from coordinates (patients, k): the k most different patients define the axes, and each patient is
    assigned to the nearest axis.

    scikit-learn has the same function, but it is private there.
    """
    left, _, right = svd(coordinates[pivots(coordinates)].T)
    labels: Labels = np.abs(coordinates @ (left @ right)).argmax(axis=1).astype(np.int64)
    return labels


def pivots(coordinates: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pivots (k,) of a QR decomposition of the transposed coordinates (patients, k): each is the patient whose
    coordinates lie farthest from the space that the earlier pivots span.

    LAPACK takes ten times as long, because it also computes the decomposition itself, which is not needed.
    """
    k = coordinates.shape[1]
    chosen, axes = np.empty(k, np.int64), np.zeros((k, k))
    left = np.einsum("pk,pk->p", coordinates, coordinates)
    for number in range(k):
        chosen[number] = left.argmax()
        point = coordinates[chosen[number]]
        for _ in range(2):  # once more, against rounding
            point = point - axes[:number].T @ (axes[:number] @ point)
        length = np.linalg.norm(point)
        axes[number] = point / length if length > 0 else 0.0
        left -= (coordinates @ axes[number]) ** 2
        left[chosen[: number + 1]] = -np.inf
    return chosen
