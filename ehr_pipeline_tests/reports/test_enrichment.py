import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import chi2, chi2_contingency, false_discovery_control
from scipy.stats.contingency import relative_risk

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import enrichment

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(0.8, (60, 9)) * (RNG.random((60, 9)) < 0.5)
LABELS = RNG.integers(0, 3, 60)
FOUND = enrichment.test(csr_array(COUNTS.astype(float)), LABELS, 3)


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
    found = enrichment.test(counts, np.array([0, 1]), 2)
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
    found = enrichment.test(csr_array(np.array([[1.0, 0], [1, 0], [2, 0]])), np.array([0, 0, 1]), 2)
    assert found.log_p[:, 1].tolist() == [0, 0]
    assert found.top(0, 5, 0.1) == []


def test_benjamini_hochberg_equals_scipy_and_counts_only_what_occurs() -> None:
    expected = false_discovery_control(np.exp(FOUND.log_p).ravel()).reshape(FOUND.log_p.shape)
    assert np.allclose(np.exp(FOUND.log_q), expected, rtol=1e-9)
    wider = enrichment.test(csr_array(np.hstack([COUNTS, np.zeros((60, 5))])), LABELS, 3)
    assert np.allclose(wider.log_q[:, :9], FOUND.log_q)
    assert not wider.log_q[:, 9:].any()


@pytest.mark.parametrize("counts", [(12, 40, 30, 400), (1, 40, 200, 400), (40, 40, 3, 400)])
def test_the_ratio_of_shares_equals_scipy(counts: tuple[int, int, int, int]) -> None:
    expected = relative_risk(*counts)
    low, high = expected.confidence_interval(0.95)
    assert enrichment.risk_ratio(*counts) == pytest.approx((expected.relative_risk, low, high))


def test_the_ratio_of_shares_is_finite_where_nobody_else_has_the_concept() -> None:
    ratio, low, high = enrichment.risk_ratio(20, 40, 0, 400)
    assert 1 < low < ratio < high < float("inf")
    ratio, low, high = enrichment.risk_ratio(0, 40, 20, 400)
    assert (low, ratio) == (0, 0)
    assert 1 < high < 10


def with_counts(inside: int, size: int, outside: int, others: int) -> enrichment.Enrichment:
    patients = np.array([[inside], [outside]])
    nothing = np.zeros((2, 1))
    return enrichment.Enrichment(
        patients, patients, np.array([size, others]), nothing, nothing, nothing, patients > 0, nothing
    )


@pytest.mark.parametrize(
    ("counts", "lifted"),
    [
        ((60, 100, 300, 1000), True),
        ((33, 100, 300, 1000), False),  # 1.1, from 0.82 on
        ((10, 100, 300, 1000), False),
        ((40, 100, 3, 1000), True),
        ((12, 100, 1, 100), False),  # it would be by the exact count, but not by the worst of 1 to 9
        ((98, 100, 800, 1000), True),  # 90 of 100, the worst case
        ((91, 100, 850, 1000), False),  # it would be by the exact count
    ],
)
def test_a_concept_is_lifted_where_the_whole_interval_is_above_1(counts: tuple[int, ...], lifted: bool) -> None:
    """Small counts count as the worst that the page allows: whether a concept is named must not narrow them."""
    inside, size, outside, others = counts
    assert with_counts(inside, size, outside, others).lifted(0, 0, Disclosure(10)) == lifted
    exact = enrichment.risk_ratio(inside, size, outside, others)[1] > 1
    assert with_counts(inside, size, outside, others).lifted(0, 0, Disclosure(1)) == exact


def test_whether_a_concept_is_lifted_is_the_same_for_all_small_counts() -> None:
    for inside in (20, 40, 99):
        told = {with_counts(inside, 100, outside, 200).lifted(0, 0, Disclosure(10)) for outside in range(1, 10)}
        assert len(told) == 1
    assert len({with_counts(inside, 100, 90, 200).lifted(0, 0, Disclosure(10)) for inside in range(91, 100)}) == 1
