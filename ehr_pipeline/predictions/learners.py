"""Logistic regression and gradient boosting on blocks of features, with ten or more labels; and nested samples of labels.

Axes: n rows, p columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, logit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Block = Any
"""Columns (n, p): an array, or a `scipy.sparse.csr_array`."""
SPREADS = (0.3, 3.0, 30.0, 300.0)
"""Prior variances of the weights to try. With columns scaled as in `Table`, such a variance is the C of scikit-learn."""
PRIOR = 3.0
"""Prior variance if there are too few labels to choose one."""
FREE = 10.0
"""Factor on the columns of a `free` block, so the prior hardly shrinks its weights."""
FEWEST_TO_CHOOSE = 10
"""Fewest cases, and fewest non-cases, to choose the prior variance by three-fold cross-validation (Stone 1974)."""
MOST_TO_CHOOSE = 3_000
NEWTON_STEPS = 30
SMALL = 250
"""Up to this many rows, columns are replaced by exact coordinates of the rows in the space that the rows span.

With more rows, sparse columns are faster: 0.3 s instead of 10 s for 1,300 rows and 4,000 columns. Both find the same optimum.
"""


@dataclass(frozen=True)
class Table:
    """Blocks of features side by side. Each block is scaled to a mean squared row length of 1, so a wide block does not count
    more than a narrow one."""

    columns: Block
    centre: Floats
    scale: Floats
    """Scale of each column (p,): a scaled column is (column - centre) · scale."""

    @classmethod
    def of(cls, blocks: Sequence[Block], rows: NDArray[np.int64], *, free: bool) -> "Table":
        """Join blocks (n, p). Scales are learned from some `rows`, without labels. If `free`, the weights of the first block are
        not shrunk by the prior."""
        parts = [_scaled(block, rows) for block in blocks]
        scaled = [block * FREE if free and not place else block for place, (block, _, _) in enumerate(parts)]
        centre = np.concatenate([np.zeros(0), *(each for _, each, _ in parts)])
        lengths = [each * FREE if free and not place else each for place, (_, _, each) in enumerate(parts)]
        scale = np.concatenate([np.zeros(0), *lengths])
        if any(sparse.issparse(block) for block in scaled):
            return cls(sparse.csr_array(sparse.hstack(scaled, format="csr")), centre, scale)
        return cls(np.hstack(scaled) if scaled else np.zeros((0, 0)), centre, scale)

    def plain(self, weights: Floats) -> Floats:
        """Convert weights and intercept (p + 1,) for scaled columns to those for unscaled columns."""
        unscaled = weights[:-1] * self.scale
        return np.append(unscaled, weights[-1] - unscaled @ self.centre)


def _scaled(block: Block, rows: NDArray[np.int64]) -> tuple[Block, Floats, Floats]:
    """Return the scaled block, and the centre and scale of each of its columns. Sparse columns are not centred."""
    width = block.shape[1]
    if sparse.issparse(block):
        learned = block[rows]
        length = np.sqrt(max(float(learned.multiply(learned).sum()) / max(len(rows), 1), 1e-12))
        return sparse.csr_array(block / length), np.zeros(width), np.full(width, 1 / length)
    dense = np.asarray(block, np.float64)
    centre = dense[rows].mean(0) if len(rows) else np.zeros(width)
    moved = dense - centre
    length = np.sqrt(max(float((moved[rows] ** 2).sum()) / max(len(rows), 1), 1e-12))
    return np.asarray(moved / length), centre, np.full(width, 1 / length)


@dataclass(frozen=True)
class Sample:
    """Rows that a model is fitted on. Cases may be more frequent in the sample than among patients."""

    rows: NDArray[np.int64]
    label: Flags
    weight: Floats
    prevalence: float
    """Share of cases among patients."""

    def take(self, kept: NDArray[np.integer] | NDArray[np.bool_]) -> "Sample":
        """Return a part of the sample."""
        return Sample(self.rows[kept], self.label[kept], self.weight[kept], self.prevalence)

    @property
    def shift(self) -> float:
        """Correction to add to log-odds, because cases were drawn more often than others (King & Zeng 2001, prior correction)."""
        share = float(np.average(self.label, weights=self.weight))
        if not 0 < share < 1 or not 0 < self.prevalence < 1:
            return 0.0
        return float(logit(self.prevalence) - logit(share))


def nested(label: Flags, sizes: Sequence[int], rng: np.random.Generator) -> dict[int, NDArray[np.int64]]:
    """Draw samples of labelled rows, by size; smaller samples are parts of larger ones. Rows are sorted.

    Half of a sample are cases. If there are too few cases, all of them are drawn, and non-cases fill up the sample. A size for
    which there are too few rows is left out.
    """
    cases, others = (rng.permutation(np.flatnonzero(label == kind)) for kind in (True, False))
    samples = {}
    for size in sizes:
        number = min(size // 2, len(cases))
        if number and size - number <= len(others):
            samples[size] = np.sort(np.concatenate([cases[:number], others[: size - number]]))
    return samples


def constant(sample: Sample, count: int) -> Floats:
    """Return the log-odds of the prevalence for each of `count` rows."""
    return np.full(count, usual(sample.prevalence))


def usual(prevalence: float) -> float:
    """Return the log-odds of a prevalence, after clipping it away from 0 and 1."""
    return float(logit(np.clip(prevalence, 1e-7, 1 - 1e-7)))


def logistic(table: Table, sample: Sample, seed: int) -> tuple[Floats, Floats]:
    """Fit a logistic regression with a normal prior (ridge). Returns log-odds of all rows (n,), and weights and intercept (p +
    1,) for unscaled columns.

    If the sample is large enough, the variance of the prior is chosen by cross-validation within it.
    """
    columns = table.columns[sample.rows]
    x, back = (
        _coordinates(columns) if len(sample.rows) <= SMALL and columns.shape[1] > len(sample.rows) else (columns, None)
    )
    spread = _chosen(x, sample, seed)
    fitted, base = ridge(x, sample.label, sample.weight, spread)
    weights = fitted if back is None else np.asarray(back @ fitted).ravel()
    intercept = base + sample.shift
    return np.asarray(table.columns @ weights).ravel() + intercept, table.plain(np.append(weights, intercept))


def boosting(table: Floats, sample: Sample, seed: int) -> Floats:
    """Fit gradient boosting on a dense table. Returns the log-odds of all its rows (n,)."""
    model = HistGradientBoostingClassifier(
        max_iter=100,
        learning_rate=0.06,
        max_leaf_nodes=15,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
    # Equal weights change nothing but the time: columns are divided by weighted percentiles, which takes most of a fit.
    weight = None if (sample.weight == 1).all() else sample.weight
    model.fit(table[sample.rows], sample.label, sample_weight=weight)
    return np.asarray(model.decision_function(table), np.float64) + sample.shift


def _coordinates(rows: Block) -> tuple[Floats, Block]:
    """Return coordinates (n, r) of rows in the space that they span, and the matrix (p, r) that maps weights back to columns."""
    gram = rows @ rows.T
    values, vectors = np.linalg.eigh(gram.toarray() if sparse.issparse(gram) else gram)
    kept = values > max(values[-1], 1e-12) * 1e-10
    lengths = np.sqrt(values[kept])
    return vectors[:, kept] * lengths, rows.T @ (vectors[:, kept] / lengths)


def ridge(x: Block, label: Flags, weight: Floats, spread: float) -> tuple[Floats, float]:
    """Fit a logistic regression with a normal prior of variance `spread`. Returns weights (p,) and the unpenalised intercept."""
    if sparse.issparse(x):
        model = LogisticRegression(C=spread, max_iter=100, solver="newton-cg").fit(x, label, weight)
        return np.asarray(model.coef_[0]), float(model.intercept_[0])
    ones = np.column_stack([x, np.ones(len(x))])
    shrunk = np.append(np.full(x.shape[1], 1 / spread), 1e-6)
    beta = np.zeros(len(shrunk))
    beta[-1] = logit(np.clip(np.average(label, weights=weight), 1e-6, 1 - 1e-6))

    def loss(tried: Floats) -> float:
        odds = ones @ tried
        return float(weight @ np.logaddexp(0, np.where(label, -odds, odds)) + (shrunk * tried**2).sum() / 2)

    now = loss(beta)
    for _ in range(
        NEWTON_STEPS
    ):  # Newton's method with halved steps, which does not depend on scales; the prior makes the optimum unique
        share = expit(ones @ beta)
        slope = ones.T @ (weight * (label - share)) - shrunk * beta
        curvature = (ones * (weight * share * (1 - share))[:, None]).T @ ones
        curvature[np.diag_indices_from(curvature)] += shrunk
        step = np.linalg.solve(curvature, slope)
        tried = ((loss(beta + step * size), size) for size in 0.5 ** np.arange(10))
        reached, size = next((each for each in tried if each[0] < now), (now, 0.0))
        beta, gain, now = beta + step * size, now - reached, reached
        if gain < 1e-8 * max(now, 1e-8):
            break
    return beta[:-1], float(beta[-1])


def _chosen(x: Block, sample: Sample, seed: int) -> float:
    label = sample.label
    if min(label.sum(), (~label).sum()) < FEWEST_TO_CHOOSE:
        return PRIOR
    few = np.arange(len(label))
    if len(few) > MOST_TO_CHOOSE:
        few = np.sort(np.random.default_rng([seed, 0xC]).choice(len(few), MOST_TO_CHOOSE, replace=False))
        if min(label[few].sum(), (~label[few]).sum()) < FEWEST_TO_CHOOSE:
            return PRIOR
    parts = list(StratifiedKFold(3, shuffle=True, random_state=seed).split(few, label[few]))
    losses = []
    for spread in SPREADS:
        loss = 0.0
        for train, test in parts:
            weights, intercept = ridge(x[few[train]], label[few[train]], sample.weight[few[train]], spread)
            odds = x[few[test]] @ weights + intercept
            loss += float(np.logaddexp(0, np.where(label[few[test]], -odds, odds)) @ sample.weight[few[test]])
        losses.append(loss)
    return SPREADS[int(np.argmin(losses))]
