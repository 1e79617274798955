from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from ehr_pipeline.records.numeric import guess, numbers
from ehr_pipeline.reports.bias_audit import Effect, cramers_v, effect, eta_squared, on_the_map, within_strata
from ehr_pipeline.reports.statements.audit import meaning, remaining, warnings

LABELS = np.repeat([0, 1, 2], 100)
POINTS = np.random.default_rng(1).normal(0, 1, (300, 2))
ALL_ALIKE = np.full(300, "eczema")


def test_eta_squared_is_the_share_of_variance_between_clusters() -> None:
    values = LABELS * 1.0 + np.tile([-0.5, 0.5], 150)
    between = ((LABELS - 1.0) ** 2).sum()
    assert eta_squared(values, LABELS) == pytest.approx(between / ((values - values.mean()) ** 2).sum())
    assert eta_squared(LABELS * 1.0, LABELS) == pytest.approx(1)
    assert eta_squared(np.ones(300), LABELS) is None


def test_cramers_v() -> None:
    assert cramers_v(LABELS, LABELS) == pytest.approx(1)
    assert cramers_v(np.tile([0, 1], 150), LABELS) == pytest.approx(0, abs=1e-9)
    assert cramers_v(np.zeros(300, int), LABELS) is None


def test_the_statistic_behind_it_equals_scipy() -> None:
    rng = np.random.default_rng(5)
    coded = rng.integers(0, 4, 300)
    table = np.zeros((3, 4))
    np.add.at(table, (LABELS, coded), 1)
    plain = chi2_contingency(table, correction=False).statistic / 300
    corrected = max(0.0, plain - 3 * 2 / 299)
    smaller = min(3 - 4 / 299, 4 - 9 / 299) - 1
    assert cramers_v(coded, LABELS) == pytest.approx(np.sqrt(corrected / smaller))


def test_chance_alone_has_no_effect() -> None:
    rng = np.random.default_rng(0)
    found = [cramers_v(rng.integers(0, 10, 300), rng.integers(0, 20, 300)) for _ in range(50)]
    assert np.mean([value for value in found if value is not None]) < 0.05, (
        "without the correction it would be about 0.25"
    )


@pytest.mark.parametrize(("value", "word"), [(0.005, "negligible"), (0.05, "small"), (0.1, "medium"), (0.5, "large")])
def test_words(value: float, word: str) -> None:
    from ehr_pipeline.reports.bias_audit import Effect

    assert Effect("age", "η²", value).words == word
    assert effect("age", np.ones(300), LABELS, POINTS, diseases=ALL_ALIKE, seed=0).words == "undefined"


def test_the_same_effect_is_a_smaller_v_where_there_are_more_categories() -> None:
    """Cohen's w is V times the root of the degrees of freedom: 0.32 with five diseases is large, and was called medium."""
    from ehr_pipeline.reports.bias_audit import Effect

    words = {freedom: Effect("disease", "Cramér's V", 0.32, p=0.005, freedom=freedom).words for freedom in (1, 4)}
    assert words == {1: "medium", 4: "large"}
    coded = np.array(list("abcde"))[np.random.default_rng(1).integers(0, 5, 300)]
    found = effect("disease", coded, LABELS, POINTS, diseases=ALL_ALIKE, seed=0)
    assert found.freedom == 2, "three clusters, five categories"


def test_an_effect_has_an_interval_and_a_permutation_test() -> None:
    rng = np.random.default_rng(2)
    found = effect("age", LABELS * 3.0 + rng.normal(0, 2, 300), LABELS, POINTS, diseases=ALL_ALIKE, seed=0)
    interval = found.low or 0.0, found.value or 0.0, found.high or 0.0
    assert sorted({0.0, *interval, 1.0}) == [0.0, *interval, 1.0]
    assert found.p == pytest.approx(1 / 201)
    by_chance = effect("region", rng.choice(["a", "b"], 300), LABELS, POINTS, diseases=ALL_ALIKE, seed=0)
    assert by_chance.words == "by chance"
    assert str(meaning(by_chance)) == "No association with region was found."


def test_a_place_on_the_map_counts_however_the_map_is_turned() -> None:
    turned = POINTS @ np.array([[0.6, -0.8], [0.8, 0.6]])
    for numeric, values in ((True, POINTS[:, 0] * 2 + 1), (False, LABELS)):
        first, second = (on_the_map(values, points, numeric) for points in (POINTS, turned))
        assert first == pytest.approx(second)
    assert on_the_map(POINTS[:, 0] * 2 + 1, POINTS, True) == pytest.approx(1)
    assert on_the_map(np.zeros(300), POINTS, True) is None


def test_few_patients_in_many_clusters_are_not_warned_of() -> None:
    """Nineteen patients in six clusters: the share between clusters is large without any reason."""
    rng = np.random.default_rng(8)
    labels, concepts = np.arange(19) % 6, rng.normal(100, 30, 19)
    found = effect("concepts", concepts, labels, rng.normal(0, 1, (19, 2)), diseases=ALL_ALIKE[:19], seed=0)
    assert (found.value or 0.0) > 0.06
    assert found.words == "by chance"
    assert warnings([found]) == []


def test_habits_of_recording_are_warned_of() -> None:
    rng = np.random.default_rng(3)
    mirrored = effect("concepts", LABELS * 5.0 + rng.normal(0, 1, 300), LABELS, POINTS, diseases=ALL_ALIKE, seed=0)
    expected = effect("disease", np.array(["a", "b", "c"])[LABELS], LABELS, POINTS, diseases=ALL_ALIKE, seed=0)
    (warning,) = warnings([mirrored, expected])
    assert "number of concepts" in str(warning)


def test_every_strong_effect_is_warned_of_the_large_ones_first() -> None:
    """The box named the number of concepts alone, a medium effect, where age had a large one."""
    rng = np.random.default_rng(3)
    amount = effect("concepts", LABELS * 0.4 + rng.normal(0, 1, 300), LABELS, POINTS, diseases=ALL_ALIKE, seed=0)
    age = effect("age", LABELS * 5.0 + rng.normal(0, 1, 300), LABELS, POINTS, diseases=ALL_ALIKE, seed=0)
    none = effect("region", rng.integers(0, 3, 300).astype(str), LABELS, POINTS, diseases=ALL_ALIKE, seed=0)
    assert (amount.words, age.words) == ("medium", "large")
    first, second = map(str, warnings([amount, none, age]))
    assert "age at the last visit" in first
    assert "habits" not in first
    assert "recording habits" in second


def test_why_nothing_can_be_said() -> None:
    def told(values: list[str], labels: list[int]) -> str:
        found = effect(
            "sex", np.array(values), np.array(labels), POINTS[: len(values)], diseases=ALL_ALIKE[: len(values)], seed=0
        )
        return str(meaning(found))

    assert told([""] * 6, [0, 0, 0, 1, 1, 1]).endswith("no patient has a value.")
    assert told(["F"] * 6, [0, 0, 0, 1, 1, 1]).endswith("it does not vary in this cohort.")
    assert told(["F", "M", "F", "M"], [0, 1, 2, 3]).endswith("the clusters are too small for it.")


def test_what_comes_with_the_diseases_alone_is_not_left_within_one() -> None:
    rng = np.random.default_rng(3)
    diseases = np.repeat(["a", "b", "c"], 200)
    labels = 4 * np.repeat([0, 1, 2], 200) + rng.integers(0, 4, 600)  # each disease has four clusters of its own
    ages = np.repeat([10.0, 40.0, 70.0], 200) + rng.normal(0, 5, 600)
    sexes = np.where(rng.random(600) < np.repeat([0.05, 0.5, 0.95], 200), "F", "M")
    points = np.zeros((600, 2))
    for values in (ages, sexes):
        found = effect("age", values, labels, points, diseases=diseases, seed=0)
        assert (found.value or 0) > 0.5
        assert found.within == pytest.approx(0, abs=0.1)
        assert "comes from the diseases." in str(remaining(found))
        assert str(remaining(found)) in str(warnings([found])[0])


def test_an_effect_most_of_which_is_left_does_not_come_with_the_diseases() -> None:
    medium = Effect("age", "η²", 0.068, 0.06, 0.08, 0.001, within=0.046, within_low=0.04, within_high=0.05)
    assert medium.words == "medium"
    assert "effect: the diseases alone" in str(remaining(medium))
    assert "most of it comes from the diseases" in str(remaining(replace(medium, within=0.02)))


def test_what_divides_one_disease_is_left_within_it() -> None:
    rng = np.random.default_rng(4)
    diseases, labels = np.repeat(["a", "b"], 300), np.tile(np.repeat([0, 1], 150), 2)
    ages = labels * 40.0 + rng.normal(0, 5, 600)
    found = effect("age", ages, labels, np.zeros((600, 2)), diseases=diseases, seed=0)
    assert (found.within or 0) > 0.9
    assert 0.8 < (found.within_low or 0) <= (found.within or 0) <= (found.within_high or 0) <= 1
    assert f"{found.within:.2f}, 95 % interval {found.within_low:.2f}–{found.within_high:.2f}, still" in str(
        remaining(found)
    )
    assert "still large: the diseases alone" in str(remaining(found))
    assert effect("disease", diseases, labels, np.zeros((600, 2)), diseases=diseases, seed=0).within is None
    alone = effect("age", ages, labels, np.zeros((600, 2)), diseases=np.repeat("a", 600), seed=0)
    assert alone.within is None, "in a cohort of one disease, it is the effect itself"


def test_within_strata_is_the_pooled_textbook_formula() -> None:
    rng = np.random.default_rng(6)
    strata, labels = rng.integers(0, 3, 300), rng.integers(0, 4, 300)
    values = rng.normal(0, 1, 300) + strata + 0.5 * labels
    between = inside = 0.0
    for stratum in range(3):
        part = strata == stratum
        between += sum((values[part] - values[part].mean()) ** 2)
        inside += sum(
            ((values[part & (labels == label)] - values[part & (labels == label)].mean()) ** 2).sum()
            for label in range(4)
        )
    expected = 1 - (inside / (300 - 12)) / (between / (300 - 3))
    assert within_strata(values, labels, strata, numeric=True) == pytest.approx(expected)
    one = np.zeros(300, int)
    assert within_strata(labels % 2, labels, one, numeric=False) == pytest.approx(cramers_v(labels % 2, labels))
    assert within_strata(np.ones(300), labels, strata, numeric=True) is None
    assert within_strata(one, labels, strata, numeric=False) is None


def test_a_number_is_audited_as_a_number() -> None:
    """A body mass index that differs by cluster: as categories its effect looks medium, as the number that it is it is large."""
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(4), 500)
    points, alike = rng.normal(0, 1, (2000, 2)), np.full(2000, "one")
    values = np.round(25 + 2.5 * labels + rng.normal(0, 4.7, 2000), 1)
    texts = [f"{value}" for value in values]
    assert guess("bmi", texts) == "number"
    as_number = effect("bmi", numbers(texts), labels, points, diseases=alike, seed=0)
    as_categories = effect("bmi", np.array(texts), labels, points, diseases=alike, seed=0)
    assert (as_number.measure, as_number.words) == ("η²", "large")
    assert as_categories.words == "medium"


def test_patients_without_a_number_are_left_out() -> None:
    rng = np.random.default_rng(4)
    values = LABELS * 3.0 + rng.normal(0, 2, 300)
    some = rng.random(300) < 0.5
    found = effect("bmi", np.where(some, values, np.nan), LABELS, POINTS, diseases=ALL_ALIKE, seed=0)
    expected = effect("bmi", values[some], LABELS[some], POINTS[some], diseases=ALL_ALIKE[some], seed=0)
    assert found == expected
    few = np.where(np.arange(300) < 9, values, np.nan)
    assert str(meaning(effect("bmi", few, LABELS, POINTS, diseases=ALL_ALIKE, seed=0))) == (
        "The association with bmi could not be tested: too few patients have a value."
    )
