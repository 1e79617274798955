import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import chi2, chi2_contingency

from ehr_pipeline.reports import enrichment

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(0.8, (60, 9)) * (RNG.random((60, 9)) < 0.5)
LABELS = RNG.integers(0, 3, 60)
FOUND = enrichment.test(csr_array(COUNTS.astype(float)), LABELS)


@pytest.mark.parametrize("cluster", range(3))
@pytest.mark.parametrize("concept", range(9))
def test_equal_to_scipy_on_occurrences_and_on_patients(cluster: int, concept: int) -> None:
    inside = cluster == LABELS
    a, c = COUNTS[inside, concept].sum(), COUNTS[~inside, concept].sum()
    table = [[a, COUNTS[inside].sum() - a], [c, COUNTS[~inside].sum() - c]]
    assert np.exp(FOUND.log_p[cluster, concept]) == pytest.approx(chi2_contingency(table).pvalue, rel=1e-9)
    a, c = (COUNTS[inside, concept] > 0).sum(), (COUNTS[~inside, concept] > 0).sum()
    table = [[a, inside.sum() - a], [c, (~inside).sum() - c]]
    assert np.exp(FOUND.log_p_patients[cluster, concept]) == pytest.approx(chi2_contingency(table).pvalue, rel=1e-9)


def test_counts_and_shares() -> None:
    assert FOUND.cluster_patients.tolist() == np.bincount(LABELS).tolist()
    assert FOUND.occurrences[1, 4] == COUNTS[LABELS == 1, 4].sum()
    assert FOUND.share[1, 4] == pytest.approx((COUNTS[LABELS == 1, 4] > 0).mean())


def test_over_and_under_represented() -> None:
    counts = csr_array(np.array([[9.0, 1, 5], [1, 9, 5]]))
    found = enrichment.test(counts, np.array([0, 1]))
    assert found.over.tolist() == [[True, False, False], [False, True, False]]
    assert found.ratio[0].tolist() == [9, pytest.approx(1 / 9), 1]


def test_the_logarithm_of_p_is_exact_and_does_not_underflow() -> None:
    statistic = np.array([0.0, 1.0, 3.84, 50.0, 500.0])
    assert np.allclose(enrichment.log_p_of(statistic), chi2.logsf(statistic, 1), rtol=1e-12)
    huge = enrichment.log_p_of(np.array([5e3, 5e4, 5e5]))
    assert np.isfinite(huge).all()
    assert np.all(np.diff(huge) < 0)


def test_ranked_by_p_with_a_limit() -> None:
    everything = FOUND.top(0, 9, max_p=1.0)
    p = FOUND.log_p[0][everything]
    assert np.all(np.diff(p) >= 0)
    assert all(FOUND.log_p[0][concept] < np.log(0.5) for concept in FOUND.top(0, 9, max_p=0.5))
    assert FOUND.top(0, 2, max_p=1.0) == everything[:2]


def test_concepts_that_nobody_has_say_nothing() -> None:
    found = enrichment.test(csr_array(np.array([[1.0, 0], [1, 0], [2, 0]])), np.array([0, 0, 1]))
    assert found.log_p[:, 1].tolist() == [0, 0]
    assert found.top(0, 5, 0.1) == []
