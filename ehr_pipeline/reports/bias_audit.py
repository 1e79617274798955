"""The bias audit: how strongly clusters and map reflect age, sex, region, treatment, ethnicity, or the recording of the data.

For each attribute it computes an effect size with respect to the clusters, with a bootstrap interval and a permutation
test, and an effect size with respect to the place on the map. The words for sizes follow Cohen (1988), chapters 7 (w)
and 8 (eta squared).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.disclosure.figures import FEWEST

BANDS = {"η²": (0.01, 0.06, 0.14), "Cramér's V": (0.1, 0.3, 0.5)}
"""Smallest small, medium and large effects. For Cramér's V these hold with one degree of freedom: see `bands`."""
RESAMPLES = 200
MAX_P = 0.05  # largest p of the permutation test at which an effect is more than chance
RECORDING = ("concepts", "practice", "year")
"""Attributes of the recording (how much, where, when), not of the patient."""
WORDS = {
    "age": "age at the last visit",
    "concepts": "the number of concepts in the record",
    "year": "the calendar year of the first disease record",
}
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Effect:
    """How strongly an attribute is associated with the clusters and with the map."""

    attribute: str
    measure: str
    """'η²' for numbers, 'Cramér's V' for categories; both from 0 (not at all) to 1 (fully)."""
    value: float | None
    """None if it is undefined: only one category, or no variation."""
    low: float | None = None
    high: float | None = None
    """Ends of its 95 % interval: percentiles over resampled patients, corrected for the bias of resampling."""
    p: float | None = None
    """Share of permutations with an effect at least as large, including the observed one."""
    place: float | None = None
    """Share of variance that the attribute and the place on the map have in common (see `on_the_map`)."""
    within: float | None = None
    """The effect among patients of the same disease (see `within_strata`): this part is not caused by the diseases."""
    within_low: float | None = None
    within_high: float | None = None
    """Ends of the 95 % interval of `within`, computed like that of `value`."""
    freedom: int = 1
    """For categories: one less than the number of categories or of clusters, whichever is smaller."""
    why: str = ""
    """The reason why there is no value, if there is none."""

    @property
    def chance(self) -> bool:
        """Whether chance alone may explain the effect: a few patients in many clusters always differ somewhat."""
        return self.p is not None and self.p > MAX_P

    @property
    def words(self) -> str:
        """The size of the effect in a word; 'by chance' if permuted clusters have such an effect too."""
        if self.value is None:
            return "undefined"
        return "by chance" if self.chance else in_words(self.value, self.measure, self.freedom)

    @property
    def name(self) -> str:
        """The name of the attribute for readers."""
        return WORDS.get(self.attribute, self.attribute)


def bands(measure: str, freedom: int) -> tuple[float, ...]:
    """Return the limits from which an effect counts as small, medium and large.

    Cohen's w is Cramér's V times the square root of `freedom`: one less than the number of categories or of clusters, whichever is
    smaller. So where an attribute has more categories, the same w corresponds to a smaller V (Cohen 1988, section 7.2).
    """
    return tuple(limit / max(freedom, 1) ** 0.5 for limit in BANDS[measure])


def in_words(value: float, measure: str, freedom: int = 1) -> str:
    """Return the size of an effect in a word: negligible, small, medium or large. For `freedom` see `bands`."""
    small, medium, large = bands(measure, freedom)
    return "large" if value >= large else "medium" if value >= medium else "small" if value >= small else "negligible"


def effect(
    attribute: str,
    values: NDArray[np.generic],
    labels: Labels,
    points: NDArray[np.float64],
    *,
    diseases: NDArray[np.generic],
    seed: int,
    fewest: int = FEWEST,
) -> Effect:
    """Compute how strongly clusters (n,) and map places (n, 2) are associated with an attribute (n,): η² for numbers, else Cramér's
    V.

    If there are several `diseases` (n,), the effect is also computed within each of them. For a number, patients without a
    value (NaN) are excluded, and the effect is None if fewer than `fewest` patients have a value. For categories, an unknown
    value counts as a category.
    """
    rng = np.random.default_rng([seed, 0xA0D1])
    numeric = np.issubdtype(values.dtype, np.number)
    measure, size = ("η²", eta_squared) if numeric else ("Cramér's V", cramers_v)
    if numeric and not (known := np.isfinite(values.astype(float))).all():
        if known.sum() < fewest:
            return Effect(attribute, measure, None, why="too few patients have a value")
        values, labels, points, diseases = values[known], labels[known], points[known], diseases[known]
    coded = values.astype(float) if numeric else np.unique(values, return_inverse=True)[1]
    value = size(coded, labels)
    place = on_the_map(coded, points, numeric)
    if value is None:
        why = "it does not vary in this cohort" if len(np.unique(coded)) < 2 else "the clusters are too small for it"
        return Effect(
            attribute, measure, None, place=place, why=why if values.astype(str).any() else "no patient has a value"
        )
    kinds, strata = np.unique(diseases, return_inverse=True)  # as numbers: the resamples below look for them again
    within = within_strata(coded, labels, strata, numeric) if attribute != "disease" and len(kinds) > 1 else None
    drawn, inside, permuted = [], [], 1
    for _ in range(RESAMPLES):
        sample = rng.integers(0, len(labels), len(labels))
        drawn.append(size(coded[sample], labels[sample]) or 0.0)
        if within is not None:
            inside.append(within_strata(coded[sample], labels[sample], strata[sample], numeric) or 0.0)
        permuted += (size(coded, rng.permutation(labels)) or 0.0) >= value
    low, high = _interval(drawn, value)
    freedom = 1 if numeric else min(len(np.unique(coded)), len(np.unique(labels))) - 1
    found = Effect(attribute, measure, value, low, high, permuted / (RESAMPLES + 1), place, within, freedom=freedom)
    if within is None:
        return found
    low, high = _interval(inside, within)
    return replace(found, within_low=low, within_high=high)


def _interval(drawn: list[float], value: float) -> tuple[float, float]:
    """Return the 95 % interval of an effect from its values in resamples (`drawn`). Resamples repeat patients, which inflates the
    effect; the interval is shifted by this excess."""
    low, high = np.clip(np.quantile(drawn, (0.025, 0.975)) - (float(np.mean(drawn)) - value), 0, 1).tolist()
    return low, high


def eta_squared(values: NDArray[np.float64], labels: Labels) -> float | None:
    """Return the share of the variance of values (n,) that lies between clusters (n,); None without variance."""
    total = float(((values - values.mean()) ** 2).sum())
    if total == 0:
        return None
    size = np.bincount(labels)
    means = np.bincount(labels, values) / np.maximum(size, 1)
    return float((size * (means - values.mean()) ** 2).sum() / total)


def cramers_v(coded: NDArray[np.integer], labels: Labels) -> float | None:
    """Return Cramér's V with Bergsma's (2013) bias correction, so that chance gives about 0; None with only one category.

    `coded` (n,) are categories as numbers from 0.
    """
    columns_in_all = int(coded.max()) + 1
    cells = np.bincount(labels * columns_in_all + coded, minlength=(int(labels.max()) + 1) * columns_in_all)
    table = cells.reshape(-1, columns_in_all)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    rows, columns = table.shape
    if min(rows, columns) < 2:
        return None
    n = int(table.sum())
    expected = np.outer(table.sum(1), table.sum(0)) / n
    phi2 = (
        float(((table - expected) ** 2 / expected).sum()) / n
    )  # scipy's own test is slower, and this is called 200 times
    corrected = max(0.0, phi2 - (columns - 1) * (rows - 1) / (n - 1))
    smaller = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return float(np.sqrt(corrected / smaller)) if smaller > 0 else None


def within_strata(
    coded: NDArray[np.generic], labels: Labels, strata: NDArray[np.generic], numeric: bool
) -> float | None:
    """Return the effect of clusters (n,) on an attribute (n,) within strata (n,), pooled over strata; None if undefined.

    For a number: ε² (Kelley 1935) from pooled mean squares. It is η² corrected for chance, which matters since clusters
    are small within a stratum. For categories: the square root of the mean of V², weighted by patients.
    """
    parts = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    if not numeric:
        found = [(len(part), cramers_v(coded[part].astype(np.int64), labels[part])) for part in parts]
        squares = [(size, value**2) for size, value in found if value is not None]
        patients = sum(size for size, _ in squares)
        return float(np.sqrt(sum(size * square for size, square in squares) / patients)) if patients else None
    inside = total = 0.0
    free = freedom = 0
    for part in parts:
        values = coded[part].astype(float)
        varied = float(((values - values.mean()) ** 2).sum())
        inside += varied * (1 - (eta_squared(values, labels[part]) or 0.0))
        total += varied
        free += len(part) - len(np.unique(labels[part]))
        freedom += len(part) - 1
    return max(0.0, 1 - inside / free / (total / freedom)) if total and free else None


def on_the_map(coded: NDArray[np.generic], points: NDArray[np.float64], numeric: bool) -> float | None:
    """Return the share of variance common to an attribute (n,) and map places (n, 2), independent of the map's rotation.

    For a number: R² of its regression on both axes. For categories: the share of the scatter of places between categories.
    """
    centred = points.astype(np.float64) - points.mean(0)
    if numeric:
        target = coded.astype(float) - coded.astype(float).mean()
        total = float(target @ target)
        if total == 0:
            return None
        left = target - centred @ np.linalg.lstsq(centred, target, rcond=None)[0]
        return max(0.0, 1 - float(left @ left) / total)
    codes = coded.astype(np.int64)
    scatter = float((centred**2).sum())
    size = np.bincount(codes)
    if len(size[size > 0]) < 2 or scatter == 0:
        return None
    means = np.stack([np.bincount(codes, axis) for axis in centred.T], axis=1) / np.maximum(size[:, None], 1)
    return float((size[:, None] * means**2).sum() / scatter)


def in_banner(effect: Effect) -> bool:
    """Return whether an effect is named at the top of the page: large ones, except of disease, and medium ones of practice and
    year."""
    wanted = ("medium", "large") if effect.attribute in ("practice", "year") else ("large",)
    return effect.words in wanted and effect.attribute != "disease"


def strong(effects: Sequence[Effect]) -> list[Effect]:
    """Return medium and large effects of attributes other than disease, the large ones first."""
    order = ("large", "medium")
    found = [effect for effect in effects if effect.words in order and effect.attribute != "disease"]
    return sorted(found, key=lambda effect: order.index(effect.words))
