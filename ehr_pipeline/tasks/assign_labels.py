"""Label the index dates, and give a reason for each that gets no label.

Each check runs on all index dates at once. An index date that fails several checks gets the reason that
comes first in `REASONS`. c is the number of index dates; a patient may have several.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.tasks.data_end import NEVER
from ehr_pipeline.tasks.index_dates import NO_ENTRY, NO_VISIT, IndexDates, ages, entry_day, history
from ehr_pipeline.tasks.meds import DEATH
from ehr_pipeline.tasks.records import Days, Keys, Records, count, days, key, nth, patients
from ehr_pipeline.tasks.rule import Rule

Flags = NDArray[np.bool_]
REASONS = {
    NO_ENTRY: "not (yet) at risk on the index date",
    NO_VISIT: "no visit that could be the index date",
    "not_in_data_set": "not in the data set",
    "other_age_or_sex": "outside the age limits, of another sex, or not yet born",
    "not_observed": "not observed on the index date",
    "observed_too_short": "not observed for long enough",
    "few_visits_before": "too few visits in the history",
    "excluded_by_list": "excluded by the list of exclusions",
    "condition_not_met": "a condition of the task is not met",
    "window_after_data": "the window ends after the last day of the data",
    "outcome_before": "outcome before the index date",
    "outcome_on_index_day": "outcome on the index date itself",
    "outcome_in_gap": "outcome between index date and window",
    "died_before_window": "died before the window",
    "left_before_window": "left before the window",
    "left_in_window": "left within the window, without the outcome",
}
"""Why an index date has no label, in words, in the order of the checks."""
ENDS = ("outcome", "window", "died", "left", "file")
"""How follow-up ended: with the outcome, the end of the window, death, or leaving; 'file' if the label comes from a user's file."""
OUTCOME, WINDOW, DIED, LEFT_OBSERVATION, FILE = range(len(ENDS))


@dataclass(frozen=True)
class LabelAssignment:
    """The result for each index date (c,)."""

    index_dates: IndexDates
    reason: NDArray[np.int64]
    """Index in REASONS of the reason for a missing label; -1 if there is a label."""
    label: Flags
    end: NDArray[np.int64]
    followed_days: Days
    """Days from the first day of the window to the end of follow-up."""
    had_before: Flags
    """Whether the outcome was recorded in the history, at any time."""
    single: Flags
    """Whether the outcome happened, and is recorded on one day only in the whole record; False for other kinds of outcomes."""
    first: Days
    last: Days
    """First and last day of the history. If the whole history is used, the first day is at most -NEVER."""

    def dropped(self) -> dict[str, int]:
        """Return the number of missing labels by reason, including patients without an index date."""
        names = list(REASONS)
        counted = np.bincount(self.reason[self.reason >= 0], minlength=len(names)).tolist()
        return {
            name: number + self.index_dates.missing.get(name, 0) for name, number in zip(names, counted, strict=True)
        }


def outcome_days(records: Records, rule: Rule) -> Keys:
    """Return the days with the outcome."""
    keys = records.days_of(rule.outcome) if rule.outcome else np.zeros(0, np.int64)
    if rule.kind == "first":
        first: Keys = keys[np.diff(patients(keys), prepend=-1) != 0]
        return first
    if rule.kind == "stop":
        # A treatment counts as stopped `stop_days` days after a record, if there is no other record in between.
        following = np.append(keys[1:], np.int64(NEVER) << 40)
        since = np.where(patients(following) == patients(keys), days(following) - days(keys), NEVER)
        stopped = keys[since > rule.stop_days]
        return key(patients(stopped), days(stopped) + rule.stop_days)
    return keys


def assign(records: Records, rule: Rule, index_dates: IndexDates) -> LabelAssignment:
    """Give each index date a label, or the reason why it has none."""
    patient, index = index_dates.patient, index_dates.index
    first, last, visits = history(records, rule, patient, index)
    outcomes, every = outcome_days(records, rule), np.full(len(index), -NEVER, np.int64)
    opens, closes = index + rule.opens, index + rule.closes
    start, end, death = (days_[patient] for days_ in (records.start, records.end, records.death))
    until = np.minimum(closes, end)
    when = nth(outcomes, patient, opens, rule.outcome_days)
    label = when <= until
    died = (death <= closes) & (end == death)  # a patient who left before death may have had the outcome unseen
    finish = np.select([label, died, end >= closes], [OUTCOME, DIED, WINDOW], LEFT_OBSERVATION)
    reached = np.select([label, finish == DIED], [when, death], until)
    before = {
        "outcome_before": count(outcomes, patient, every, index + rule.last) > 0,
        "outcome_on_index_day": count(outcomes, patient, index + rule.last + 1, np.minimum(index, opens - 1)) > 0,
        "outcome_in_gap": count(outcomes, patient, index + 1, opens - 1) > 0,
    }
    age, known = ages(records, patient, index), index + rule.last
    flags = {
        NO_ENTRY: entry_day(records, rule)[patient] > (index if rule.index == "first_entry" else known),
        "other_age_or_sex": (age < rule.ages[0])
        | (age >= rule.ages[1] + 1)
        | ((records.sex[patient] != rule.sex) if rule.sex else np.zeros(len(index), bool)),
        "not_observed": (index < start) | (index > end),
        "observed_too_short": index - start < rule.min_observed,
        "few_visits_before": visits < rule.min_visits,
        "excluded_by_list": count(records.days_of(rule.exclude), patient, every, known) > 0
        if rule.exclude
        else np.zeros(len(index), bool),
        "condition_not_met": _unmet(records, rule, patient, index),
        # For all patients, whether or not they have the outcome: of later windows, only those with the outcome would be complete.
        "window_after_data": index + rule.closes > records.data_end[patient],
        **({name: flag for name, flag in before.items() if rule.incident}),
        "died_before_window": death < opens,
        "left_before_window": end < opens,
        "left_in_window": finish == LEFT_OBSERVATION,
    }
    if rule.index in ("trigger", "file"):
        del flags[NO_ENTRY]
    if index_dates.labels is not None:
        for name in ("window_after_data", "died_before_window", "left_before_window", "left_in_window", *before):
            flags.pop(name, None)
        label, finish, reached = index_dates.labels, np.full(len(index), FILE), opens - 1
    numbers, reason = list(REASONS), np.full(len(index), -1)
    for name in reversed(flags):
        reason = np.where(flags[name], numbers.index(name), reason)
    single = label & (np.bincount(patients(outcomes), minlength=len(records.ids)) == 1)[patient]
    if rule.kind != "recorded" or rule.outcome == {DEATH}:
        single[:] = False
    return LabelAssignment(
        index_dates, reason, label, finish, reached - opens, before["outcome_before"], single, first, last
    )


def _unmet(records: Records, rule: Rule, patient: NDArray[np.int64], index: Days) -> Flags:
    """Return flags (c,) of the index dates at which a condition of the task is not met."""
    unmet = np.zeros(len(index), bool)
    for condition in rule.conditions:
        number = count(records.days_of(condition.concepts), patient, index + condition.first, index + condition.last)
        unmet |= (number < condition.minimum) | (number > condition.maximum)
    return unmet
