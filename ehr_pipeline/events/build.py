"""`mapped_events`: the records of all extracts, mapped to concepts, one shard per bucket, sorted by patient, date, concept.

The artifact holds `events/` in Arrow, `mapping.csv` (every code with its concept and step), `unmapped.csv` (what is lost, most
frequent first) and `coverage.json`.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline import rows, schemas
from ehr_pipeline.artifacts import Artifact, Counts
from ehr_pipeline.buckets import map_buckets
from ehr_pipeline.errors import InputError
from ehr_pipeline.events import codes, coverage
from ehr_pipeline.events.mapping import map_codes
from ehr_pipeline.events.settings import EventsSettings
from ehr_pipeline.terminology import omop, rrf


@dataclass(frozen=True)
class BucketJob:
    """What the work on one bucket needs: its shards of all extracts, and the mapping."""

    shards: tuple[Path, ...]
    mapping: Path
    out: Path


def inputs(settings: EventsSettings) -> list[Path]:
    """The large files that the stage reads beside the records."""
    tables = [*settings.dictionaries.values(), *settings.migrations.values()]
    releases = (*settings.descriptions, *settings.associations, *settings.relationships)
    vocabulary = omop.files(Path(settings.omop_vocabulary)).values() if settings.omop_vocabulary else ()
    return [Path(path) for path in (settings.mrconso, *(table.file for table in tables), *releases, *vocabulary)]


def build(records: list[Artifact], settings: EventsSettings, out: Path) -> Counts:
    """Map the records of all extracts into `out`. Returns row counts and coverage. Raises InputError when nothing maps."""
    names = [path.name for path in records[0].files("events")]
    shards = [tuple(record.file(f"events/{name}") for record in records) for name in names]
    atoms = rrf.snomed_atoms(Path(settings.mrconso), settings.source, settings.suppress)
    mapping = map_codes(codes.distinct([path for group in shards for path in group]), atoms, settings)
    lookup = out / ".mapping"
    schemas.write(lookup, mapping.select("code", "concept").to_arrow(compat_level=pl.CompatLevel.oldest()))
    jobs = [BucketJob(group, lookup, out / "events" / name) for group, name in zip(shards, names, strict=True)]
    counted = np.sum(map_buckets(map_bucket, jobs, settings.workers, "mapping events"), axis=0)
    lookup.unlink()
    mapping = mapping.with_columns(events=pl.Series(counted, dtype=pl.Int64))
    report = coverage.report(mapping)
    if not report["mapped_events"]:
        raise InputError(
            f"{settings.mrconso}: none of the {report['events']:,} events has a code of source {settings.source!r} in this file."
            f" Events by kind of code: { {name: row['events'] for name, row in report['by_namespace'].items()} }."
            " Check events.mrconso, events.source, [events.dictionaries], and which column the codes were read from."
        )
    mapping.write_csv(out / "mapping.csv")
    coverage.most_frequent_lost(mapping, settings.report_codes).write_csv(out / "unmapped.csv")
    (out / "coverage.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return {
        "rows_in": report["events"],
        "kept": report["mapped_events"],
        "dropped": coverage.lost_events(mapping),
        "coverage_of_events": report["events_share"],
        "coverage_of_codes": report["codes_share"],
        "codes": report["codes"],
        "concepts": mapping["concept"].drop_nulls().n_unique(),
        "buckets": len(jobs),
    }


def read_mapping(artifact: Artifact) -> pl.DataFrame:
    """The mapping table of a `mapped_events` artifact; codes are strings."""
    return pl.read_csv(artifact.file("mapping.csv"), infer_schema=False).with_columns(pl.col("events").cast(pl.Int64))


@cache
def _load_mapping(path: Path) -> tuple[codes.Places, NDArray[np.int32], pa.Array]:
    """The places of codes, the index of each one's concept (-1 when it has none), and the sorted concepts."""
    table = schemas.read(path)
    concept = table.column("concept").combine_chunks()
    names = pc.unique(concept.drop_null())
    names = names.take(pc.sort_indices(names))
    place = pc.index_in(concept, value_set=names).fill_null(-1).to_numpy()
    return codes.Places(table.column("code").combine_chunks()), place.astype(np.int32), names


def map_bucket(job: BucketJob) -> NDArray[np.int64]:
    """Write the mapped events of one bucket, and return the number of events of every code (in order of the mapping)."""
    places, concept_of_code, concepts = _load_mapping(job.mapping)
    parts = [rows.from_table(schemas.read(path), "code") for path in job.shards]
    ids = parts[0][3].cast(pa.string())
    if len(parts) > 1:
        ids = pc.unique(pa.concat_arrays([part[3].cast(pa.string()) for part in parts]))
        ids = ids.take(pc.sort_indices(ids))
    counted = np.zeros(len(concept_of_code), np.int64)
    keys = []
    for patient, day, code, own_ids, own_codes in parts:
        place_of_code = places.of(own_codes)
        counted[place_of_code] += np.bincount(code, minlength=len(place_of_code))
        place_of_patient = pc.index_in(own_ids.cast(pa.string()), value_set=ids).to_numpy()
        concept = concept_of_code[place_of_code][code]
        mapped = concept >= 0
        keys.append(rows.pack(place_of_patient[patient[mapped]], day[mapped], concept[mapped]))
    schemas.write(job.out, rows.to_table(np.sort(np.concatenate(keys)), ids, concepts, "concept"))
    return counted
