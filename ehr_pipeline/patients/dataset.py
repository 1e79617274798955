"""Build `patient_dataset`: one row per patient, in Arrow, for mapping into memory.

Columns: see `schemas.patient_dataset`. A visit is a day with at least one concept of the vocabulary, or a window of days that
begins with such a day. Visits are sorted by date; the concepts of a visit are token ids, sorted, each listed once.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline import typed_settings
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.drawing import data_stages
from ehr_pipeline.errors import InputError
from ehr_pipeline.patients import derived_attributes, windows
from ehr_pipeline.patients.settings import PatientsSettings
from ehr_pipeline.records import events_without_patient
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.store.bucket_cache import FinishedBucket, Memory, content_hash, key_of, remember
from ehr_pipeline.store.bucket_cache import total as summed
from ehr_pipeline.tables import align, row_keys, schemas
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline.work.buckets import Spread, map_buckets, read_once

FOLLOW_UP_YEARS, LONGEST = "followed_for_", 120
"""Prefix of the counts of patients by whole years from first to last visit; LONGEST and more are counted together."""


@dataclass(frozen=True)
class DatasetJob:
    """The input for one bucket."""

    name: str
    events: Path
    digest: str
    """Hash of the bytes of the mapped events in `events`."""
    records: tuple[Path, ...]
    """Event shards of all extracts, to derive attributes from."""
    patients: tuple[Path, ...]
    """Patient shards of all extracts, the newest last: where extracts differ about a patient, the newest takes precedence."""
    vocabulary: Path
    settings: PatientsSettings
    out: Path
    memory: Memory


def build(
    records: list[Artifact],
    events: Artifact,
    vocabulary: Path,
    settings: PatientsSettings,
    out: Path,
    *,
    previous: Artifact | None = None,
    spread: Spread = map_buckets,
) -> Counts:
    """Write the data set into `out/patients`. Returns row counts. Raises InputError if no patient is left.

    `records` are the records of all extracts, the newest last, and the catalog if it holds events. Unchanged buckets are linked
    from the artifact `previous`.
    """
    with_patients = [record for record in records if (record.path / "patients").is_dir()]
    memory = Memory.of(previous)
    jobs = [
        DatasetJob(
            shard.name,
            shard,
            events.digest(f"events/{shard.name}"),
            tuple(record.file(f"events/{shard.name}") for record in records),
            tuple(record.file(f"patients/{shard.name}") for record in with_patients),
            vocabulary,
            settings,
            out,
            memory.about(shard.name),
        )
        for shard in events.files("events")
    ]
    finished = spread(build_bucket, jobs, settings.workers, "building patients")
    remember(out, finished)
    total = summed(finished)
    follow_up = [total.get(f"{FOLLOW_UP_YEARS}{years}", 0) for years in range(LONGEST + 1)]
    (out / data_stages.FOLLOW_UP).parent.mkdir(exist_ok=True)
    (out / data_stages.FOLLOW_UP).write_text(json.dumps(follow_up) + "\n", encoding="utf-8")
    if not total["patients"]:
        raise InputError(
            f"No patient is left: {count_text(total['patients_in'])} have events of the vocabulary,"
            f" {count_text(total['few_visits_patients'])}"
            f" of them fewer than {settings.min_visits} visits. Lower patients.min_visits, or check the vocabulary."
        )
    return {
        **_row_counts(total),
        "patients_without_events": total["patients_without_events"],
        "shards": len(jobs),
        "buckets_unchanged": sum(done.recalled for done in finished),
        "bytes": total["bytes"],
    }


def _row_counts(total: dict[str, int]) -> Counts:
    """Return the numbers of rows, visits and patients: all, kept, and dropped by reason."""
    return {
        "rows_in": total["rows_in"],
        "kept": total["kept"],
        "collapsed": total["collapsed"],
        "dropped": {
            "not_in_vocabulary": total["not_in_vocabulary"],
            "large_visits": total["large_visit_rows"],
            "few_visits": total["few_visits_rows"],
        },
        "visits": {
            "rows_in": total["visits_in"],
            "kept": total["visits"],
            "dropped": {"large": total["large_visits"], "few_visits": total["few_visits"]},
        },
        "patients": {
            "rows_in": total["patients_in"],
            "kept": total["patients"],
            "dropped": {
                "only_large_visits": total["only_large_visits_patients"],
                "few_visits": total["few_visits_patients"],
            },
        },
    }


@read_once()
def _tokens(folder: Path) -> tuple[pa.Array, NDArray[np.int32]]:
    vocabulary = Vocabulary.read(folder)
    return pa.array([c.concept for c in vocabulary.concepts], pa.string()), np.array(
        [c.token_id for c in vocabulary.concepts], np.int32
    )


def build_bucket(job: DatasetJob) -> FinishedBucket:
    """Write the patients of one bucket, and count what was kept, collapsed and dropped."""
    concepts, token_ids = _tokens(job.vocabulary)
    patient, day, concept, ids, names = row_keys.from_table(schemas.read(job.events), "concept")
    place = pc.index_in(names.cast(pa.string()), value_set=concepts).fill_null(-1).to_numpy()
    token_of = np.where(place >= 0, token_ids[place], -1) if len(token_ids) else np.full(len(names), -1)
    people = derived_attributes.fill(_newest_rows(job.patients), job.records, job.settings.derived)
    file = f"patients/{job.name}"
    parts = job.digest, content_hash(people), content_hash(pa.array(token_of)), typed_settings.identity(job.settings)
    key = key_of(*parts, FOLLOW_UP_YEARS)
    if recalled := job.memory.recall(job.name, key, job.out):
        return FinishedBucket(job.name, key, (file,), recalled, recalled=True)
    keys = row_keys.sort_within_visits(row_keys.translated(patient, day, concept, token_of))
    distinct = row_keys.distinct(keys)
    if job.settings.visit_window_days:
        distinct = row_keys.distinct(windows.merge_days(distinct, job.settings.visit_window_days))
    counts = {
        "rows_in": len(patient),
        "not_in_vocabulary": len(patient) - len(keys),
        "collapsed": len(keys) - len(distinct),
    }
    kept, fate = _drop(distinct, job)
    visit_start = row_keys.visit_starts(kept)
    first_visit = np.flatnonzero(row_keys.starts(row_keys.patients(kept[visit_start])))
    table = _nest(kept, visit_start, first_visit, ids, people)
    schemas.write(job.out / file, table)
    counts |= {
        **fate,
        **_count_follow_up(row_keys.days(kept[visit_start]), first_visit),
        "kept": len(kept),
        "patients": table.num_rows,
        "patients_without_events": people.num_rows - fate["patients_in"],
        "bytes": (job.out / file).stat().st_size,
    }
    return FinishedBucket(job.name, key, (file,), counts, recalled=False)


def _count_follow_up(day: NDArray[np.int32], first_visit: NDArray[np.int64]) -> dict[str, int]:
    """Count patients by whole years (of 365.25 days) from their first visit to their last.

    `day` is the day of each visit; each patient's visits begin at `first_visit`.
    """
    last = np.append(first_visit[1:], len(day)) - 1 if len(first_visit) else first_visit
    years = np.minimum((day[last] - day[first_visit]) / 365.25, LONGEST).astype(np.int64)
    counts = np.bincount(years, minlength=1)
    return {f"{FOLLOW_UP_YEARS}{year}": int(count) for year, count in enumerate(counts) if count}


def _newest_rows(shards: tuple[Path, ...]) -> pa.Table:
    """Return one row per patient of the bucket, from the newest extract with the patient, sorted by id."""
    if len(shards) == 1:
        return schemas.read(shards[0])
    return events_without_patient.newest(shards).to_arrow().cast(schemas.read(shards[0]).schema)


def _nest(
    keys: row_keys.Keys, visit_start: NDArray[np.int64], first_visit: NDArray[np.int64], ids: pa.Array, people: pa.Table
) -> pa.Table:
    """Convert sorted keys to one row per patient. The list offsets are computed directly, without grouping.

    Each visit begins at `visit_start` of the keys, and the visits of each patient at `first_visit`.
    """
    concepts = pa.ListArray.from_arrays(_offsets(visit_start, len(keys)), pa.array(row_keys.items(keys)))
    dates = pa.array(row_keys.days(keys[visit_start])).cast(pa.date32())
    visit = pa.StructArray.from_arrays([dates, concepts], fields=list(schemas.VISITS.value_type))
    visits = pa.ListArray.from_arrays(_offsets(first_visit, len(visit_start)), visit)
    owners = ids.take(pa.array(row_keys.patients(keys[visit_start[first_visit]]))).cast(pa.string())
    person = people.take(pa.array(align.every_row(owners, people.column("patient_id"))))
    return person.append_column(pa.field("visits", schemas.VISITS), visits.cast(schemas.VISITS))


def _offsets(starts: NDArray[np.int64], end: int) -> pa.Array:
    return pa.array(np.append(starts, end).astype(np.int32))


def _drop(keys: row_keys.Keys, job: DatasetJob) -> tuple[row_keys.Keys, dict[str, int]]:
    """Remove large visits, then patients with few visits. The given keys are overwritten."""
    visit_start = row_keys.visit_starts(keys)
    visit_size = np.diff(visit_start, append=len(keys))
    large = visit_size > job.settings.max_concepts_per_visit
    visit_patient = row_keys.patients(keys[visit_start])
    visits_left = np.bincount(visit_patient[~large], minlength=int(visit_patient.max(initial=-1)) + 1)
    few = (visits_left < job.settings.min_visits)[visit_patient] & ~large
    stays = ~large & ~few
    distinct = visit_patient[row_keys.starts(visit_patient)]
    fate = {
        "visits_in": len(visit_start),
        "visits": int(stays.sum()),
        "large_visits": int(large.sum()),
        "large_visit_rows": int(visit_size[large].sum()),
        "few_visits": int(few.sum()),
        "few_visits_rows": int(visit_size[few].sum()),
        "patients_in": len(distinct),
        "only_large_visits_patients": int((visits_left[distinct] == 0).sum()),
        "few_visits_patients": int(
            ((visits_left[distinct] > 0) & (visits_left[distinct] < job.settings.min_visits)).sum()
        ),
    }
    return row_keys.keep_visits(keys, visit_start, stays), fate
