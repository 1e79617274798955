"""Nearest neighbours of concept vectors by cosine. Uses numpy only, because the embedding stage runs it on GPU workers."""

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024


def nearest(
    queries: NDArray[np.integer], candidates: NDArray[np.integer], vectors: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the `count` candidates nearest to each query by cosine, without the query itself.

    `queries` (Q,) and `candidates` (N,) are rows of `vectors` (V, D). Returns rows (Q, count) and cosines (Q, count), nearest
    first; in a tie, the lower row comes first. `count` is at most the number of candidates minus one.
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    candidates = np.sort(candidates)
    count = min(count, len(candidates) - 1)
    rows, cosines = [], []
    for begin in range(0, len(queries), BLOCK):
        block = queries[begin : begin + BLOCK]
        similar = unit[block] @ unit[candidates].T
        similar[block[:, None] == candidates[None, :]] = -np.inf
        order = np.argsort(-similar, axis=1, kind="stable")[:, :count]
        rows.append(candidates[order])
        cosines.append(np.take_along_axis(similar, order, axis=1))
    empty = np.zeros((0, max(count, 0)))
    return np.concatenate([empty.astype(np.int64), *rows]), np.concatenate([empty.astype(np.float32), *cosines])
