"""Project patients or concepts by UMAP (McInnes 2018)."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray

FEW = 4096
"""For fewer points, umap-learn computes all distances, with a Python call for each; here they come faster from matrix products."""


def project(vectors: NDArray[np.float32], dimensions: int, neighbours: int, seed: int) -> NDArray[np.float32]:
    """Return coordinates (n, dimensions) of vectors (n, D), by cosine distance. The same seed gives the same picture.

    With fewer than `dimensions` + 5 points, too few for UMAP, these are coordinates along the principal axes.
    """
    if len(vectors) < dimensions + 5:
        return _principal_axes(vectors, dimensions)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Tensorflow not installed"
        )  # only for a variant that is not used here
        warnings.filterwarnings("ignore", message="n_jobs value")  # a seed forces one thread, which is wanted
        warnings.filterwarnings("ignore", message="using precomputed metric")
        warnings.filterwarnings("ignore", message=".*Cannot cache compiled function")  # pynndescent, of many points
        with _cached_machine_code():
            import umap  # takes seconds, so import it only here
        from sklearn.metrics import pairwise_distances

        few = len(vectors) < FEW
        reducer = umap.UMAP(
            n_components=dimensions,
            n_neighbors=min(neighbours, len(vectors) - 1),
            metric="precomputed" if few else "cosine",
            random_state=seed,
            n_jobs=1,
        )
        data = pairwise_distances(vectors, metric="cosine") if few else vectors
        points: NDArray[np.float32] = reducer.fit_transform(data).astype(np.float32)
    return points


@contextmanager
def _cached_machine_code() -> Iterator[None]:
    """Let numba cache the machine code that it compiles for modules imported in this block. It already caches that of pynndescent,
    but not that of umap-learn.

    Otherwise each process would compile the same loops again, which takes longer than making the picture. The cache is beside
    umap's modules, or in the user's cache folder.
    """
    import numba

    before = numba.njit
    numba.njit = partial(before, cache=True)  # type: ignore[assignment]
    try:
        yield
    finally:
        numba.njit = before


def _principal_axes(vectors: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    centred = vectors - vectors.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(vectors), dimensions), np.float32)
    axes = min(dimensions, len(size))
    points[:, :axes] = left[:, :axes] * size[:axes]
    return points
