"""Build `raw_records`: turn the files of one extract into typed, hash-bucketed shards and a quarantine.

`patients/` and `events/` contain one sorted Arrow shard per bucket, so the order of rows and files does not change a byte.
`codes/codes.arrow` contains the distinct codes of all events. `quarantine/` lists file, line and reason of rejected rows, but not
their content (at most `quarantine.MAX_LISTED` per reason and file; the counts include all). Events of patients without a row in the
extract are rejected, and also set aside in `waiting/` (`events_without_patient`), since another extract may contain the patient.
"""

import datetime
import logging
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.records import codes, dates, events_without_patient, patients, sizing, values, withdrawals
from ehr_pipeline.records.extract_files import Listing, list_extract
from ehr_pipeline.records.finish_bucket import (
    DIFFERING,
    KNOWN,
    ORPHAN,
    OTHER_SEX,
    UNKNOWN_PATIENTS,
    FinishingJob,
    finish_bucket,
)
from ehr_pipeline.records.quarantine import Quarantine, with_key
from ehr_pipeline.records.read import Reading, shuffle_events, shuffle_patients
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.records.text import Extent
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.drop_reasons import in_words
from ehr_pipeline.work.buckets import Spread, map_buckets, release_all
from ehr_pipeline.work.progress import Progress

# Reasons to reject an event that can be read but does not fit its patient.
EVENT_REASONS = ("unknown_patient", "before_birth", "before_observation", "after_observation", "entered_in_bulk")

_log = logging.getLogger("ehr_pipeline")


def latest_date(extract: str, settings: RecordsSettings) -> datetime.date:
    """Return the last day that an event of the extract may have.

    Raises UserError if neither the setting nor the extract's name gives it, or if its year is out of range.
    """
    date = patients.latest_day(settings.latest_date, extract)
    if date is None:
        raise UserError(
            f"The extract {extract!r} is not named by a date, so it is unknown which of its dates are in the future."
            " Name its folder YYYY-MM-DD, or set records.latest_date."
        )
    if not dates.FIRST_YEAR <= date.year <= dates.LAST_YEAR:
        raise UserError(
            f"The extract {extract!r} would have its last event on {date}. Set records.latest_date to a day from"
            f" {dates.FIRST_YEAR} to {dates.LAST_YEAR}."
        )
    return date


def build(
    extract: Listing | Path,
    settings: RecordsSettings,
    out: Path,
    previous: Artifact | None = None,
    spread: Spread = map_buckets,
    *,
    key: Key | None = None,
) -> Counts:
    """Read one extract into `out` and return the counts of event and patient rows. Raises InputError for unusable files.

    If `extract` is a folder, its files are listed first. `previous` are records of the same extract with the same settings except
    the list of withdrawals; if possible, they are filtered, so the files need not be read again. Without the store's `key`, patient
    ids can be recovered from the hashes in the quarantine.
    """
    ids = withdrawals.read(settings.withdrawals)
    if previous is not None and withdrawals.can_reuse(previous, ids, key):
        withdrawals.link(previous.path, out)
        counts = previous.counts
    else:
        if previous is not None:
            _require_files(extract.folder if isinstance(extract, Listing) else extract, previous)
        listing = extract if isinstance(extract, Listing) else list_extract(extract, settings)
        buckets = settings.buckets or sizing.buckets_for(listing.files)
        counts = _read(listing, replace(settings, buckets=buckets), out, spread)
    if len(ids):
        counts = withdrawals.apply(out, ids, counts["buckets"], counts, key)
    if key is not None:
        with_key(out / "quarantine", key)
    return counts


def _require_files(folder: Path, previous: Artifact) -> None:
    """Log why the extract's files must be read again; raise InputError if they are gone."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: this extract must be read again, but its folder is missing: put it back. A patient was taken off the list"
            f" of withdrawals (records.withdrawals), or {previous.path} has hashes with the key of another store. In that case, run"
            " `ehr-pipeline key export FILE` where it was built, and `ehr-pipeline key import FILE` here."
        )
    _log.info(
        "extract %s is read again: the list of withdrawals (records.withdrawals) cannot be applied to the earlier result,"
        " because a patient was taken off the list or the store has another key",
        folder.name,
    )


def _read(listing: Listing, settings: RecordsSettings, out: Path, spread: Spread) -> Counts:
    folder, shuffled = listing.folder, out / ".shuffled"
    latest = latest_date(folder.name, settings)
    if listing.unread.names:
        _log.warning("extract %s: %s", folder.name, listing.unread)
        listing.unread.write(out)
    quarantine = Quarantine(out / "quarantine", listing.names)
    quarantine.reasons["linked"] = Counter()
    progress = Progress(f"reading extract {folder.name}", listing.bytes_to_read)
    reading = Reading(listing, settings, latest, quarantine, progress)
    patient_rows, event_rows = shuffle_patients(reading, shuffled / "patients"), shuffle_events(reading, shuffled)
    jobs = [FinishingJob(bucket, shuffled, out, settings) for bucket in range(settings.buckets)]
    try:
        results = spread(finish_bucket, jobs, settings.workers, f"sorting extract {folder.name}")
    finally:
        release_all()
    used = [path for job in jobs if (path := job.used).is_file()]
    codes.write_used(schemas.read(shuffled / "codes").column("code"), used, out)
    shutil.rmtree(shuffled)
    quarantine.close()
    _hint_at_quotes(reading)
    total: Counter[str] = sum((Counter(result) for result in results), Counter())
    dropped = quarantine.reasons["events"] + Counter({name: total[name] for name in EVENT_REASONS})
    values.write_unknown(
        {name.removeprefix(OTHER_SEX): total[name] for name in total if name.startswith(OTHER_SEX)}, out
    )
    lacking = listing.may_lack and (total[events_without_patient.WAITING] or (total["patients"] and not event_rows))
    if not total["events"] and not lacking:
        raise InputError(_no_usable_event(folder, settings, event_rows, dropped))
    return {
        "rows_in": event_rows,
        "kept": total["events"],
        "dropped": dict(sorted(dropped.items())),
        "patients": _patient_counts(reading, patient_rows, total),
        "linked": {
            "rows_in": patient_rows["linked_rows"],
            "kept": patient_rows["linked_kept"],
            "collapsed": patient_rows["linked_rows"]
            - patient_rows["linked_kept"]
            - quarantine.reasons["linked"].total(),
            "dropped": dict(sorted(quarantine.reasons["linked"].items())),
            **_estimated_rows(reading, "linked"),
        },
        "outside_observation": {name: total[f"kept_{name}"] for name in ("before_observation", "after_observation")},
        "entered_in_bulk": total["kept_entered_in_bulk"],
        **({"partial_dates": dict(sorted(reading.partial_dates.items()))} if reading.partial_dates else {}),
        **(
            {events_without_patient.WAITING: total[events_without_patient.WAITING]}
            if total[events_without_patient.WAITING]
            else {}
        ),
        **_estimated_rows(reading, "events"),
        "files": len(quarantine.files),
        **({"unended_files": len(reading.unended)} if reading.unended else {}),
        **({"unread": listing.unread.counts} if listing.unread.names else {}),
        "buckets": settings.buckets,
        "latest_date": latest.isoformat(),
        **({"undecodable_values": dict(sorted(reading.undecodable.items()))} if reading.undecodable else {}),
        **({"rejected_not_listed": quarantine.not_listed} if quarantine.not_listed else {}),
    }


def _hint_at_quotes(reading: Reading) -> None:
    """Warn of rejected rows, however few, if they are in quotes and the settings have no quoting character."""
    for what, extent in reading.extents.items():
        if extent.quoted:
            _log.warning(
                "extract %s: some rows of %s were rejected because their fields are in quotes: set `quote` of these files to '\"'"
                " (`ehr-pipeline check` shows the files)",
                reading.listing.folder.name,
                what,
            )


def _patient_counts(reading: Reading, rows: Counter[str], total: Counter[str]) -> Counts:
    """Return the counts of patients. `rows` counts rows of their files; `total` are the sums over all buckets."""
    dropped = reading.quarantine.reasons["patients"] + Counter({ORPHAN: total[ORPHAN]})
    return {
        "rows_in": rows["rows"],
        "kept": total["patients"],
        "collapsed": total["repeated_patients"],
        "dropped": dict(sorted(dropped.items())),
        "differing": {
            name.removeprefix(DIFFERING): total[name] for name in sorted(total) if name.startswith(DIFFERING)
        },
        "unusable_observation_dates": rows["unusable_observation_dates"],
        "unusable_birth_parts": rows["unusable_birth_parts"],
        "sex_not_understood": total["sex_not_understood"],
        **({UNKNOWN_PATIENTS: total[UNKNOWN_PATIENTS]} if total[UNKNOWN_PATIENTS] else {}),
        **_without_values(total, reading.settings),
        **_estimated_rows(reading, "patients"),
        **{name: rows[name] for name in ("with_table", "not_in_table") if rows[name]},
    }


def _estimated_rows(reading: Reading, what: str) -> dict[str, int]:
    """Estimate the number of rows in lines that could not be split; empty unless these lines are longer than rows."""
    number = reading.extents.get(what, Extent()).like_rows
    return {"like_rows": number} if number else {}


def _without_values(total: Counter[str], settings: RecordsSettings) -> dict[str, list[str]]:
    """Return the columns in the settings for which no patient has a value."""
    has_sex = settings.source != "delimited" or any(kind.columns.sex for kind in settings.patients)
    names = [*settings.attributes, *(["sex"] if has_sex else [])]
    empty = [name for name in names if not total[f"{KNOWN}{name}"]]
    return {"without_values": empty} if empty and total["patients"] else {}


def _no_usable_event(folder: Path, settings: RecordsSettings, rows: int, dropped: Counter[str]) -> str:
    """Return the message for an extract without a usable event."""
    where = ", ".join(kind.where for kind in settings.kinds.events)
    if not rows:
        return f"{folder}: the event files ({where}) have no row. Copy the extract again, or remove its folder."
    reasons = ", ".join(f"{count_text(number)} {in_words(reason)}" for reason, number in dropped.most_common(5))
    message = f"{folder}: none of the event rows can be used. Rejected: {reasons}."
    if settings.source != "delimited":  # its columns are fixed
        births = [
            f"A patient needs a row with a birth: {kind.births}" for kind in settings.kinds.patients if kind.births
        ]
        return " ".join(
            [message, f"Check that the files have the layout {settings.source!r} (records.source).", *births]
        )
    return (
        f"{message} Check the columns, date_formats and code_system of the files ({where}), and that event files and patient files"
        " use the same patient ids."
    )
