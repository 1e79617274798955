"""Build `raw_records`: turn the files of one extract into typed, hash-bucketed shards and a quarantine.

The artifact holds `patients/` and `events/`, with one sorted Arrow shard per bucket, so that the order of rows and
files does not change a byte; `codes/codes.arrow`, the distinct codes of all events; and `quarantine/`, which lists
file, line and reason of rejected rows, but not their content (at most `quarantine.MOST_LISTED` per reason and file; the
counts cover all). Events whose patient has no row in the extract are rejected, and also set aside in `waiting/`
(`events_without_patient`), since another extract may contain that patient.
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
from ehr_pipeline.work.buckets import Spread, let_go_of_all, map_buckets
from ehr_pipeline.work.progress import Progress

# Reasons to reject an event that can be read but does not fit its patient.
UNFIT = ("unknown_patient", "before_birth", "before_observation", "after_observation", "entered_in_bulk")

_log = logging.getLogger("ehr_pipeline")


def latest_date(extract: str, settings: RecordsSettings) -> datetime.date:
    """Return the last day that an event of the extract may have.

    Raises UserError when neither the setting nor the extract's name gives it, or when its year is out of range.
    """
    date = patients.latest_day(settings.latest_date, extract)
    if date is None:
        raise UserError(
            f"The extract {extract!r} is not named by a date, so nobody knows which of its dates lie in the future."
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

    If `extract` is a folder, its files are listed first. `previous` holds the records of the same extract, read with
    the same settings apart from the list of withdrawals; if possible, these records are filtered, so that the files
    need not be read again. `key` is the key of the store; without it, patient ids can be recovered from the hashes in
    the quarantine.
    """
    withdrawn = withdrawals.read(settings.withdrawals)
    if previous is not None and withdrawals.can_follow(previous, withdrawn, key):
        withdrawals.link(previous.path, out)
        counts = previous.counts
    else:
        if previous is not None:
            _must_be_there(extract.folder if isinstance(extract, Listing) else extract, previous)
        listing = extract if isinstance(extract, Listing) else list_extract(extract, settings)
        buckets = settings.buckets or sizing.buckets_for(listing.files)
        counts = _read(listing, replace(settings, buckets=buckets), out, spread)
    if len(withdrawn):
        counts = withdrawals.apply(out, withdrawn, counts["buckets"], counts, key)
    if key is not None:
        with_key(out / "quarantine", key)
    return counts


def _must_be_there(folder: Path, previous: Artifact) -> None:
    """Log why the extract's files have to be read again; raise InputError if they are gone."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: this text is needed again, but it is not there. Either a patient was taken off the list of withdrawals"
            f" (records.withdrawals), or the hashes in {previous.path} were made with the key of another store: then run"
            " `ehr-pipeline key export FILE` where it was made, and `ehr-pipeline key import FILE` here."
        )
    _log.info(
        "extract %s is read again: the list of withdrawals (records.withdrawals) cannot be applied to the earlier result,"
        " because a patient was taken off the list or the store has another key",
        folder.name,
    )


def _read(listing: Listing, settings: RecordsSettings, out: Path, spread: Spread) -> Counts:
    folder = listing.folder
    latest = latest_date(folder.name, settings)
    shuffled = out / ".shuffled"
    if listing.unread.names:
        _log.warning("extract %s: %s", folder.name, listing.unread)
        listing.unread.write(out)
    quarantine = Quarantine(out / "quarantine", listing.names)
    quarantine.reasons["linked"] = Counter()
    progress = Progress(f"reading extract {folder.name}", listing.bytes_to_read)
    reading = Reading(listing, settings, latest, quarantine, progress)
    found = shuffle_patients(reading, shuffled / "patients")
    event_rows = shuffle_events(reading, shuffled)
    jobs = [FinishingJob(bucket, shuffled, out, settings) for bucket in range(settings.buckets)]
    try:
        results = spread(finish_bucket, jobs, settings.workers, f"sorting extract {folder.name}")
    finally:
        let_go_of_all()
    names = schemas.read(shuffled / "codes").column("code")
    codes.write_used(names, [path for job in jobs if (path := job.used).is_file()], out)
    shutil.rmtree(shuffled)
    quarantine.close()
    _hint_at_quotes(reading)
    total: Counter[str] = sum((Counter(result) for result in results), Counter())
    dropped = quarantine.reasons["events"] + Counter({name: total[name] for name in UNFIT})
    values.write({name.removeprefix(OTHER_SEX): total[name] for name in total if name.startswith(OTHER_SEX)}, out)
    lacking = listing.may_lack and (total[events_without_patient.WAITING] or (total["patients"] and not event_rows))
    if not total["events"] and not lacking:
        raise InputError(_nothing_usable(folder, settings, event_rows, dropped))
    return {
        "rows_in": event_rows,
        "kept": total["events"],
        "dropped": dict(sorted(dropped.items())),
        "patients": _of_patients(reading, found, total),
        "linked": {
            "rows_in": found["linked_rows"],
            "kept": found["linked_kept"],
            "collapsed": found["linked_rows"] - found["linked_kept"] - quarantine.reasons["linked"].total(),
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
    """Warn of rejected rows, however few, if they were rejected because the settings name no quoting character."""
    for what, extent in reading.extents.items():
        if extent.quoted:
            _log.warning(
                "extract %s: some rows of %s were rejected because their fields stand in quotes, which the settings do not say: set"
                " `quote` of these files to '\"' (`ehr-pipeline check` shows the files)",
                reading.listing.folder.name,
                what,
            )


def _of_patients(reading: Reading, found: Counter[str], total: Counter[str]) -> Counts:
    """Return the counts of patients, from those of the rows in their files (`found`) and the sums over all buckets (`total`)."""
    dropped = reading.quarantine.reasons["patients"] + Counter({ORPHAN: total[ORPHAN]})
    return {
        "rows_in": found["rows"],
        "kept": total["patients"],
        "collapsed": total["repeated_patients"],
        "dropped": dict(sorted(dropped.items())),
        "differing": {
            name.removeprefix(DIFFERING): total[name] for name in sorted(total) if name.startswith(DIFFERING)
        },
        "unusable_observation_dates": found["unusable_observation_dates"],
        "unusable_birth_parts": found["unusable_birth_parts"],
        "sex_not_understood": total["sex_not_understood"],
        **({UNKNOWN_PATIENTS: total[UNKNOWN_PATIENTS]} if total[UNKNOWN_PATIENTS] else {}),
        **_without_values(total, reading.settings),
        **_estimated_rows(reading, "patients"),
        **{name: found[name] for name in ("with_table", "not_in_table") if found[name]},
    }


def _estimated_rows(reading: Reading, what: str) -> dict[str, int]:
    """Estimate how many rows the lines that could not be split hold; empty unless these lines are longer than rows."""
    number = reading.extents.get(what, Extent()).like_rows
    return {"like_rows": number} if number else {}


def _without_values(total: Counter[str], settings: RecordsSettings) -> dict[str, list[str]]:
    """Return the columns named in the settings for which no patient has a value."""
    has_sex = settings.source != "delimited" or any(kind.columns.sex for kind in settings.patients)
    names = [*settings.attributes, *(["sex"] if has_sex else [])]
    empty = [name for name in names if not total[f"{KNOWN}{name}"]]
    return {"without_values": empty} if empty and total["patients"] else {}


def _nothing_usable(folder: Path, settings: RecordsSettings, rows: int, dropped: Counter[str]) -> str:
    """Return the message for an extract without a usable event."""
    where = ", ".join(kind.where for kind in settings.kinds.events)
    if not rows:
        return f"{folder}: the files of events ({where}) hold no row of an event. Copy the extract again, or take its folder out."
    reasons = ", ".join(f"{count_text(number)} {in_words(reason)}" for reason, number in dropped.most_common(5))
    told_of = f"{folder}: none of the event rows can be used. Rejected: {reasons}."
    if settings.source != "delimited":  # its columns are fixed
        births = [
            f"Where no row tells a birth, nobody is a patient: {kind.births}"
            for kind in settings.kinds.patients
            if kind.births
        ]
        return " ".join(
            [told_of, f"Check whether the files are of the layout {settings.source!r} (records.source).", *births]
        )
    return (
        f"{told_of} Check the columns, date_formats and code_system of the files ({where}), and whether the files of events and of"
        " patients have the same patient ids."
    )
