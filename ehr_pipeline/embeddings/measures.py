"""Measure an embedding space before and after subtracting the mean vector, since vectors in a narrow cone have large cosines.

The measures describe the space and compare runs. They do not show whether vectors are good for a purpose (Taylor et al. 2024 find
that alignment and uniformity do not predict this). Axes: P patients, D dimensions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.embeddings.geometry import unit_length

Vectors = NDArray[np.float32]
BLOCK = 512
RETRIEVED = (1, 10)
NEIGHBOURS = 15


def of_space(whole: Vectors, halves: tuple[Vectors, Vectors]) -> dict[str, dict[str, float]]:
    """Compute all measures from vectors of whole records (P, D) and the two halves of some records (two arrays (p, D); row i of
    each is the same patient).

    In the result, 'centred' means after subtracting the mean vector, 'raw' before.
    """
    middle = unit_length(whole).mean(axis=0)
    measures = {}
    for name, centre in (("raw", np.zeros_like(middle)), ("centred", middle)):
        unit = unit_length(unit_length(whole) - centre)
        one, other = (unit_length(unit_length(half) - centre) for half in halves)
        measures[name] = {
            "alignment": float(((one - other) ** 2).sum(axis=1).mean()) if len(one) else 2.0,
            "dimensions": unit.shape[1],
            "uniformity": uniformity(unit),
            "effective_rank": effective_rank(unit),
            "hubness": hubness(unit),
            **{f"retrieved_{k}": share for k, share in retrieved(one, other).items()},
        }
    return measures


def uniformity(vectors: Vectors) -> float:
    """Return the logarithm of the mean of exp(-2 d²) over pairs: 0 if all vectors are equal; lower, the more evenly they cover the
    sphere.

    Source: Wang & Isola 2020, 'Understanding contrastive representation learning through alignment and uniformity'.
    """
    unit = unit_length(vectors)
    if len(unit) < 2:
        return 0.0
    total = sum(
        float(np.exp(4 * np.minimum(unit[start : start + BLOCK] @ unit.T, 1) - 4).sum(dtype=np.float64))
        for start in range(0, len(unit), BLOCK)
    )
    return float(np.log(max(total - len(unit), 1e-300) / (len(unit) * (len(unit) - 1))))


def effective_rank(vectors: Vectors) -> float:
    """Return the effective number of directions over which vectors spread: exp of the entropy of the eigenvalues of their second
    moments (Roy & Vetterli 2007)."""
    products = vectors.T.astype(np.float64) @ vectors
    values = np.maximum(np.linalg.eigvalsh(products), 0)
    shares = values[values > 0] / max(float(values.sum()), 1e-300)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def hubness(unit: Vectors, count: int = NEIGHBOURS) -> float:
    """Return the skewness of how often patients are among the `count` nearest neighbours of others (Radovanović et al. 2010)."""
    count = min(count, len(unit) - 1)
    if count < 1:
        return 0.0
    times = np.zeros(len(unit))
    for start in range(0, len(unit), BLOCK):
        similar = unit[start : start + BLOCK] @ unit.T
        similar[np.arange(len(similar)), np.arange(start, start + len(similar))] = -np.inf
        near = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        times += np.bincount(near.ravel(), minlength=len(unit))
    spread = float(times.std())
    return float(((times - times.mean()) ** 3).mean() / spread**3) if spread else 0.0


def retrieved(one: Vectors, other: Vectors) -> dict[int, float]:
    """Return how often one half of a record finds the other: for each k of RETRIEVED, the share of patients whose second half is
    among the k second halves nearest to their first, averaged with the same share from second to first."""
    shares = dict.fromkeys(RETRIEVED, 0.0)
    for first, second in ((one, other), (other, one)):
        for start in range(0, len(first), BLOCK):
            similar = first[start : start + BLOCK] @ second.T
            same = similar[np.arange(len(similar)), np.arange(start, start + len(similar))]
            nearer = (similar > same[:, None]).sum(axis=1)
            for k in shares:
                shares[k] += float((nearer < k).sum()) / (2 * len(first))
    return shares


def rounded(measures: dict[str, dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Round the measures to four decimals: further ones are rounding error."""
    return {name: {measure: round(value, 4) for measure, value in each.items()} for name, each in measures.items()}
