"""Checks of task labels: every label has a history, index dates do not depend on the outcome, and there are enough cases."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.checks.model import UNEXPECTED, Result, check
from ehr_pipeline.disclosure.figures import Guard, count_text
from ehr_pipeline.disclosure.kinds import People, Plain, Share, below_for_events
from ehr_pipeline.patients.settings import TEST
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import align, schemas
from ehr_pipeline.tables.asset_names import PATIENT_DATASET
from ehr_pipeline.tasks import names
from ehr_pipeline.tasks.censoring import WARNING_SHARE, is_excessive, left_in_window
from ehr_pipeline.tasks.records import count, key
from ehr_pipeline.tasks.table import Definition, definitions, rows_of_task, shards

FEWEST_CASES = 50
"""A score is informative only with at least this many cases among test patients."""
FEWEST_TO_JUDGE = 50
"""A file of index dates is checked only if it gives at least this many cases and as many non-cases."""
MOST_ALIKE, MOST_APART = 0.2, 0.2
"""Two limits. The first: the largest share of cases that may have the outcome the same number of days after their index date. The
second: the largest difference between cases and others in the share whose index date is a visit."""


def _visits(artifact: Artifact, store: Store) -> Iterator[tuple[pa.Table, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield, for each shard, its labels, the keys of its patients' visits, and the patient of each label."""
    dataset = store.current(PATIENT_DATASET)
    for name, table in shards(artifact.path):
        path = dataset.file(f"patients/{name}")
        shard, ids = Shard.read(path), schemas.read(path, ["patient_id"]).column("patient_id")
        visits = key(np.repeat(np.arange(len(ids)), np.diff(shard.patient_start)), shard.visit_day)
        yield table, visits, align.every_row(table.column("patient_id").cast(pa.string()), ids)


def _day(table: pa.Table, name: str) -> NDArray[np.int64]:
    days: NDArray[np.int64] = table.column(name).cast(pa.int32()).fill_null(-(2**20)).to_numpy().astype(np.int64)
    return days


@check()
def history_before_label(artifact: Artifact, store: Store, study: Study) -> Result:
    """Every label has visits before its window, and history and window do not overlap."""
    without = overlapping = 0
    for table, visits, patient in _visits(artifact, store):
        last, known = _day(table, "history_until"), _day(table, "prediction_date")
        without += int((count(visits, patient, _day(table, "history_from"), last) == 0).sum())
        overlapping += int(((last > known) | (known >= _day(table, "window_from"))).sum())
    figures = {"without_history": People(without), "overlapping": People(overlapping)}
    if not without and not overlapping:
        return True, "every label has a history, which ends before its window", {**figures}
    below = study.reports.suppress_below
    message = (
        f"{count_text(without, below)} labels have no history; in {count_text(overlapping, below)}, the history reaches into the"
        f" window{UNEXPECTED}"
    )
    return False, message, {**figures}


@check(blocking=False)
def test_side_labelled(artifact: Artifact, store: Store, study: Study) -> Result:
    """Test patients have labels, as training patients do."""
    tasks = definitions(artifact.path)
    none = [each.name for each in tasks if not artifact.counts[each.slug]["by_side"][TEST]["labels"]]
    listed = ", ".join(names.for_messages(none, store, study.reports.suppress_below))
    message = f"no labels in the test set: {listed}" if none else "every task has labels in the test set"
    return not none, message, {"tasks": Plain(len(tasks)), "without": Plain(len(none))}


def enough_cases(artifact: Artifact, store: Store, study: Study) -> Result:
    """Each task has enough index dates with the outcome in the test set for its scores to be informative."""
    tasks = definitions(artifact.path)
    few = [each.name for each in tasks if artifact.counts[each.slug]["by_side"][TEST]["cases"] < FEWEST_CASES]
    if not few:
        return True, "every task has enough cases in the test set", {"few": Plain(0)}
    listed = ", ".join(names.for_messages(few, store, study.reports.suppress_below))
    return (
        False,
        f"fewer than {FEWEST_CASES} index dates with the outcome in the test set, so a score says little: {listed}",
        {"few": Plain(len(few))},
    )


@check(blocking=False)
def few_leave(artifact: Artifact, store: Store, study: Study) -> Result:
    """In no task do a tenth or more of the patients leave observation within the window, unless weights make up for them.

    Without weights, patients who leave are excluded unless they had the outcome before. Who is excluded then depends on the future.
    """
    below, leaving = study.reports.suppress_below, dict[str, str]()
    for definition in definitions(artifact.path):
        gone, of = left_in_window(artifact.counts[definition.slug])
        if is_excessive(gone, of) and not definition.rule.get("censor"):
            most = artifact.counts[definition.slug].get("most_per_patient", 1)
            leaving[definition.name] = Guard(below_for_events(below, most)).percent(Share(People(gone), People(of)))
    if not leaving:
        return (
            True,
            f"in every task, fewer than {WARNING_SHARE:.0%} of the patients leave within the window, or weights make up for them",
            {"many": Plain(0)},
        )
    listed = map(" ".join, zip(names.for_messages([*leaving], store, below), leaving.values(), strict=True))
    return (
        False,
        f"in {', '.join(listed)}, many patients leave during the window without the outcome and are excluded. This selects"
        ' patients by their future, so the share with the outcome is too high. Set follow_up = "censor" to weight the other'
        " patients",
        {"many": Plain(len(leaving))},
    )


@check(blocking=False)
def index_before_outcome(artifact: Artifact, store: Store, study: Study) -> Result:
    """The rule that sets the index date does not depend on the outcome."""
    problems = []
    for definition in definitions(artifact.path):
        by_entry = definition.index == "first_entry" and definition.incident and definition.rule["kind"] != "stop"
        if by_entry and {*definition.entry} & {*definition.outcome}:
            problems.append(f"{definition.name}: the entry and the outcome have a concept in common")
        if definition.index_may_know_outcome and (why := _knows(artifact, store, definition)):
            problems.append(f"{definition.name}: {why}")
    message = "; ".join(problems)
    if problems:
        message += ". A model that learns from such index dates learns how they were chosen"
    return not problems, message or "no index date depends on the outcome", {"tasks": Plain(len(problems))}


def _knows(artifact: Artifact, store: Store, definition: Definition) -> str:
    """Return why the index dates of a user's file seem to depend on the outcome; empty if they do not."""
    cases = others = at_visit = others_at_visit = 0
    after = Counter[int]()
    for table, visits, patient in _visits(artifact, store):
        here = table.column("task").to_numpy() == definition.number
        label, day = table.column("label").to_numpy(zero_copy_only=False)[here], _day(table, "index_date")[here]
        seen = count(visits, patient[here], day, day) > 0
        cases, others = cases + int(label.sum()), others + int((~label).sum())
        at_visit, others_at_visit = at_visit + int(seen[label].sum()), others_at_visit + int(seen[~label].sum())
        after.update(rows_of_task(table, definition).column("followed_days").to_numpy()[label].tolist())
    dropped = artifact.counts[definition.slug]["dropped"]
    onset = dropped["outcome_on_index_day"]
    if onset >= FEWEST_TO_JUDGE and onset > MOST_ALIKE * (cases + onset):
        return "for many patients, the index date is the day of the outcome"
    if cases < FEWEST_TO_JUDGE or others < FEWEST_TO_JUDGE:
        return ""
    if max(after.values(), default=0) > MOST_ALIKE * cases and definition.outcome and definition.rule["closes"] > 30:
        return "for many cases, the outcome comes the same number of days after the index date"
    if abs(at_visit / cases - others_at_visit / others) > MOST_APART:
        return "index dates are visits for cases and not for the other patients, or the other way round"
    return ""
