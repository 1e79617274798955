"""Fitting on few and on many labels: exact in the space of the rows, nested samples, the prevalence put right."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from ehr_pipeline.predictions import learners
from ehr_pipeline.predictions.learners import Sample, Table


def drawn(n: int, p: int, seed: int = 0) -> tuple[sparse.csr_array, np.ndarray]:
    """Counts of p concepts, the first of which predict."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.2, (n, p)).astype(float)
    label = rng.random(n) < expit(-2 + 1.5 * counts[:, :3].sum(1))
    return sparse.csr_array(counts), label


def sample(label: np.ndarray, rows: np.ndarray, prevalence: float | None = None) -> Sample:
    share = float(label.mean()) if prevalence is None else prevalence
    return Sample(rows, label[rows], np.ones(len(rows)), share)


def test_few_rows_give_the_regression_of_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ridge solution lies in the span of the rows, so coordinates there give the same weights."""
    counts, label = drawn(400, 90)
    rows = np.arange(40)
    table = Table.of([counts], rows, free=False)
    monkeypatch.setattr(learners, "FEWEST_TO_CHOOSE", 10**9)
    scores, weights = learners.logistic(table, sample(label, rows, float(label[rows].mean())), seed=0)
    dense = table.columns.toarray()
    expected = LogisticRegression(C=learners.PRIOR, tol=1e-8, max_iter=2_000).fit(dense[rows], label[rows])
    assert scores == pytest.approx(expected.decision_function(dense), abs=2e-3)
    assert scores == pytest.approx(counts.toarray() @ weights[:-1] + weights[-1])


def test_scales_make_blocks_alike() -> None:
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(5, 3, (200, 50)), sparse.csr_array(rng.poisson(0.3, (200, 4)).astype(float))
    table = Table.of([wide, narrow], np.arange(100), free=False).columns.toarray()
    for block in (table[:100, :50], table[:100, 50:]):
        assert (block**2).sum(1).mean() == pytest.approx(1)


def test_samples_are_nested_and_half_of_them_cases() -> None:
    label = np.arange(600) < 60
    found = learners.nested(label, [10, 50, 100, 200, 500, 10_000], np.random.default_rng(0))
    assert list(found) == [10, 50, 100, 200, 500]
    sizes = list(found.values())
    assert all({*small} < {*large} for small, large in pairwise(sizes))
    assert [int(label[rows].sum()) for rows in sizes] == [5, 25, 50, 60, 60]
    assert [len(rows) for rows in sizes] == list(found)


def test_the_prevalence_of_patients_is_put_right() -> None:
    counts, label = drawn(6_000, 20)
    rows = learners.nested(label, [1_000], np.random.default_rng(1))[1_000]
    assert label[rows].mean() == pytest.approx(0.5)
    scores, _ = learners.logistic(Table.of([counts], rows, free=False), sample(label, rows), seed=0)
    assert expit(scores).mean() == pytest.approx(label.mean(), abs=0.03)
    boosted = learners.boosting(counts.toarray(), sample(label, rows), seed=0)
    assert expit(boosted).mean() == pytest.approx(label.mean(), abs=0.04)
    assert learners.constant(sample(label, rows), 3) == pytest.approx(np.log(label.mean() / (1 - label.mean())))


def test_a_free_block_is_not_shrunk() -> None:
    """Labels follow a score alone: its weight is 1 if it is free, and less if it is shrunk like the noise beside it."""
    rng = np.random.default_rng(0)
    odds, noise = rng.normal(0, 2, 400), rng.normal(0, 1, (400, 300))
    label = rng.random(400) < expit(odds)
    found = {}
    for free in (True, False):
        table = Table.of([odds[:, None], noise], np.arange(400), free=free)
        scores, _ = learners.logistic(table, sample(label, np.arange(400)), 0)
        own = np.linalg.lstsq(np.column_stack([odds, noise, np.ones(400)]), scores, rcond=None)[0]
        found[free] = own[0]
    assert 0.8 < found[True] < 2
    assert found[False] < 0.95 * found[True]


def test_the_prior_is_chosen_within_the_sample() -> None:
    """Where the columns predict, a wider prior is chosen than where they do not."""
    counts, label = drawn(2_500, 60)
    rows = np.arange(2_000)
    columns = Table.of([counts], rows, free=False).columns
    noise = np.random.default_rng(5).random(2_500) < 0.3
    chosen = [learners._chosen(columns[rows], sample(each, rows), 0) for each in (label, noise)]
    assert chosen[0] > chosen[1] == min(learners.SPREADS)
