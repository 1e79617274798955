"""Guards against results that are too good to be true: leaks into the history, patients seen in training, labels that are too easy.

A guard returns a row of `result_schemas.GUARDS`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import binom, hypergeom

from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.patients import training_patients
from ehr_pipeline.predictions import learners, metrics, result_schemas
from ehr_pipeline.predictions.learners import Sample, Table
from ehr_pipeline.predictions.rows import FIT, JUDGE, Rows
from ehr_pipeline.predictions.table import NEARLY
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tasks.table import Definition

Floats = NDArray[np.float64]
MOST_OF_GAIN, CERTAIN_OF_GAIN = 0.95, 0.8
"""If a rule of thumb (`models.RULES_OF_THUMB`) reaches the first share of the model's gain (AUROC − 0.5), and the second one beyond
doubt, the model is not needed. With few cases, the first alone often happens by chance."""
DOUBT = 0.05
CHANCE = 0.01
"""Highest probability that chance lists any concept of a task, or any group."""
MOST_ERRORS = 4.0
"""How many standard errors the AUROC of permuted labels may differ from 0.5: one false alarm in 16,000 tasks."""
MOST_PERMUTED = 1_000
"""Most labels used for the fit on permuted labels."""


def row(guard: str, task: str, passed: bool | None, message: str) -> dict[str, Any]:
    """Return a row of the table of guards."""
    return {"guard": guard, "task": task, "passed": passed, "message": message}


def no_future(task: str, rows: Rows, latest: NDArray[np.int64]) -> dict[str, Any]:
    """Check that no history has a visit after its last day, and that this day is before the window. `latest` (n,) is the day of
    each history's last visit."""
    late = int((latest > rows.known).sum()) + int((rows.known >= rows.opens).sum())
    message = "some histories reach into the predicted window" if late else "every history ends before its window"
    return row(result_schemas.NO_FUTURE, task, not late, message)


def not_trained_on(checkpoint: Artifact, key: Key | None, patients: pl.Series) -> dict[str, Any]:
    """Check, by hashes, that the encoder was not trained on any of the `patients` in the test set; None if unknown."""
    if why := training_patients.cannot_be_checked(checkpoint.path, key):
        return row(result_schemas.UNSEEN, "", None, why)
    assert key is not None
    seen = training_patients.overlap(checkpoint.path, key, patients)
    message = (
        "the encoder was trained on patients of the test set"
        if seen
        else "the encoder has seen no patient of the test set"
    )
    return row(result_schemas.UNSEEN, "", not seen, message)


def index_rule(definition: Definition) -> dict[str, Any]:
    """Check that the rule for the index date does not depend on the outcome, as a user's file of index dates may."""
    if definition.index_may_know_outcome:
        message = "the index dates come from a file: if they were chosen by the outcome, the models learn this choice"
        return row(result_schemas.INDEX_RULE, definition.slug, False, message)
    return row(result_schemas.INDEX_RULE, definition.slug, True, "the index date is chosen without the outcome")


def rule_is_enough(rules: Sequence[tuple[float, Floats]], model: tuple[float, Floats]) -> bool:
    """Return whether any rule of thumb beats chance, and reaches enough of the model's gain.

    Each is an AUROC, and its values in the bootstrap draws of patients (B,). At most the share DOUBT of draws may contradict the
    answer, divided by the number of rules (Bonferroni)."""
    gain, gain_B = model[0] - 0.5, model[1] - 0.5
    for auroc, draws in rules:
        known = np.isfinite(draws) & np.isfinite(gain_B)
        own_B = draws[known] - 0.5
        doubtful = (np.quantile(each, DOUBT / len(rules)) for each in (own_B, own_B - CERTAIN_OF_GAIN * gain_B[known]))
        if auroc - 0.5 >= MOST_OF_GAIN * gain and all(low > 0 for low in doubtful):
            return True
    return False


def rule_of_thumb(task: str, is_enough: bool) -> dict[str, Any]:
    """Check that the model does better than the rule of thumb."""
    message = "this task does not need the model" if is_enough else "the rule of thumb is not shown to be enough"
    return row(result_schemas.RULE_OF_THUMB, task, not is_enough, message)


def deciding(rows: Rows, held: Any, concepts: NDArray[np.int64]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the concepts after which the outcome always, nearly always or never follows: token id, and the kind with counts.

    `held` (n, V) is sparse: visits with each concept. Searches the training set, among concepts that at least FEWEST patients
    have. *Always* and *never* are beyond chance at the share of all rows; *nearly always* is beyond NEARLY. Limits are
    binomial, of CHANCE divided by the two directions of all concepts (Bonferroni). Histories of one patient count as one, as if
    they all ended alike.
    """
    fit = rows.on(FIT)
    label, holds = rows.label[fit], held[fit][:, concepts] > 0
    _, patient = np.unique(rows.patient[fit], return_inverse=True)
    of_patients = sparse.csr_array((np.ones(len(fit)), (patient, np.arange(len(fit))))) @ holds
    holders, people, cases = (
        np.asarray(part.sum(axis=0)).ravel().astype(int) for part in (holds, of_patients > 0, holds[label])
    )
    share = float(label.mean()) if len(fit) else 0.0
    common = np.flatnonzero(people >= FEWEST)
    limit = CHANCE / (2 * max(len(common), 1))
    for number in common.tolist():
        of, with_outcome, those = int(holders[number]), int(cases[number]), int(people[number])
        kind = ""
        if with_outcome == of and binom.sf(those - 1, those, share) < limit:
            kind = "always"
        elif binom.sf(those * with_outcome // of - 1, those, max(NEARLY, share)) < limit:
            kind = "nearly always"
        elif with_outcome == 0 and binom.cdf(0, those, share) < limit:
            kind = "never"
        if kind:
            yield int(concepts[number]), {"kind": kind, "patients": those, "rows": of, "cases": with_outcome}


def groups_without_cases(
    task: str, rows: Rows, attributes: Mapping[str, Sequence[str]], *, of_years: bool = True
) -> dict[str, Any]:
    """Check that no group of an attribute (practice, region), and no year of the index date, lacks cases where chance would give
    some: the outcome may not be recorded there, or its code may not have been in use.

    `attributes`: a value for each row (n,); an empty value belongs to no group. `of_years`: whether years are examined. Patients of
    each group of at least FEWEST are compared with all patients of a known group by the hypergeometric distribution. The limit is
    half of CHANCE divided by all groups (Bonferroni); the other half is for years.
    """
    patients, place, counts = np.unique(rows.patient, return_inverse=True, return_counts=True)
    case = np.bincount(place, rows.label, len(patients)) > 0
    by_patient = np.argsort(place, kind="stable")
    drawn = by_patient[np.cumsum(counts) - counts + (patients % counts.astype(np.uint64)).astype(np.int64)]
    sizes = dict[str, list[tuple[int, float]]]()
    for name, values in attributes.items():
        of_patients = np.array(values, object)[drawn]
        known = of_patients != ""
        for value in sorted({*of_patients[known]}):
            group = of_patients == value
            if group.sum() >= FEWEST:
                by_chance = hypergeom.cdf(0, known.sum(), case[known].sum(), group.sum())
                sizes.setdefault(name, []).append((int(case[group].sum()), float(by_chance)))
    limit = CHANCE / 2 / max(sum(map(len, sizes.values())), 1)
    without = {name: sum(not cases and p < limit for cases, p in groups) for name, groups in sizes.items()}
    empty = [f"{number} of {len(sizes[name])} groups by {name}" for name, number in without.items() if number]
    years, examined = _years_without_cases(rows.take(drawn)) if of_years else (0, 0)
    empty += [f"{years} of {examined} years of the index date"] if years else []
    if not empty:
        return row(result_schemas.GROUPS, task, True, "every group has cases, or too few patients to judge")
    message = (
        f"no case in {' and in '.join(empty)}, although chance would give some: the outcome may not be recorded there"
    )
    if years:
        message += ", or its code may not have been in use in those years"
    return row(result_schemas.GROUPS, task, False, message)


def _years_without_cases(rows: Rows) -> tuple[int, int]:
    """Return how many years of the index date lack cases where chance would give some, and the number of all years. `rows`: one of
    each patient, drawn at random, since the rows of a patient differ in year.

    Years are taken together as long as one after the other has no case: a code is in use from one year on, or up to one. The limit
    is half of CHANCE divided by the number of such ranges of years that are possible (Bonferroni).
    """
    years, place = np.unique(rows.index.astype("datetime64[D]").astype("datetime64[Y]"), return_inverse=True)
    sizes, cases = np.bincount(place), np.bincount(place, rows.label)
    limit = CHANCE / (len(years) * (len(years) + 1) or 1)
    found = 0
    for begins, ends in zip(
        *np.flatnonzero(np.diff(cases == 0, prepend=False, append=False)).reshape(-1, 2).T, strict=True
    ):
        patients = sizes[begins:ends].sum()
        if patients >= FEWEST and hypergeom.cdf(0, len(rows), rows.label.sum(), patients) < limit:
            found += int(ends - begins)
    return found, len(years)


def permuted_labels(task: str, rows: Rows, table: Table, seed: int) -> dict[str, Any]:
    """Check that labels permuted among all rows cannot be predicted: fitted and evaluated on them, models reach an AUROC of 0.5, up
    to chance.

    The standard error is that of the rank sum (Mann & Whitney 1947). It treats rows of one patient as independent: labels are
    permuted row by row, which makes rows exchangeable.
    """
    rng = np.random.default_rng([seed, 0x9E])
    label = rng.permutation(rows.label)
    fit, test = rows.on(FIT), rows.on(JUDGE)
    if len(fit) > MOST_PERMUTED:
        fit = np.sort(rng.choice(fit, MOST_PERMUTED, replace=False))
    cases, others = int(label[test].sum()), int((~label[test]).sum())
    if not cases or not others or not 0 < label[fit].sum() < len(fit):
        return row(result_schemas.PERMUTED, task, None, "too few cases to permute")
    scores, _ = learners.logistic(table, Sample(fit, label[fit], np.ones(len(fit)), 0.5), seed)
    auroc = metrics.auroc(label[test], scores[test], np.ones(len(test)))
    error = np.sqrt((cases + others + 1) / (12 * cases * others))
    chance = MOST_ERRORS * error
    message = f"AUROC of permuted labels {auroc:.3f} (by chance, it may be {0.5 - chance:.3f} to {0.5 + chance:.3f})"
    return row(result_schemas.PERMUTED, task, bool(abs(auroc - 0.5) <= chance), message)
