"""Measures of association between two concepts, from counts of patients or of visits.

Arrays broadcast. Of `total` patients or visits, `both` have both concepts, `one` have the first, and `other` have the second.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ehr_pipeline.tables.compiled_loops import compiled

Floats = NDArray[np.float64]
NORMAL = float(special.ndtri(0.975))
"""Standard errors on each side of a 95 % interval."""
QUARTILES_APART = 2 * float(special.ndtri(0.75))
LEAST_CHANCE = 1e-9
"""Smallest probability used for a binomial number; below it, the number is practically Poisson."""
LEAST_P = 1e-300
"""Smallest p value that is turned into a deviate, so that deviates stay finite."""
EXHAUSTED = 0.1
"""Share of the cases of unrelated concepts below which too few are at risk to compare the order with its expected cases."""
POLISHES, FEWEST_CONTROLS = 3, 20
"""Rounds of the median polish; and the fewest deviates of a concept from which its usual deviate is estimated."""


@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95 % interval; NaN where it cannot be determined."""

    value: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, log: Floats, variance: Floats) -> "Ratio":
        """Make it from the logarithm of the ratio, and the variance of that logarithm."""
        wide = NORMAL * np.sqrt(variance)
        return cls(np.exp(log), np.exp(log - wide), np.exp(log + wide))


def jaccard(both: Floats, one: Floats, other: Floats) -> Floats:
    """Return the share of those with both concepts among those with either (Jaccard 1901)."""
    return _over(both, one + other - both)


def phi(both: Floats, one: Floats, other: Floats, total: float) -> Floats:
    """Return the correlation of two yes-or-no variables (Pearson 1900)."""
    spread = np.sqrt(one) * np.sqrt(total - one) * np.sqrt(other) * np.sqrt(total - other)
    return _over(both * total - one * other, spread)


def log_odds_ratio(both: Floats, one: Floats, other: Floats, total: float) -> tuple[Floats, Floats]:
    """Return the logarithm of the odds ratio with 0.5 added to each cell, and its variance (Haldane 1956; Anscombe 1956)."""
    a, b, c = both + 0.5, one - both + 0.5, other - both + 0.5
    d = total - one - other + both + 0.5
    return np.log(a) + np.log(d) - np.log(b) - np.log(c), 1 / a + 1 / b + 1 / c + 1 / d


def fisher(both: NDArray[Any], one: NDArray[Any], other: NDArray[Any], total: int) -> Floats:
    """Return the probability that this many or more have both concepts, given how many have each (Fisher's exact test,
    one-sided)."""
    shape = np.broadcast_shapes(both.shape, one.shape, other.shape)
    cells = [np.ascontiguousarray(np.broadcast_to(part, shape), np.int64).ravel() for part in (both, one, other)]
    p = np.empty(len(cells[0]))
    _tails(cells[0], cells[1], cells[2], total, p)
    return p.reshape(shape)


@compiled
def _tails(both: Any, one: Any, other: Any, total: int, out: Any) -> None:
    """Sum the upper tail of the hypergeometric distribution, or one minus the lower tail if that tail is the smaller one."""
    for place in range(len(both)):
        a, m, k = both[place], one[place], other[place]
        least, most = max(0, m + k - total), min(m, k)
        if a <= least:
            out[place] = 1.0
            continue
        upper = a * total >= m * k  # at or above the mean: the upper tail falls from here
        start = a if upper else a - 1
        log = (
            math.lgamma(m + 1.0)
            - math.lgamma(start + 1.0)
            - math.lgamma(m - start + 1.0)
            + math.lgamma(total - m + 1.0)
            - math.lgamma(k - start + 1.0)
            - math.lgamma(total - m - k + start + 1.0)
            - math.lgamma(total + 1.0)
            + math.lgamma(k + 1.0)
            + math.lgamma(total - k + 1.0)
        )
        x, term, tail = start, 1.0, 1.0
        while term > 1e-18 * tail and (x < most if upper else x > least):
            if upper:
                term *= (m - x) * 1.0 * (k - x) / ((x + 1.0) * (total - m - k + x + 1.0))
                x += 1
            else:
                term *= x * 1.0 * (total - m - k + x) / ((m - x + 1.0) * (k - x + 1.0))
                x -= 1
            tail += term
        p = math.exp(log) * tail
        out[place] = min(p, 1.0) if upper else max(1.0 - p, 0.0)


def benjamini_hochberg(p: Floats) -> Floats:
    """Return the smallest false discovery rate at which each test passes (Benjamini & Hochberg 1995). NaN values are not tested."""
    flat = p.ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    ranked = flat[order] * len(order) / np.arange(1, len(order) + 1)
    rates = np.full(len(flat), np.nan)
    rates[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1)
    return rates.reshape(p.shape)


def upper_tail(number: Floats, mean: Floats, variance: Floats) -> Floats:
    """Return the probability that a sum of hypergeometric numbers of this mean and variance is `number` or more; NaN if it cannot
    vary.

    Each hypergeometric number is a sum of independent yes-or-no variables (Vatutin & Mikhailov 1982), and so their sum is one, too.
    It is nearly binomial, with the number and the probability that give its mean and variance (Ehm 1991). A normal deviate (Mantel
    & Haenszel 1959) finds too many rare pairs, because their numbers are skewed.
    """
    known = variance > 0
    mean = np.where(known, mean, 1.0)
    a = np.maximum(np.rint(number), 0)
    chance = np.maximum(1 - np.where(known, variance, 0.5) / mean, LEAST_CHANCE)
    tail = special.betainc(np.maximum(a, 1), np.maximum(mean / chance - a, 0) + 1, chance)
    return np.where(known, np.where(a > 0, tail, 1.0), np.nan)


@dataclass(frozen=True)
class OddsSums:
    """Sums over strata from which the Mantel-Haenszel odds ratio, its interval and its test are computed.

    With cells a (both), b (only the first), c (only the second), d (neither) of t in each stratum: R = ad/t, S = bc/t, P = (a+d)/t,
    Q = (b+c)/t.
    """

    r: Floats
    s: Floats
    pr: Floats
    qs: Floats
    expected: Floats
    """The expected a, over the strata in which a can vary."""
    variance: Floats
    """Variance of a."""

    @classmethod
    def zeros(cls, shape: tuple[int, int]) -> "OddsSums":
        """Return sums over no stratum."""
        return cls(*(np.zeros(shape) for _ in range(6)))

    def add(self, both: NDArray[np.int32], one: NDArray[np.int64], other: NDArray[np.int64], total: int) -> None:
        """Add a stratum: `both` (R, n), `one` (R,), `other` (n,)."""
        sums = (self.r, self.s, self.pr, self.qs, self.expected, self.variance)
        _add_odds(both, one, other, total, sums)

    def multiply_expected(self, times: Floats) -> None:
        """Multiply the expected a. R - S stays a less the expected a, so R = S where both are equal; P and Q keep their means."""
        more, less = np.maximum(times - 1, 0), np.maximum(1 - times, 0)
        r, s = self.r + less * (self.expected - self.s), self.s * (1 - less) + more * self.expected
        self.pr[...] *= _over(r, self.r)
        self.qs[...] *= _over(s, self.s)
        self.r[...], self.s[...] = r, s
        self.expected[...] *= times
        self.variance[...] *= times

    def ratio(self) -> Ratio:
        """Return the odds ratio (Mantel & Haenszel 1959), with the variance of Robins, Breslow & Greenland (1986)."""
        r, s = np.where(self.r > 0, self.r, np.nan), np.where(self.s > 0, self.s, np.nan)
        mixed = (r - self.pr) + (s - self.qs)  # PS + QR, since P + Q = 1
        variance = self.pr / (2 * r**2) + mixed / (2 * r * s) + self.qs / (2 * s**2)
        return Ratio.of(np.log(r) - np.log(s), variance)

    def tail(self) -> Floats:
        """Return the probability that this many or more have both, if the odds ratio is 1 in every stratum; NaN if a cannot
        vary."""
        return upper_tail(self.expected + self.r - self.s, self.expected, self.variance)


@compiled
def _add_odds(both: Any, one: Any, other: Any, total: int, sums: Any) -> None:
    r, s, pr, qs, expected, variance = sums
    t = float(total)
    for i in range(both.shape[0]):
        if not one[i]:
            continue
        for j in range(both.shape[1]):
            if not other[j]:
                continue
            a = float(both[i, j])
            b, c = one[i] - a, other[j] - a
            d = t - a - b - c
            p, q, x, y = (a + d) / t, (b + c) / t, a * d / t, b * c / t
            r[i, j] += x
            s[i, j] += y
            pr[i, j] += p * x
            qs[i, j] += q * y
            if one[i] < total and other[j] < total:
                expected[i, j] += one[i] * other[j] / t
                variance[i, j] += one[i] * (t - one[i]) / t * other[j] / t * (t - other[j]) / (t - 1)


@dataclass(frozen=True)
class RiskSums:
    """Sums over strata of index dates, from which the relative risk after a concept is computed."""

    r: Floats
    s: Floats
    v: Floats
    cases: Floats
    """Patients in whom the second concept followed the first within the window."""
    expected: Floats
    """Number of such patients expected with the risk after the matched index dates of the same strata."""
    unrelated: Floats
    """The same, if moreover as many had the second concept before the first as before the matched index dates."""
    others: Floats
    """Patients in whom the second concept followed a matched index date."""

    @classmethod
    def zeros(cls, shape: tuple[int, int]) -> "RiskSums":
        """Return sums over no stratum."""
        return cls(*(np.zeros(shape) for _ in range(7)))

    def add(self, cases: tuple[Any, Any], others: tuple[Any, Any], dates: tuple[Any, Any]) -> None:
        """Add a stratum: cases and people at risk (R, n), after the first concept and after the matched index dates; and the number
        of `dates` (R,) of either kind, at risk or not."""
        sums = self.r, self.s, self.v, self.cases, self.expected, self.unrelated, self.others
        _add_risks(cases, others, dates, sums)

    def multiply_expected(self, times: Floats) -> None:
        """Multiply the number of cases that is expected."""
        for part in (self.s, self.v, self.expected, self.unrelated):
            part[...] *= times

    def ratio(self) -> Ratio:
        """Return the Mantel-Haenszel relative risk with the variance of Greenland & Robins (1985)."""
        r, s = np.where(self.r > 0, self.r, np.nan), np.where(self.s > 0, self.s, np.nan)
        return Ratio.of(np.log(r) - np.log(s), self.v / (r * s))

    def deviate(self) -> Floats:
        """Return the normal deviate with the same mid-P value (Lancaster 1961) as the number of cases, above 0 if there are more
        than expected with a relative risk of 1 in every stratum; NaN if the number cannot vary.

        In each stratum, R - S is the number of cases minus its expected number, and V is close to its variance.
        """
        mean = self.cases - self.r + self.s
        tails = upper_tail(self.cases, mean, self.v) + upper_tail(self.cases + 1, mean, self.v)
        return np.asarray(-special.ndtri(np.clip(tails / 2, LEAST_P, 1 - np.finfo(float).eps)))


@compiled
def _add_risks(first: Any, second: Any, dates: Any, sums: Any) -> None:
    cases, at_risk = first
    cases_of_others, others = second
    r, s, v, seen, expected, unrelated, of_others = sums
    for i in range(cases.shape[0]):
        if not dates[0][i] or not dates[1][i]:
            continue
        for j in range(cases.shape[1]):
            x, n = float(cases[i, j]), float(at_risk[i, j])
            y, m = float(cases_of_others[i, j]), float(others[i, j])
            unrelated[i, j] += y * dates[0][i] / dates[1][i]
            if n <= 0 or m <= 0:
                continue
            t = n + m
            r[i, j] += x * m / t
            s[i, j] += y * n / t
            v[i, j] += (n * m * (x + y) - x * y * t) / (t * t)
            seen[i, j] += x
            expected[i, j] += y * n / m
            of_others[i, j] += y


@dataclass(frozen=True)
class Direction:
    """Test of the order of two concepts: whether the second follows the first more than the first follows the second."""

    deviate: Floats
    """Normal deviate (n, n): above 0 if the row's concept comes first; NaN if no case of either order was expected."""
    p: Floats
    """One-sided p values (n, n) of the hypothesis that the row's concept does not come first: the larger of two exact tests."""


def direction(cases: Floats, expected: Floats, unrelated: Floats) -> Direction:
    """Compare the numbers of cases in both orders (n, n), by the exact test of two Poisson counts (Przyborowski & Wilenski 1940).

    Given the cases of both orders together, those of one order are binomial, with that order's share of the expected cases as
    the probability. Expected numbers are treated as known. Cases in excess of the expected ones are not enough: if both orders are
    equally frequent, no concept comes first, even if one order was expected less often. So the p value is the larger one of this
    test and of the same test with a probability of one half.

    If (nearly) everybody had one concept before the other, as a disease before its drug, (nearly) nobody was at risk of the
    reverse order, so no case of it is expected. Then a comparison with the expected cases could not show the order that holds
    without exception. So it is made with the cases of two `unrelated` concepts, where fewer than EXHAUSTED of them are expected.
    """
    total = cases + cases.T
    exhausted = expected < EXHAUSTED * unrelated
    expected = np.where(exhausted | exhausted.T, unrelated, expected)
    either = expected + expected.T
    share = np.where((either > 0) & (total > 0), expected / np.where(either > 0, either, 1), np.nan)
    spread = np.sqrt(total * share * (1 - share))
    deviate = _over(cases - total * share, spread, np.nan)
    with np.errstate(invalid="ignore"):
        after, before = np.maximum(cases, 1), np.maximum(total - cases + 1, 1)
        tail = np.maximum(special.betainc(after, before, share), special.betainc(after, before, 0.5))
    p = np.where(cases > 0, tail, np.where(np.isnan(share), np.nan, 1.0))
    return Direction(deviate, p)


def calibrated(deviate: Floats) -> Floats:
    """Calibrate deviates (n, n) by what is usual for their two concepts; NaN where there is no deviate.

    Most concepts are unrelated, so the other deviates of a concept show what its deviates are without a relation (negative
    controls: Schuemie et al. 2014). The usual deviates of the row's and of the column's concept are subtracted by Tukey's
    median polish (1977); nothing is subtracted for a concept with fewer than FEWEST_CONTROLS deviates. If the quartiles of the
    rest lie further apart than those of a normal deviate (Efron 2004), the rest is divided by the ratio of the two distances.
    """
    values: Floats = deviate.copy()
    known = np.isfinite(deviate)
    values[~known] = np.nan
    enough = [known.sum(axis, keepdims=True) >= FEWEST_CONTROLS for axis in (1, 0)]
    if not any(part.any() for part in enough):
        return values
    for _ in range(POLISHES):
        for axis, many in zip((1, 0), enough, strict=True):
            usual = np.zeros(many.shape)
            lines = values[many[:, 0]] if axis else values[:, many[0]]
            usual[many] = np.nanmedian(lines, axis=axis)
            values = values - usual
    low, high = np.quantile(values[known], (0.25, 0.75))
    return np.asarray(values / max((high - low) / QUARTILES_APART, 1))


def two_sided(deviate: Floats) -> Floats:
    """Return the probability of a deviate this far from 0 or further."""
    p: Floats = 2 * special.ndtr(-np.abs(deviate))
    return p


def _over(part: Floats, whole: Floats, otherwise: float = 0.0) -> Floats:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), otherwise)
