"""Build `mapped_events`: the records of all extracts, mapped to concepts, one shard per bucket, sorted by patient, date, concept.

For each bucket, the artifact contains three shards (Arrow): the events in `events/`, and in `concepts/` and `codes/` the number of
events and patients of each concept and each code. It also contains `mapping.csv` (every code with its concept, step, events and
patients), `unmapped.csv` (the lost codes, most frequent first) and `coverage.json`.

If several extracts contain the same event (patient, date, code), as many copies are kept as in the extract with the most. So an
extract that was delivered twice, or that overlaps with another, adds no duplicates.

An event whose code has several concepts (the ingredients of a drug) becomes one event for each; the further ones count as `added`.
In `mapping.csv`, such a code has a row for each concept, with the events and patients of the code.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.errors import InputError
from ehr_pipeline.events import codes, counts, coverage
from ehr_pipeline.events.mapping import map_by_files
from ehr_pipeline.events.settings import EventsSettings
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.records.codes import distinct
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.store.bucket_cache import FinishedBucket, Memory, key_of, remember, total
from ehr_pipeline.store.watched_inputs import Watched
from ehr_pipeline.tables import row_keys, schemas
from ehr_pipeline.tables.hashing import hash_of
from ehr_pipeline.terminology import omop, rrf
from ehr_pipeline.work.buckets import Spread, map_buckets, read_once

FILE = "file "
"""Prefix of the names of the artifact's inputs that are terminology files."""


@dataclass(frozen=True)
class MappingJob:
    """The input for one bucket: its shards in all extracts, the hashes of their bytes, and the mapping."""

    name: str
    shards: tuple[Path, ...]
    digests: tuple[str, ...]
    mapping: Path
    out: Path
    memory: Memory

    @property
    def counts_file(self) -> Path:
        """Scratch file (3, n): position in the mapping, events and patients of each code that occurs."""
        return self.out / f".counted_{self.name}.npy"


def inputs(settings: EventsSettings) -> list[Path]:
    """Return the large files that the stage reads besides the records."""
    tables = [*settings.dictionaries.values(), *settings.migrations.values()]
    releases = (
        *settings.descriptions,
        *settings.associations,
        *settings.relationships,
        *(one.file for one in settings.names),
    )
    vocabulary = omop.files(Path(settings.omop_vocabulary)).values() if settings.omop_vocabulary else ()
    given = (settings.mrconso, settings.mrsab, *(table.file for table in tables), *releases, *vocabulary)
    return [Path(path) for path in given if path]


def states(files: Watched) -> dict[str, str]:
    """Return the states of the terminology files, as inputs of the artifact."""
    return {f"{FILE}{number}": state for number, state in enumerate(files.hashes())}


def build(
    records: list[Artifact],
    settings: EventsSettings,
    out: Path,
    previous: Artifact | None = None,
    spread: Spread = map_buckets,
) -> Counts:
    """Map the records of all extracts into `out`. Return row counts and coverage. Raises InputError if no event gets a concept.

    Buckets that have not changed since the artifact `previous` are linked from it.
    """
    names = [path.name for path in records[0].files("events")]
    shards = [tuple(record.file(f"events/{name}") for record in records) for name in names]
    mapping = map_by_files(distinct(records), settings)
    lookup, memory = out / ".mapping", Memory.of(previous)
    schemas.write(lookup, mapping.select("code", "concept").to_arrow(compat_level=pl.CompatLevel.oldest()))
    jobs = [
        MappingJob(
            name, group, tuple(record.digest(f"events/{name}") for record in records), lookup, out, memory.about(name)
        )
        for name, group in zip(names, shards, strict=True)
    ]
    finished = spread(map_bucket, jobs, settings.workers, "mapping events")
    of_code = mapping["code"].rle_id()
    events, patients = (pl.Series(each)[of_code] for each in _summed(jobs, mapping["code"].n_unique()))
    mapping = mapping.with_columns(events=events, patients=patients)
    lookup.unlink()
    remember(out, finished)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(Mapping(mapping).write, out)
        recorded = mapping.filter(of_code.ne_missing(of_code.shift()))
        report = coverage.report(recorded)
        spreadsheet.table(coverage.top_unmapped(recorded, settings.report_codes)).write_csv(out / "unmapped.csv")
        written.result()
    report["source"] = rrf.source_version(Path(settings.mrsab), settings.source) if settings.mrsab else settings.source
    stays = report["mapped_events"] + report["kept_events"]
    if not stays:
        raise InputError(_nothing_maps(report, settings))
    tied_codes = recorded["runners_up"].str.contains("SCT:", literal=True).sum()
    summed = total(finished)
    (out / coverage.FILE).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return {
        "rows_in": report["events"] + summed["repeated"],
        **({"added": summed["added"]} if summed["added"] else {}),
        "kept": stays + summed["added"],
        "collapsed": summed["repeated"],
        "dropped": coverage.lost_events(recorded),
        "coverage_of_events": report["events_share"],
        "coverage_of_codes": report["codes_share"],
        "codes": report["codes"],
        **({"tied_codes": tied_codes} if tied_codes else {}),
        "concepts": mapping["concept"].drop_nulls().n_unique(),
        "buckets": len(jobs),
        "buckets_unchanged": sum(done.recalled for done in finished),
    }


def _nothing_maps(report: dict[str, Any], settings: EventsSettings) -> str:
    """Return the message if no event has a concept: why, and which settings to change."""
    kinds = {name: row["events"] for name, row in report["by_namespace"].items() if row["events"]}
    listed = ", ".join(f"{name} {count_text(events)}" for name, events in kinds.items())
    if settings.mrconso:
        message = f"{settings.mrconso} (events.mrconso): none of the {count_text(report['events'])} events has a code of source"
        message += f" {settings.source!r} (events.source) in this file."
    else:
        message = f"None of the {count_text(report['events'])} events has a concept: events.mrconso is not set."
    advice, systems = [], report["systems"]
    if systems:
        advice.append('keep codes of other systems as separate concepts (events.unmapped = "keep")')
    if omop.CODE_SYSTEM in systems and not settings.omop_vocabulary:
        advice.append(
            "set events.omop_vocabulary to the folder of OMOP's vocabulary, which has the meanings of its concept ids"
        )
    if set(systems) & set(settings.dictionaries):
        advice.append("compare the codes with the tables of [events.dictionaries]")
    if set(kinds) - {*systems, "not_in_dictionary"}:
        files = (
            "check events.mrconso, events.source"
            if settings.mrconso
            else "set events.mrconso to MRCONSO.RRF of the UMLS"
        )
        advice.append(f"{files}, and check which column the codes were read from")
    return f"{message} Events by kind of code: {listed}. To fix this: {'; or '.join(advice)}."


def _summed(jobs: list[MappingJob], size: int) -> NDArray[np.int64]:
    """Return the numbers of events and of patients (2, size) of each code of the mapping, over all buckets."""
    total = np.zeros((2, size), np.int64)
    for job in jobs:
        place, events, patients = np.load(job.counts_file)
        total[0, place] += events  # row by row: numpy takes ten times as long for both at once
        total[1, place] += patients
        job.counts_file.unlink()
    return total


@dataclass(frozen=True)
class _Lookup:
    """The mapping as arrays, for work on a bucket."""

    codes: pa.Array
    index: codes.CodeIndex
    concepts_of_code: NDArray[np.int32]
    """The index in `concepts` of each code's first, second, … concept (m, codes), or -1."""
    concepts: pa.Array
    """The distinct concepts, sorted."""
    hashes: NDArray[np.uint64]
    """Hashes of `concepts`, then a 0 for the index -1 (no concept)."""


@read_once()
def _load_mapping(path: Path) -> _Lookup:
    table = pl.DataFrame(schemas.read(path))
    names = table["concept"].drop_nulls().unique().sort()
    own = pl.DataFrame({"concept": names}).with_row_index("place")
    table = table.join(own, on="concept", how="left", maintain_order="left")
    of = table["code"].rle_id().to_numpy()  # rows are sorted by code
    first = np.flatnonzero(row_keys.starts(of))
    number, distinct_codes = np.arange(len(of)) - first[of], table["code"].gather(first)
    concepts_of_code = np.full((int(number.max(initial=0)) + 1, len(first)), -1, np.int32)
    concepts_of_code[number, of] = table["place"].cast(pl.Int32).fill_null(-1)
    hashes = np.append(hash_of(names), np.uint64(0))
    codes_column = distinct_codes.to_arrow()
    return _Lookup(codes_column, codes.CodeIndex(codes_column), concepts_of_code, names.to_arrow(), hashes)


def map_bucket(job: MappingJob) -> FinishedBucket:
    """Write the mapped events of one bucket, and the counts of its concepts and codes."""
    lookup = _load_mapping(job.mapping)
    parts = [row_keys.from_table(schemas.read(path), "code") for path in job.shards]
    places = [lookup.index.positions(shard_codes) for *_, shard_codes in parts]
    meanings = [lookup.hashes[lookup.concepts_of_code[:, place]] for place in places]
    described = zip(parts, job.digests, meanings, strict=True)
    key = key_of(
        [(digest, hashlib.sha256(meaning.tobytes()).hexdigest()) for part, digest, meaning in described if len(part[0])]
    )
    files = tuple(f"{folder}/{job.name}" for folder in ("events", "concepts", "codes"))
    if recalled := job.memory.recall(job.name, key, job.out):
        recalled_codes = schemas.read(job.out / "codes" / job.name)
        place = lookup.index.positions(recalled_codes.column("code").combine_chunks())
        np.save(
            job.counts_file,
            np.stack([place, *(recalled_codes.column(name).to_numpy() for name in ("events", "patients"))]),
        )
        return FinishedBucket(job.name, key, files, recalled, recalled=True)
    ids, patient, day, code, place_of_code = _merged(parts, places)
    first, *others = lookup.concepts_of_code[:, place_of_code]
    keys = row_keys.translated(patient, day, code, first)
    more = [_translated_further(patient, day, code, further) for further in others]
    added = sum(map(len, more))
    keys = row_keys.sorted_keys(np.concatenate([keys, *more])) if added else row_keys.sort_within_visits(keys)
    schemas.write(job.out / "events" / job.name, row_keys.to_table(keys, ids, lookup.concepts, "concept"))
    schemas.write(job.out / "concepts" / job.name, counts.count_concepts(keys, lookup.concepts))
    counted = counts.count_codes(patient, code, len(place_of_code))
    present = np.flatnonzero(counted[0])
    place, (events, patients) = place_of_code[present], counted[:, present]
    np.save(job.counts_file, np.stack([place, events, patients]))
    codes_table = pa.table({"code": lookup.codes.take(pa.array(place)), "events": events, "patients": patients})
    schemas.write(job.out / "codes" / job.name, codes_table)
    counted_rows = {"repeated": sum(len(part[0]) for part in parts) - len(code), "added": added}
    return FinishedBucket(job.name, key, files, counted_rows, recalled=False)


def _translated_further(
    patient: NDArray[np.int32], day: NDArray[np.int32], code: NDArray[np.int32], further: NDArray[np.int32]
) -> row_keys.Keys:
    """Return the keys of the events (n,) whose code has a `further` concept."""
    has = np.flatnonzero((further >= 0)[code])
    return row_keys.translated(patient[has], day[has], code[has], further)


Part = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], pa.Array, pa.Array]


def _merged(
    parts: list[Part], places: list[NDArray[np.int64]]
) -> tuple[pa.Array, NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Merge the shards of all extracts. `places` are the positions of each shard's codes in the mapping.

    Returns the patient ids; the patient (an index into these ids), day and code of each event (n,); and the ascending positions in
    the mapping of the codes that occur. The code of an event is an index into these positions.
    """
    if len(parts) == 1:
        patient, day, code, ids, _ = parts[0]
        return ids.cast(pa.string()), patient, day, code, places[0]
    ids = pc.unique(pa.concat_arrays([part[3].cast(pa.string()) for part in parts]))
    ids = ids.take(pc.sort_indices(ids))
    present = np.unique(np.concatenate(places))
    keys = []
    for (patient, day, code, shard_ids, _), place in zip(parts, places, strict=True):
        place_of_patient = pc.index_in(shard_ids.cast(pa.string()), value_set=ids).to_numpy()
        keys.append(row_keys.pack(place_of_patient[patient], day, np.searchsorted(present, place)[code]))
    events = row_keys.union(keys)
    return ids, row_keys.patients(events), row_keys.days(events), row_keys.items(events), present
