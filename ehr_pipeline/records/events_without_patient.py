"""Set aside events whose patient has no row in their extract, and join them to the patients of all extracts.

Each extract is read independently of the others, so neither their order nor reading an extract again changes a byte of it. Such
events are stored in `waiting/` of its records. The catalog is built from all extracts: it checks the events against the patient's
row in the newest extract with one. Those that are kept are stored in `events/` and `codes/` of the catalog, in the same form as in
an extract.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.errors import UserError
from ehr_pipeline.records import codes, patients
from ehr_pipeline.records.bulk_entry import entered_in_bulk
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import row_keys, schemas
from ehr_pipeline.work.buckets import Spread

WAITING = "waiting"
"""Folder of these events, and name of their count; the quarantine lists them too."""
UNKNOWN = "unknown_patient"
KEPT = "kept"
EventsAside = tuple[pa.Array, NDArray[np.int32], NDArray[np.int32]]
"""Patient id, day and number of the code (n,) of events."""


def set_aside(table: pa.Table, unknown: NDArray[np.bool_], settings: RecordsSettings) -> EventsAside:
    """Return the shuffled events (n,) whose patient is `unknown` (n,), without those entered in bulk if these are rejected."""
    events = table.filter(pa.array(unknown))
    if "entered" in events.column_names and settings.entered_in_bulk == "reject":
        patient = pc.dictionary_encode(events.column("patient").combine_chunks()).indices.to_numpy()
        day, entered = events.column("day").to_numpy(), events.column("entered").to_numpy()
        events = events.filter(pa.array(~entered_in_bulk(patient, day, entered, settings.bulk_entry)))
    return events.column("patient").combine_chunks(), events.column("day").to_numpy(), events.column("code").to_numpy()


def write(path: Path, parts: list[EventsAside], names: pa.Array, rank: NDArray[np.int32]) -> int:
    """Write events that were set aside as a sorted shard. Returns their number.

    `rank` maps the number of each code to its position in `names`.
    """
    patient = pa.concat_arrays([part[0].cast(pa.string()) for part in parts])
    ids = pc.unique(patient)
    ids = ids.take(pc.sort_indices(ids))
    if len(ids) >= 2**row_keys.PATIENT_BITS:
        raise UserError(
            f"A bucket has events of {len(ids):,} patients without a row, too many for one bucket. Raise records.buckets."
        )
    day, code = (np.concatenate([part[place] for part in parts]) for place in (1, 2))
    keys = row_keys.translated(pc.index_in(patient, value_set=ids).to_numpy(), day, code, rank)
    keys.sort()
    schemas.write(path, row_keys.to_table(keys, ids, names, "code"))
    return len(keys)


@dataclass(frozen=True)
class JoinJob:
    """The arguments for joining one bucket."""

    name: str
    waiting: tuple[tuple[str, Path], ...]
    """Shards of events that were set aside, each with the name of its extract."""
    patients: tuple[Path, ...]
    """Patient shards of all extracts, the newest last."""
    reject_outside: bool
    """Whether events outside their patient's observation are rejected."""
    out: Path


def join(records: dict[str, Artifact], settings: RecordsSettings, out: Path, spread: Spread) -> dict[str, Counter[str]]:
    """Join the events that were set aside in `records` (by extract) to the patients of all extracts.

    If there are several extracts, and some with such events, `events/` and `codes/` are written into `out`. Returns, per extract,
    the numbers of events kept, and dropped by reason. The key '' has the number kept in total: an event in several extracts is
    counted once.
    """
    waiting = {
        name: {path.name: path for path in totals.files(WAITING)} if (totals.path / WAITING).is_dir() else {}
        for name, totals in records.items()
    }
    if len(records) < 2 or not any(waiting.values()):
        return {}
    refuse_other_buckets(list(records.values()))
    jobs = [
        JoinJob(
            shard.name,
            tuple((extract, there[shard.name]) for extract, there in sorted(waiting.items()) if shard.name in there),
            tuple(records[extract].file(f"patients/{shard.name}") for extract in sorted(records)),
            settings.outside_observation == "reject",
            out,
        )
        for shard in next(iter(records.values())).files("events")
    ]
    totals: dict[str, Counter[str]] = {}
    for counts in spread(join_bucket, jobs, settings.workers, "joining events to patients of other extracts"):
        for extract, number in counts.items():
            totals.setdefault(extract, Counter()).update(number)
    codes.rewrite(out)
    return totals


def join_bucket(job: JoinJob) -> dict[str, dict[str, int]]:
    """Write the events of one bucket whose patients are known. Returns the counts by extract; '' means all."""
    shards = [(extract, *row_keys.from_table(schemas.read(path), "code")) for extract, path in job.waiting]
    ids = pa.concat_arrays([pa.array([], pa.string()), *(shard[4].cast(pa.string()) for shard in shards)])
    people = newest(job.patients if shards else job.patients[:1])
    people = people.filter(pl.col("patient_id").is_in(pl.Series(ids.unique()).implode()))
    names = pa.concat_arrays([pa.array([], pa.string()), *(shard[5].cast(pa.string()) for shard in shards)]).unique()
    names = names.take(pc.sort_indices(names))
    known = people["patient_id"].to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
    counts: dict[str, dict[str, int]] = {}
    kept = []
    for extract, patient, day, code, own_ids, own_names in shards:
        place = pc.index_in(own_ids.cast(pa.string()), value_set=known).fill_null(-1).to_numpy()[patient]
        outcome = _outcomes(people, place, day, job.reject_outside)
        is_kept = outcome == KEPT
        counts[extract] = dict(zip(*(part.tolist() for part in np.unique(outcome, return_counts=True)), strict=True))
        own_codes = pc.index_in(own_names.cast(pa.string()), value_set=names).to_numpy()
        kept.append(row_keys.pack(place[is_kept], day[is_kept], own_codes[code[is_kept]]))
    keys = row_keys.union(kept) if kept else np.empty(0, np.uint64)
    schemas.write(job.out / "events" / job.name, row_keys.to_table(keys, known, names, "code"))
    return counts | {"": {KEPT: len(keys)}}


def _outcomes(
    people: pl.DataFrame, place: NDArray[np.integer], day: NDArray[np.integer], reject_outside: bool
) -> NDArray[np.str_]:
    """Return, for each event (n,), `KEPT` or the reason to drop it. `place` (n,) is the row of its patient in `people`, or -1."""
    first = patients.earliest_day(people["birth_date"], people["birth_precision"])
    known = place >= 0
    alive = known.copy()
    alive[known] = day[known] >= first[place[known]]
    tests = {UNKNOWN: ~known, "before_birth": ~alive}
    if reject_outside:
        tests["before_observation"], tests["after_observation"] = patients.outside(people, place, day, alive)
    return np.select(list(tests.values()), list(tests), KEPT)


def newest(shards: Sequence[Path]) -> pl.DataFrame:
    """Return one row per patient of a bucket, sorted by id, from the newest extract with one. `shards` are ordered from old to
    new."""
    rows = pl.DataFrame(pa.concat_tables([schemas.read(path) for path in reversed(shards)]))
    return rows.unique("patient_id", keep="first", maintain_order=True).sort("patient_id")


def with_joined(records: list[Artifact], catalog: Artifact) -> list[Artifact]:
    """Return the artifacts with events and codes: all records, and the catalog if it contains events that were set aside."""
    return [*records, catalog] if (catalog.path / "events").is_dir() else records


def refuse_other_buckets(records: Sequence[Artifact]) -> None:
    """Raise UserError if extracts have different numbers of buckets: a patient would be in different buckets."""
    buckets = {len(artifact.files("events")) for artifact in records}
    if len(buckets) > 1:
        raise UserError(
            f"The extracts were read into different numbers of buckets ({sorted(buckets)}), since records.buckets was changed in"
            " between. Rebuild raw_records for all extracts."
        )


def by_extract(totals: dict[str, Counter[str]]) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the counts of each extract, in the form that `join` returns."""
    return ((extract, dict(sorted(counts.items()))) for extract, counts in sorted(totals.items()) if extract)
