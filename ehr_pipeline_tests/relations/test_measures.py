"""Measures of pairs equal scipy's, and the formulas of their sources written out stratum by stratum."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats.contingency import odds_ratio, relative_risk

from ehr_pipeline.relations import measures
from ehr_pipeline.relations.measures import OddsSums, RiskSums

CELLS = [
    (3, 9, 7, 40),
    (0, 5, 8, 30),
    (5, 5, 5, 5),
    (9, 9, 20, 21),
    (40, 60, 90, 1000),
    (2, 400, 300, 90_000),
    (8, 9, 9, 10),
    (9, 9, 9, 10),
]
STRATA = [(8, 20, 22, 90), (3, 6, 15, 40), (0, 4, 9, 33), (12, 30, 16, 51)]


def as_table(both: int, one: int, other: int, total: int) -> list[list[int]]:
    return [[both, one - both], [other - both, total - one - other + both]]


@pytest.mark.parametrize(("both", "one", "other", "total"), CELLS)
def test_fisher_equals_scipys(both: int, one: int, other: int, total: int) -> None:
    found = measures.fisher(np.array([[both]]), np.array([[one]]), np.array([[other]]), total)[0, 0]
    expected = stats.fisher_exact(as_table(both, one, other, total), alternative="greater").pvalue
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_probability_far_in_the_tail_keeps_its_digits() -> None:
    found = measures.fisher(np.array([900]), np.array([1000]), np.array([1000]), 10_000)[0]
    assert found == pytest.approx(stats.hypergeom.sf(899, 10_000, 1000, 1000), rel=1e-8)
    assert 0 < found < 1e-300 or found == 0


def test_benjamini_hochberg_equals_scipys_and_leaves_out_what_was_not_tested() -> None:
    p = np.random.default_rng(1).random((6, 7)) ** 3
    expected = stats.false_discovery_control(p, axis=None).reshape(p.shape)
    np.testing.assert_allclose(measures.benjamini_hochberg(p), expected, rtol=1e-12)
    some = p.copy()
    some[2] = np.nan
    rest = np.delete(p, 2, axis=0)
    np.testing.assert_allclose(
        np.delete(measures.benjamini_hochberg(some), 2, axis=0),
        stats.false_discovery_control(rest, axis=None).reshape(rest.shape),
        rtol=1e-12,
    )


def test_phi_and_jaccard_are_those_of_the_columns() -> None:
    has = np.random.default_rng(2).random((500, 2)) < (0.3, 0.6)
    both, one, other = (np.array(float(part.sum())) for part in (has.all(1), has[:, 0], has[:, 1]))
    assert measures.phi(both, one, other, 500) == pytest.approx(np.corrcoef(has.T)[0, 1], rel=1e-9)
    assert measures.jaccard(both, one, other) == pytest.approx(has.all(1).sum() / has.any(1).sum(), rel=1e-12)


def test_the_log_odds_ratio_has_half_a_person_more_in_each_cell() -> None:
    log, variance = measures.log_odds_ratio(np.array(8.0), np.array(20.0), np.array(22.0), 90)
    expected = odds_ratio(as_table(8, 20, 22, 90), kind="sample")
    assert log == pytest.approx(np.log(8.5 * 56.5 / (12.5 * 14.5)), rel=1e-12)
    assert np.sign(log) == np.sign(np.log(expected.statistic))
    assert variance == pytest.approx(1 / 8.5 + 1 / 12.5 + 1 / 14.5 + 1 / 56.5, rel=1e-12)


def odds_of(strata: list[tuple[int, int, int, int]]) -> OddsSums:
    sums = OddsSums.zeros((1, 1))
    for both, one, other, total in strata:
        sums.add(np.array([[both]], np.int32), np.array([one]), np.array([other]), total)
    return sums


def test_in_one_stratum_the_odds_ratio_and_its_interval_are_scipys() -> None:
    both, one, other, total = STRATA[0]
    found = odds_of(STRATA[:1]).ratio()
    expected = odds_ratio(as_table(both, one, other, total), kind="sample")
    interval = expected.confidence_interval(0.95)
    for mine, theirs in ((found.value, expected.statistic), (found.low, interval.low), (found.high, interval.high)):
        assert mine[0, 0] == pytest.approx(theirs, rel=1e-9)


def test_over_strata_the_odds_ratio_and_its_interval_are_those_of_their_sources() -> None:
    tables = np.array([np.ravel(as_table(*cells)) for cells in STRATA], float)
    a, b, c, d = tables.T
    t = tables.sum(1)
    r, s, p, q = a * d / t, b * c / t, (a + d) / t, (b + c) / t
    ratio = r.sum() / s.sum()
    variance = (
        (p * r).sum() / (2 * r.sum() ** 2)
        + (p * s + q * r).sum() / (2 * r.sum() * s.sum())
        + (q * s).sum() / (2 * s.sum() ** 2)
    )
    found = odds_of(STRATA)
    assert found.ratio().value[0, 0] == pytest.approx(ratio, rel=1e-12)
    assert found.ratio().high[0, 0] == pytest.approx(ratio * np.exp(stats.norm.ppf(0.975) * variance**0.5), rel=1e-9)
    expected = stats.hypergeom(t.astype(int), (a + b).astype(int), (a + c).astype(int))
    assert found.expected[0, 0] == pytest.approx(expected.mean().sum(), rel=1e-9)
    assert found.variance[0, 0] == pytest.approx(expected.var().sum(), rel=1e-9)


def exact_tail(strata: list[tuple[int, int, int, int]], more: int = 0) -> float:
    """The probability of as many with both or more (and of `more` besides), by convolution of the hypergeometric distributions of
    the strata."""
    found = np.ones(1)
    for _, one, other, total in strata:
        found = np.convolve(found, stats.hypergeom(total, one, other).pmf(np.arange(min(one, other) + 1)))
    return float(found[sum(both for both, *_ in strata) + more :].sum())


@pytest.mark.parametrize(
    "strata",
    [
        STRATA,
        STRATA[:1],
        [(3, 8, 9, 400), (4, 6, 20, 300), (2, 3, 12, 500)],
        [(1, 1, 2, 9)] * 4 + [(0, 1, 2, 9)] * 30 + [(1, 1, 1, 1)] * 20 + [(2, 2, 4, 4)] * 5,
        [(12, 30, 60, 1000)] * 4,
    ],
)
def test_over_strata_the_tail_is_near_the_exact_one(strata: list[tuple[int, int, int, int]]) -> None:
    """Strata in which nothing can vary (everybody has a concept) count nothing."""
    assert np.log(odds_of(strata).tail()[0, 0]) == pytest.approx(np.log(exact_tail(strata)), rel=0.06)


def test_the_tail_of_a_rare_pair_is_not_that_of_a_normal_deviate() -> None:
    rare = [(2, 10, 10, 500)] * 5
    found = odds_of(rare)
    deviate = (found.r - found.s) / np.sqrt(found.variance)
    assert found.tail()[0, 0] > 1000 * stats.norm.sf(deviate)[0, 0]
    assert odds_of([(0, 3, 4, 50)]).tail()[0, 0] == 1
    assert np.isnan(odds_of([(3, 3, 4, 4), (1, 1, 1, 1)]).tail()[0, 0]), "nothing varies"


def test_over_strata_the_odds_ratio_and_its_interval_are_those_of_statsmodels() -> None:
    """What StratifiedTable of statsmodels 0.15.0 gives: oddsratio_pooled and its interval."""
    found = odds_of(STRATA)
    ratio = found.ratio()
    theirs = 2.0169085394043953, 0.9989506845891902, 4.072193071267845
    for mine, expected in zip((ratio.value, ratio.low, ratio.high), theirs, strict=True):
        assert mine[0, 0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("times", [0.3, 1.0, 2.5])
def test_of_rare_concepts_the_odds_ratio_is_divided_by_what_the_expected_number_is_multiplied_by(times: float) -> None:
    strata = [(40, 1000, 1200, 90_000), (20, 500, 600, 40_000)]
    usual, found = odds_of(strata), odds_of(strata)
    found.multiply_expected(np.array([[times]]))
    assert found.expected[0, 0] == pytest.approx(times * usual.expected[0, 0])
    assert (found.expected + found.r - found.s)[0, 0] == pytest.approx(60)
    for part in ("value", "low", "high"):
        mine, theirs = (getattr(sums.ratio(), part)[0, 0] for sums in (found, usual))
        assert mine == pytest.approx(theirs / times, rel=0.08)
    assert found.tail()[0, 0] < usual.tail()[0, 0] if times < 1 else found.tail()[0, 0] >= usual.tail()[0, 0]


def test_an_odds_ratio_is_1_where_as_many_have_both_as_expected() -> None:
    for strata in (STRATA, [(8, 20, 42, 90), (3, 30, 25, 40)]):
        found = odds_of(strata)
        found.multiply_expected((found.expected + found.r - found.s) / found.expected)
        assert found.ratio().value[0, 0] == pytest.approx(1)


def test_a_relative_risk_is_divided_by_what_the_expected_number_is_multiplied_by() -> None:
    usual, found = (risks_of([(12, 90, 30, 700), (6, 50, 22, 400)]) for _ in range(2))
    found.multiply_expected(np.array([[1.5]]))
    for part in ("value", "low", "high"):
        mine, theirs = (getattr(sums.ratio(), part)[0, 0] for sums in (found, usual))
        assert mine == pytest.approx(theirs / 1.5)
    assert found.deviate()[0, 0] < usual.deviate()[0, 0]


def risks_of(strata: list[tuple[int, int, int, int]]) -> RiskSums:
    sums = RiskSums.zeros((1, 1))
    for cells in strata:
        x, n, y, m = (np.array([[cell]], np.int32) for cell in cells)
        sums.add((x, n), (y, m), (n[0], m[0]))
    return sums


def test_in_one_stratum_the_relative_risk_and_its_interval_are_scipys() -> None:
    found, expected = risks_of([(15, 60, 9, 120)]).ratio(), relative_risk(15, 60, 9, 120)
    interval = expected.confidence_interval(0.95)
    for mine, theirs in ((found.value, expected.relative_risk), (found.low, interval.low), (found.high, interval.high)):
        assert mine[0, 0] == pytest.approx(theirs, rel=1e-9)


def test_over_strata_the_relative_risk_is_that_of_its_source() -> None:
    strata = [(15, 60, 9, 120), (3, 10, 20, 50), (0, 8, 4, 30)]
    x, n, y, m = np.array(strata, float).T
    t = n + m
    r, s = (x * m / t).sum(), (y * n / t).sum()
    variance = ((n * m * (x + y) - x * y * t) / t**2).sum() / (r * s)
    found = risks_of([*strata, (2, 5, 0, 0)]).ratio()  # nobody to compare with: not counted
    assert found.value[0, 0] == pytest.approx(r / s, rel=1e-12)
    assert found.low[0, 0] == pytest.approx(r / s * np.exp(-stats.norm.ppf(0.975) * variance**0.5), rel=1e-9)
    assert risks_of(strata).expected[0, 0] == pytest.approx((n * y / m).sum(), rel=1e-12)
    assert (risks_of(strata).cases[0, 0], risks_of(strata).others[0, 0]) == (18, 33)


@pytest.mark.parametrize(
    "strata",
    [
        [(15, 60, 9, 120), (3, 10, 20, 50), (0, 8, 4, 30)],
        [(1, 1, 0, 20), (1, 2, 1, 30), (1, 1, 2, 40)] * 2 + [(0, 1, 2, 40)] * 40,
        [(0, 5, 1, 40)] * 3,
        [(0, 30, 20, 60), (1, 25, 18, 50)],
    ],
)
def test_over_strata_the_deviate_of_a_relative_risk_is_near_that_of_the_exact_mid_p_value(
    strata: list[tuple[int, int, int, int]],
) -> None:
    tables = [(x, n, x + y, n + m) for x, n, y, m in strata]
    expected = -stats.norm.ppf((exact_tail(tables) + exact_tail(tables, 1)) / 2)
    assert risks_of(strata).deviate()[0, 0] == pytest.approx(expected, rel=0.1, abs=0.06)


def test_deviates_of_relative_risks_are_finite_unless_nothing_can_vary() -> None:
    assert np.isnan(risks_of([(0, 5, 0, 9), (2, 2, 3, 3), (1, 4, 0, 0)]).deviate()[0, 0])
    far = [risks_of([cells] * 50).deviate()[0, 0] for cells in ((50, 60, 0, 90), (0, 60, 50, 90))]
    assert far[0] > 30
    assert -9 < far[1] < -8


def test_what_is_usual_for_a_concept_is_taken_off_and_what_is_not_stays() -> None:
    """Concepts whose deviates are all too high by 2, as rows or as columns, with one pair that is related."""
    rng = np.random.default_rng(1)
    deviate = rng.normal(size=(60, 60))
    np.fill_diagonal(deviate, np.nan)
    shifted = deviate.copy()
    shifted[:10] += 2
    shifted[:, 5:20] += 2
    shifted[3, 7] += 8
    found = measures.calibrated(shifted)
    apart = ~np.eye(60, dtype=bool)
    apart[3, 7] = False
    assert np.isnan(found.diagonal()).all()
    assert np.abs(found[apart] - deviate[apart]).mean() < 0.3
    assert abs(found[:10, 5:20][apart[:10, 5:20]].mean()) < 0.2
    assert found[3, 7] - deviate[3, 7] == pytest.approx(8, abs=1)
    wide = measures.calibrated(3 * deviate)
    assert np.nanstd(wide) == pytest.approx(1, abs=0.1)
    assert np.nanstd(measures.calibrated(deviate / 3)) < 0.4, "a narrow spread is not made wider"


def test_few_partners_calibrate_nothing() -> None:
    deviate = np.array([[np.nan, 3.0], [np.inf, np.nan]])
    np.testing.assert_array_equal(measures.calibrated(deviate), [[np.nan, 3.0], [np.nan, np.nan]])


def test_no_concept_comes_first_if_both_orders_are_as_frequent() -> None:
    """Even where one order was expected less often: 212 and 211 patients were told as 'later' with a relative risk of 4.5."""
    cases, expected = np.array([[0.0, 212.0], [211.0, 0.0]]), np.array([[0.0, 47.0], [111.0, 0.0]])
    found = measures.direction(cases, expected, expected)
    assert found.deviate[0, 1] > 4
    assert found.p[0, 1] == pytest.approx(stats.binomtest(212, 423, 0.5, alternative="greater").pvalue, rel=1e-9)
    assert found.p[0, 1] > 0.4


def test_direction_is_an_exact_binomial_test() -> None:
    cases, expected = np.array([[0.0, 30.0], [10.0, 0.0]]), np.array([[0.0, 12.0], [18.0, 0.0]])
    found = measures.direction(cases, expected, expected)
    assert found.p[0, 1] == pytest.approx(stats.binomtest(30, 40, 0.5, alternative="greater").pvalue, rel=1e-9)
    assert found.p[1, 0] == pytest.approx(stats.binomtest(10, 40, 0.6, alternative="greater").pvalue, rel=1e-9)
    assert found.deviate[0, 1] == pytest.approx(-found.deviate[1, 0], rel=1e-12)
    assert found.deviate[0, 1] > 4
    assert np.isnan(found.deviate[0, 0])


def test_an_order_without_exception_is_shown_although_nobody_is_at_risk_of_the_reverse() -> None:
    """A drug follows its disease in 270 of 270 patients: none was without the disease when the drug began. A few exceptions change
    nothing. Of a disease that nearly everybody has by then, with or without the drug, the order says no more than chance does."""
    unrelated = np.array([[0.0, 20.0], [30.0, 0.0]])
    for exceptions, at_risk in ((0.0, 0.0), (3.0, 0.2)):
        cases, expected = np.array([[0.0, 270.0], [exceptions, 0.0]]), np.array([[0.0, 20.0], [at_risk, 0.0]])
        found = measures.direction(cases, expected, unrelated)
        assert found.p[0, 1] < 1e-50
        assert found.p[1, 0] == pytest.approx(1)
        assert found.deviate[0, 1] == pytest.approx(-found.deviate[1, 0])
        assert found.deviate[0, 1] > 10
    usual = np.array([[0.0, 20.0], [0.5, 0.0]])
    assert measures.direction(np.array([[0.0, 40.0], [0.0, 0.0]]), usual * [[0, 1], [0, 0]], usual).p[0, 1] > 0.2
    some = np.array([[0.0, 40.0], [10.0, 0.0]])
    many = measures.direction(np.array([[0.0, 40.0], [12.0, 0.0]]), some, unrelated)
    assert many.p[0, 1] > 0.2
