"""Guards on invented rows: what each finds, and what it leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit

from ehr_pipeline.predictions import compare, guards, metrics, result_tables
from ehr_pipeline.predictions.compare import Case, Fit
from ehr_pipeline.predictions.features import RecordedConcepts
from ehr_pipeline.predictions.models import BY_NAME
from ehr_pipeline.predictions.rows import FIT, People, Rows
from ehr_pipeline.predictions.settings import PredictionsSettings
from ehr_pipeline_tests.predictions.data import definition


def rows_of(label: np.ndarray) -> Rows:
    """Rows of the training set, each of another patient."""
    count, nothing = len(label), np.zeros(len(label), np.int64)
    days = dict.fromkeys(("index", "first", "last", "known", "opens", "query_day"), nothing)
    own = {"shard": nothing.astype(np.int32), "row": np.arange(count), "side": np.full(count, FIT, np.int8)}
    return Rows(
        **own, **days, patient=np.arange(count).astype(np.uint64), label=label, weight=np.ones(count), prevalence=0.0
    )


@pytest.mark.parametrize(
    ("cases", "others", "kind"),
    [(9, 0, None), (12, 0, "always"), (100, 2, "nearly always"), (70, 30, None), (0, 9, None)],
    ids=["fewer than may be shown", "few, but always", "nearly always", "a strong predictor", "never, of few"],
)
def test_a_leak_need_not_be_frequent_or_without_exception(cases: int, others: int, kind: str | None) -> None:
    """Of one visit each: a letter on the day before the outcome, for which fewer than 50 have it, or that a few others have too."""
    rows, held = leaking(cases, others)
    found = [told for _, told in guards.deciding(rows, sparse.csr_array(held), np.arange(2))]
    of = cases + others
    assert found == ([{"kind": kind, "patients": of, "rows": of, "cases": cases}] if kind else [])


def test_histories_of_one_patient_are_no_proof_of_each_other() -> None:
    """Four patients with ten histories each are four patients; twelve with ten each are twelve."""
    for patients, kinds in ((4, []), (12, ["always"])):
        rows, held = leaking(10 * patients, 0)
        own = rows.patient.copy()
        own[held[:, 1] > 0] = np.arange(10 * patients) % patients
        found = [told for _, told in guards.deciding(replace(rows, patient=own), sparse.csr_array(held), np.arange(2))]
        assert [told["kind"] for told in found] == kinds


def leaking(cases: int, others: int) -> tuple[Rows, np.ndarray]:
    """1,000 rows of the training set, 150 with the outcome; and two concepts, the second of which so many of both have."""
    label = np.arange(1_000) < 150
    held = np.zeros((1_000, 2))
    held[::3, 0] = 1
    held[:cases, 1] = held[1_000 - others :, 1] = 1
    return rows_of(label), held


def test_practices_that_do_not_record_the_outcome_are_found() -> None:
    """Half of ten practices; which are not named, nor small ones, nor an attribute of which nothing is known."""
    rng = np.random.default_rng(0)
    practice = np.arange(2_000) % 10
    label = (rng.random(2_000) < 0.2) & (practice < 5)
    some, few = practice.astype(str).tolist(), np.where(np.arange(2_000) < 9, "few", "many").tolist()
    found = guards.groups_without_cases("a", rows_of(label), {"practice": some, "few": few, "region": [""] * 2_000})
    assert found["passed"] is False
    assert found["message"].startswith("no case in 5 of 10 groups by practice, although")


def test_practices_of_few_patients_may_have_no_case() -> None:
    """By chance; and many visits of few patients are no more than few patients."""
    label = np.arange(400) % 10 == 0
    rare = np.where(np.arange(400) % 10 == 3, "P1", "P2").tolist()
    rows = rows_of(label)
    assert guards.groups_without_cases("a", rows, {"practice": rare})["passed"] is True
    patient = np.where(np.arange(400) % 10 == 3, np.arange(400) // 40, rows.patient).astype(np.uint64)
    assert guards.groups_without_cases("a", replace(rows, patient=patient), {"practice": rare})["passed"] is True


def test_years_in_which_a_code_was_not_in_use_are_found() -> None:
    """A code that came in 2014 predicts nothing about a patient, but the calendar year of the index date."""
    rng = np.random.default_rng(1)
    year = 2008 + np.arange(3_000) % 12
    index = (year - 1970) * 365 + 100
    chance = rng.random(3_000) < 0.3
    found = guards.groups_without_cases("a", replace(rows_of(chance & (year >= 2014)), index=index), {})
    assert found["passed"] is False
    assert found["message"].startswith("no case in 6 of 12 years of the index date, although")
    assert found["message"].endswith("its code may not have been in use in those years")
    assert guards.groups_without_cases("a", replace(rows_of(chance), index=index), {})["passed"] is True
    shifted = guards.groups_without_cases(
        "a", replace(rows_of(chance & (year >= 2014)), index=index), {}, of_years=False
    )
    assert shifted["passed"] is True


def test_years_of_a_rare_outcome_are_taken_together() -> None:
    """Of 60 patients of a year, one or two have it: a year without is chance, but not six one after the other."""
    rng = np.random.default_rng(3)
    year = 2008 + np.arange(720) % 12
    index, chance = (year - 1970) * 365 + 100, rng.random(720) < 0.04
    found = guards.groups_without_cases("a", replace(rows_of(chance & (year >= 2014)), index=index), {})
    assert found["message"].startswith("no case in 6 of 12 years")
    single = guards.groups_without_cases("a", replace(rows_of(chance & (year != 2014)), index=index), {})
    assert single["passed"] is True


def test_a_patient_with_several_index_years_is_counted_in_one_of_them() -> None:
    """Whatever the patient's other rows say: the rows of a patient are in different years."""
    patient = (np.arange(24_000) // 12).astype(np.uint64)
    index = (38 + np.arange(24_000) % 12) * 365 + 100
    label = np.arange(24_000) % 12 == 11  # every patient, in the last year only
    rows = replace(rows_of(label), index=index, patient=patient)
    found = guards.groups_without_cases("a", rows, {})
    assert found["passed"] is False, "11 of 12 patients are drawn in other years, and are no case there"
    assert found["message"].startswith("no case in 11 of 12 years")


@pytest.mark.parametrize(
    ("names", "verdict", "auroc"),
    [(("age_sex", "rule_of_thumb"), "not needed", 0.8), (("rule_of_thumb",), "", 0.6), ((), "", None)],
)
def test_either_rule_of_thumb_may_be_enough(names: tuple[str, ...], verdict: str, auroc: float | None) -> None:
    """Whichever is better on the validation set: there, boosting is, which overfits the few cases of the training set."""
    rng = np.random.default_rng(2)
    label = np.arange(600) < 200
    apart = {"age_sex": 1.19, "rule_of_thumb": 0.358, "vectors": 1.22}  # of the means: AUROCs of 0.80, 0.60, 0.81
    common = rng.normal(size=600)
    fits = [
        Fit(BY_NAME[name], None, 0, expit(apart[name] * label + common), None, 0.9 - apart[name] / 10, None)
        for name in (*names, "vectors")
    ]
    bootstrap = metrics.Bootstrap(np.arange(600).astype(np.uint64), np.ones(600), 300, 0)
    judged = compare.TestSet(label, np.ones(600), np.arange(600).astype(np.uint64), bootstrap)
    draws = {id(fit): bootstrap.aurocs(label, fit.probability) for fit in fits}
    row = result_tables._compared(judged, fits, (fits[-1], None), draws)
    assert row.get("verdict", "") == verdict
    assert row["rule_auroc"] == (auroc if auroc is None else pytest.approx(auroc, abs=0.03))
    assert row["model_auroc"] == pytest.approx(0.81, abs=0.03)


def test_all_labels_are_labels_and_not_patients() -> None:
    """They are an axis of the learning curves: a patient with four index dates has four labels."""
    rows = replace(rows_of(np.arange(40) % 4 == 0), patient=np.arange(40).astype(np.uint64) // 4)
    nothing = sparse.csr_array((40, 1))
    told = RecordedConcepts(nothing, nothing, nothing, np.zeros((40, 7)), np.zeros(40), np.zeros(40, np.int64))
    case = Case(rows, told, People(np.zeros(40), {}), np.zeros(1, np.int64), {}, PredictionsSettings(), 0)
    assert result_tables.too_few(definition(0, "Some", 10), case).verdicts[0]["fitted_rows"] == 40
