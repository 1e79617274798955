"""Measure how well patient vectors reveal a patient's site, among similar patients; and remove the site from vectors.

Sites differ in their patients and in how they record. Effects of recording should not be in a vector, so sites are compared among
patients with similar covariates (age, sex, number of recorded concepts), by coarsened exact matching (Iacus, King & Porro 2012).
Axes: P patients, D dimensions, C covariates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CELLS, FOLDS, DRAWS = 5, 5, 1_000
"""Intervals into which a covariate with many values is cut; folds of the cross-validation; resamples for the interval."""
FEWEST = 50
"""Smallest number of matched patients at each site."""


@dataclass(frozen=True)
class Predictability:
    """How well a classifier recognises the site: 0.5 is best, 1 means that the vectors of two sites are separated."""

    auroc: float
    low: float
    high: float
    """Upper end of the 95 % interval, over resamples of patients; `low` is the lower end."""
    patients: int
    """Number of matched patients, half of them from each site."""


def predictability(
    vectors: NDArray[np.floating], second: NDArray[np.bool_], covariates: Floats, seed: int
) -> Predictability | None:
    """Measure how well a logistic regression tells, from vectors (P, D), patients of the `second` site (P,) from similar patients
    of the other.

    Patients are similar if they are in the same cell of `covariates` (P, C). Each patient is judged by a classifier that was fitted
    without that patient. The penalty is fixed; directions are standardised. Returns None if fewer than FEWEST patients of each site
    can be matched.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng([seed, 0x517E])
    rows = matched(second, covariates, rng)
    if len(rows) < 2 * FEWEST:
        return None
    label = second[rows]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1_000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=int(rng.integers(1 << 31)))
    score = cross_val_predict(model, vectors[rows].astype(np.float64), label, cv=folds, method="decision_function")
    drawn = []
    for _ in range(DRAWS):
        of = np.concatenate(
            [rng.choice(np.flatnonzero(label == site), (label == site).sum()) for site in (False, True)]
        )
        drawn.append(roc_auc_score(label[of], score[of]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Predictability(float(roc_auc_score(label, score)), float(low), float(high), len(rows))


def matched(second: NDArray[np.bool_], covariates: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return sorted rows of matched patients: in every cell of covariates, equally many from each site. The site with more patients
    in a cell is sampled at random."""
    cell = cells(covariates)
    kept = []
    for number in range(int(cell.max(initial=-1)) + 1):
        sites = [np.flatnonzero((cell == number) & (second == site)) for site in (False, True)]
        few = min(map(len, sites))
        kept += [rng.permutation(site)[:few] for site in sites]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *kept]))


def cells(covariates: Floats) -> NDArray[np.int64]:
    """Return the cell (P,) of each patient: covariates (P, C) with more than CELLS values are cut at quantiles of all patients."""
    parts = []
    for column in covariates.T:
        values = np.unique(column)
        edges = values if len(values) <= CELLS else np.quantile(column, np.arange(1, CELLS) / CELLS)
        parts.append(np.searchsorted(edges, column, side="right"))
    _, cell = np.unique(np.stack(parts, axis=1), axis=0, return_inverse=True)
    return cell.ravel().astype(np.int64)


@dataclass(frozen=True)
class Removal:
    """The part of vectors that depends on the site, estimated by a linear regression on site and covariates.

    If both sites have the same mean among similar patients, no linear classifier distinguishes them better than by chance (Belrose
    2023, theorem 3.1). Differences between sites in spread or shape stay.
    """

    difference: Floats
    """Mean difference of the second site from the first (D,), at equal covariates."""

    @classmethod
    def fit(cls, vectors: NDArray[np.floating], second: NDArray[np.bool_], covariates: Floats) -> "Removal":
        """Learn the difference from vectors (P, D), sites (P,) and covariates (P, C), whose cells are regressed out as well."""
        cell, site = cells(covariates), second.astype(np.float64)
        sizes = np.bincount(cell).astype(np.float64)
        # Vectors and site are centred within cells before the regression (Frisch-Waugh-Lovell).
        rest = site - (np.bincount(cell, site) / sizes)[cell]
        return cls(rest @ vectors.astype(np.float64) / max(float(rest @ site), 1e-30))

    def apply(self, vectors: NDArray[np.floating], second: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return vectors (P, D) with half of the difference subtracted at the second site and added at the first."""
        moved = vectors - np.where(second, 0.5, -0.5)[:, None] * self.difference
        return moved.astype(np.float32)
