"""Checks for rows lost in reading extracts: rejected rows, events whose patient has no row in any extract, unreadable values."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ehr_pipeline.checks.model import Result, check
from ehr_pipeline.disclosure.figures import FEWEST, HIDDEN, Guard, count_text
from ehr_pipeline.disclosure.kinds import Events, Figure, People, Plain, Share
from ehr_pipeline.records import values
from ehr_pipeline.records.catalog import SET_ASIDE as FATE
from ehr_pipeline.records.events_without_patient import KEPT, UNKNOWN, WAITING
from ehr_pipeline.records.finish_bucket import ORPHAN, UNKNOWN_PATIENTS
from ehr_pipeline.records.settings import Limits
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import json_files
from ehr_pipeline.tables.asset_names import RAW_RECORDS
from ehr_pipeline.tables.drop_reasons import in_words, lost_rows, remedy

MOST_NAMED = 10
"""Maximum number of values that a message lists."""


@dataclass(frozen=True)
class Loss:
    """Rejected rows of one kind of file, or of one extract."""

    kind: str
    """'events', 'patients' or 'linked'; or the name of an extract."""
    rows: int
    """Number of rows read; lines without a row are not counted."""
    rejected: dict[str, int]
    """Number of rejected rows, by reason."""
    like_rows: int = 0
    """Estimated number of rows lost in lines that hold no row: 0, unless such lines are very long (lost line breaks, NUL bytes)."""

    @property
    def total(self) -> int:
        """The number of rejected rows."""
        return sum(self.rejected.values())

    def without(self, reason: str) -> "Loss":
        """Return this loss without the rows that were rejected for this reason, as if they had not been read."""
        others = {name: number for name, number in self.rejected.items() if name != reason}
        return replace(self, rows=self.rows - self.rejected.get(reason, 0), rejected=others)

    @property
    def lost(self) -> int:
        """The number of lost rows: the number of rejected rows, or `like_rows` if that is larger."""
        return max(self.total, self.like_rows)

    @property
    def share(self) -> float:
        """The share of rows that were lost, from 0 to 1."""
        return self.lost / (self.rows - self.total + self.lost) if self.rows else 0.0

    @property
    def figure(self) -> Share:
        """The same share, in a form that can be rounded or suppressed for display."""
        return Share(Events(self.lost), Events(self.rows - self.total + self.lost))


def losses(artifact: Artifact, study: Study) -> Iterator[Loss]:
    """Yield the rows rejected from an extract, by kind of file.

    The patients of its events may have their rows in another extract. So if there are other extracts, events without a patient are
    left out here and judged for all extracts together (`patients_known`).
    """
    for kind in ("events", "patients", "linked"):
        counts = artifact.counts if kind == "events" else artifact.counts.get(kind, {})
        dropped = counts.get("dropped", {})
        rejected = lost_rows(dropped)
        no_rows = sum(dropped.values()) - sum(rejected.values())
        if kind == "events" and counts.get(WAITING) and _is_one_of_several(study):
            rejected = Counter(rejected) - Counter({UNKNOWN: counts[WAITING]})
        yield Loss(kind, counts.get("rows_in", 0) - no_rows, dict(rejected), counts.get("like_rows", 0))


def _is_one_of_several(study: Study) -> bool:
    return study.records.mode == "increment" and len(Store(study.study.store).partitions(RAW_RECORDS)) > 1


def _of_unknown(artifact: Artifact, study: Study) -> str:
    """Return a sentence on how many patients have events but no patient row; empty if the count must not be shown."""
    counts, below = artifact.counts["patients"], study.reports.suppress_below
    number, kept = (count_text(counts.get(name, 0), below) for name in (UNKNOWN_PATIENTS, "kept"))
    if counts.get(UNKNOWN_PATIENTS, 0) < below:
        return ""
    births = "".join(
        f" Patients without a birth are left out: {kind.births}" for kind in study.records.kinds.patients if kind.births
    )
    return f" {number} patients have events but no usable patient row; {kept} patients have one.{births}"


def below_the_limit(artifact: Artifact, study: Study) -> bool:
    """Return whether each kind of file lost less than records.limits.rejected_error. Losses of fewer than FEWEST rows always pass.

    Rows that fit no patient are left out: a table of deaths, or of observation periods, may cover more people than the extract.
    """
    limit = study.records.limits.rejected_error
    judged = (loss.without(ORPHAN) for loss in losses(artifact, study))
    return not any(loss.lost >= FEWEST and loss.share >= limit for loss in judged)


@check(only_warns=below_the_limit)
def rejected_rows(artifact: Artifact, store: Store, study: Study) -> Result:
    """Few rows of events and of patients are rejected (records.limits)."""
    limits, below = study.records.limits, study.reports.suppress_below
    lost = list(losses(artifact, study))
    many = [loss for loss in lost if loss.total and loss.share >= limits.rejected_warning]
    figures: dict[str, Figure] = {f"rejected_{loss.kind}": loss.figure for loss in lost}
    if not many:
        return True, f"fewer than {limits.rejected_warning:.1%} of the rows were rejected", figures
    message = "; ".join(_text(loss, below) for loss in many)
    judged = [loss.without(ORPHAN) for loss in many]
    unknown = any(UNKNOWN in loss.rejected for loss in many)
    message += (
        f".{_of_unknown(artifact, study) if unknown else ''} {_limits(limits, judged != many)}. The quarantine of the extract"
        " lists the file, line and reason of each rejected row"
    )
    return False, message, figures


def _limits(limits: Limits, orphans: bool) -> str:
    """Return the limits in words. `orphans`: whether some rows fit no patient, for which no run stops."""
    text = f"records.limits warns at {limits.rejected_warning:.1%} and stops at {limits.rejected_error:.1%}"
    return f"{text}; rows {in_words(ORPHAN)} do not count towards the second limit" if orphans else text


def _unused(catalog: Artifact, store: Store) -> dict[str, Loss]:
    """Return, for each extract, how many of all its rows are events set aside for lack of a patient row and rejected later."""
    if not catalog.counts.get("taken_up"):
        return {}
    fate: dict[str, dict[str, int]] = json_files.read(catalog.file(FATE))
    return {
        extract: Loss(
            extract,
            store.current(RAW_RECORDS, extract).counts["rows_in"],
            {reason: number for reason, number in kinds.items() if reason != KEPT},
        )
        for extract, kinds in fate.items()
    }


def unknown_below_the_limit(artifact: Artifact, study: Study) -> bool:
    """Return whether each extract lost a smaller share of events for lack of a patient row than records.limits.rejected_error."""
    limit = study.records.limits.rejected_error
    return not any(loss.total and loss.share >= limit for loss in _unused(artifact, Store(study.study.store)).values())


@check(only_warns=unknown_below_the_limit)
def patients_known(artifact: Artifact, store: Store, study: Study) -> Result:
    """In each extract, few events are of patients who have no row in any extract (records.limits)."""
    limits, below = study.records.limits, study.reports.suppress_below
    unused = _unused(artifact, store)
    many = {name: loss for name, loss in unused.items() if loss.total and loss.share >= limits.rejected_warning}
    if not many:
        return (
            True,
            f"in each extract, fewer than {limits.rejected_warning:.1%} of the events belong to patients without a patient row",
            {},
        )
    worst = max(many, key=lambda name: many[name].share)
    told_of = (
        f"{len(many)} extracts, most of all {_text(many[worst], below)}" if len(many) > 1 else _text(many[worst], below)
    )
    return (
        False,
        f"{told_of}. No extract contains the patient rows of these events. records.limits warns at {limits.rejected_warning:.1%}"
        f" and stops at {limits.rejected_error:.1%}. Add the patient rows of these events to this extract or to another one",
        {},
    )


def percent(share: Share, below: int) -> str:
    """Return a share as text in parentheses, after a space; empty if it must not be shown."""
    shown = Guard(below).percent(share)
    return "" if shown == HIDDEN else f" ({shown})"


def _text(loss: Loss, below: int) -> str:
    """Return a message: how much of one kind of file was lost, the main reason, and what to do."""
    name = {"linked": "joined tables"}.get(loss.kind, loss.kind)
    largest = max(loss.rejected, key=lambda reason: loss.rejected[reason])
    share = f" of {count_text(loss.rows, below)} rows{percent(loss.figure, below)}" if loss.total >= below else " rows"
    long = (
        f"; the rejected lines are as long as {count_text(loss.like_rows, below)} rows"
        if loss.lost > loss.total
        else ""
    )
    rejected = f"{name}: {count_text(loss.total, below)}{share} were rejected{long}"
    return f"{rejected}; most frequent reason: rows {in_words(largest)} ({remedy(largest)})"


@check(blocking=False)
def files_ended(artifact: Artifact, store: Store, study: Study) -> Result:
    """Every text file ends with a line break, so none seems to be cut off."""
    number = artifact.counts.get("unended_files", 0)
    if not number:
        return True, "every text file ends with a line break", {}
    return (
        False,
        f"{number:,} of {artifact.counts['files']:,} files end in the middle of a line, as a truncated copy does. Compare their"
        " sizes or numbers of rows with the originals",
        {"unended_files": Plain(number)},
    )


@check(blocking=False)
def tables_joined(artifact: Artifact, store: Store, study: Study) -> Result:
    """Most patients have their row in the joined tables (records.limits)."""
    counts = artifact.counts["patients"]
    of, number = counts.get("with_table", 0), counts.get("not_in_table", 0)
    share, below = number / max(of, 1), study.reports.suppress_below
    if not number or share < study.records.limits.rejected_warning:
        return True, "patients have a row in each joined table", {}
    figure = Share(People(number), People(of))
    shown = f" of {count_text(of, below)} rows{percent(figure, below)}" if number >= below else " rows"
    return (
        False,
        f"{count_text(number, below)}{shown} of patients have no match in a joined table, so its values are unknown for them."
        " Check that `key` and `patient_key` use the same ids, and that the table is complete",
        {"not_in_table": figure},
    )


@check(blocking=False)
def columns_filled(artifact: Artifact, store: Store, study: Study) -> Result:
    """Each column of the patient files has a value for at least one patient."""
    granted = study.records.implied_columns
    empty = [name for name in artifact.counts["patients"].get("without_values", []) if name not in granted]
    if not empty or artifact.counts["patients"]["kept"] < FEWEST:
        return True, "each column of the patient files has values", {}
    of_meds = "sex" in empty and study.records.source == "meds"
    see = (
        "the codes for sex begin with one of records.meds.sex_prefixes"
        if of_meds
        else "the settings give the right column names"
    )
    return (
        False,
        f"no patient has a value for {', '.join(empty)}. Check that {see}, and that these values were exported",
        {},
    )


def _not_understood(artifact: Artifact) -> dict[str, tuple[int, int]]:
    """Return, for columns with a fixed set of values or a format, the number of values not understood and of all values."""
    counts = artifact.counts["patients"]
    return {
        "sex": (counts.get("sex_not_understood", 0), counts["kept"]),
        "dates of observation": (counts.get("unusable_observation_dates", 0), counts["rows_in"]),
    }


def few_not_understood(artifact: Artifact, study: Study) -> bool:
    """Return whether shares of values not understood are below records.limits.not_understood_error; fewer than FEWEST pass."""
    limit = study.records.limits.not_understood_error
    return not any(number >= FEWEST and number >= limit * of for number, of in _not_understood(artifact).values())


def first_values(named: Sequence[str]) -> str:
    """Return the first MOST_NAMED values, and how many more there are, as a list in a message."""
    more = f" and {len(named) - MOST_NAMED:,} more" if len(named) > MOST_NAMED else ""
    return ", ".join(map(repr, named[:MOST_NAMED])) + more


@check(only_warns=few_not_understood)
def values_understood(artifact: Artifact, store: Store, study: Study) -> Result:
    """The values of sex and the dates of observation are understood (records.limits)."""
    below, limit = study.reports.suppress_below, study.records.limits.not_understood_error
    found = {name: part for name, part in _not_understood(artifact).items() if part[0]}
    if not found:
        return True, "every sex and every observation date is understood or empty", {}
    parts = []
    for name, (number, of) in found.items():
        share = percent(Share(People(number), People(of)), below)
        parts.append(
            f"{name}: {count_text(number, below)}{share} values are not understood, and are treated as unknown"
        )
    if "sex" in found:
        counted = values.read_unknown(artifact.path)
        often = [value for value, number in counted.items() if number >= below]
        named = f" ({first_values(often)})" if often else ""
        where, of_files = study.records.sex_values
        parts[0] += f"{named}; {values.proposal(where, counted, often[:MOST_NAMED])}{of_files}"
    if "dates of observation" in found:
        parts[-1] += "; set `date_formats`, or add these values to `records.no_value`"
    figures: dict[str, Figure] = {
        f"not_understood_{name.replace(' ', '_')}": Share(People(number), People(of))
        for name, (number, of) in found.items()
    }
    return False, f"{'. '.join(parts)}. At {limit:.1%} or more, the run stops here (records.limits)", figures
