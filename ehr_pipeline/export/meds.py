"""Write events and split as a data set in MEDS 0.4 (Medical Event Data Standard, github.com/Medical-Event-Data-Standard/meds).

    OUT/data/<split>/<bucket>.parquet           subject_id, time, code, numeric_value; sorted by subject and time
    OUT/metadata/codes.parquet                  every code with its name
    OUT/metadata/subject_splits.parquet         'train', 'tuning' (validation set), 'held_out' (test set); no row for
                                                patients without a side
    OUT/metadata/dataset.json

Subjects are the patients of the data set. All their mapped events are written, with the code UMLS//<CUI>, or SNOMED//<id> and
SYSTEM//<code> for codes of SNOMED and of other systems that were kept as concepts of their own. Sex and attributes have no time.
Numeric values are null, since the pipeline reads none.
"""

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ehr_pipeline import __version__
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.errors import UserError
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.patients.settings import TEST, TRAIN, UNASSIGNED, VALIDATION
from ehr_pipeline.store import durable, publishing
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tables import json_files, row_keys, schemas
from ehr_pipeline.tasks.meds import DEATH, subject_id
from ehr_pipeline.tasks.meds import code as code_of

VERSION = "0.4"
SPLITS = {TRAIN: "train", VALIDATION: "tuning", TEST: "held_out"}
BIRTH = "MEDS_BIRTH"
DATA = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        ("time", pa.timestamp("us")),
        pa.field("code", pa.string(), nullable=False),
        ("numeric_value", pa.float32()),
    ]
)
CODES = pa.schema(
    [
        pa.field("code", pa.string(), nullable=False),
        ("description", pa.string()),
        ("parent_codes", pa.list_(pa.string())),
    ]
)
SUBJECT_SPLITS = pa.schema(
    [pa.field("subject_id", pa.int64(), nullable=False), pa.field("split", pa.string(), nullable=False)]
)


def export(
    made: tuple[Artifact, Artifact, Artifact], name: str, key: Key, out: Path, crosswalk: bool = False
) -> Counts:
    """Write the data set to the new folder `out`, whole or not at all. Return row counts.

    `made` holds the mapped events, the patient data set and its split; `key` is the store's key. With `crosswalk`, also writes
    <out>_crosswalk.csv (subject_id, patient_id) next to the folder, never into it. Raises UserError if `out` exists or cannot be
    written, or if the artifacts do not belong together.
    """
    events, dataset, split = made
    other = out.with_name(f"{out.name}_crosswalk.csv")
    for path in (out, *([other] if crosswalk else [])):
        publishing.refuse_existing(path)
    for artifact, upstream in ((dataset, events), (split, dataset)):
        what, source = artifact.manifest["asset"], upstream.manifest["asset"]
        if artifact.manifest["inputs"].get(source) != upstream.data_version:
            raise UserError(
                f"{what} was made from another version of {source}. Rebuild {what} first (ehr-pipeline run)."
            )
    subject_of = partial(subject_id, key=key)
    try:
        with publishing.whole(out) as work:
            (work / "metadata").mkdir(parents=True)
            counts = _write(made, name, subject_of, work)
            if crosswalk:
                with publishing.whole(other) as part:
                    _crosswalk(dataset, subject_of, part)
    except OSError as error:
        raise UserError(f"{out} could not be written: {durable.what_to_do(error)}. Nothing was published.") from error
    return counts


def _write(
    made: tuple[Artifact, Artifact, Artifact], name: str, subject_of: Callable[[str], int], work: Path
) -> Counts:
    events, dataset, split = made
    subjects: list[NDArray[np.int64]] = []
    sides: list[NDArray[np.object_]] = []
    codes: set[str] = set()
    kept = about_subjects = 0
    for shard in dataset.files("patients"):
        people = pl.DataFrame(schemas.read(shard).drop_columns(["visits"]))
        side = schemas.read(split.file(f"split/{shard.name}")).column("side").to_numpy(zero_copy_only=False)
        subject = np.array([subject_of(patient) for patient in people["patient_id"]], np.int64)
        recorded = _recorded(events.file(f"events/{shard.name}"), people["patient_id"], subject)
        known = _static_attributes(people, subject)
        for which, folder in (SPLITS | {UNASSIGNED: UNASSIGNED}).items():
            chosen = pl.Series(subject[side == which], dtype=pl.Int64).implode()
            part = pl.concat([known, recorded]).filter(pl.col("subject_id").is_in(chosen))
            if part.height:
                part = part.sort("subject_id", "time", "code", nulls_last=False)
                codes.update(part["code"].unique())
                _write_table(work / "data" / folder / f"{shard.stem}.parquet", part, DATA)
        subjects.append(subject)
        sides.append(side)
        kept += recorded.height
        about_subjects += known.height
    subject, order = _distinct(subjects)
    names = pl.Series([SPLITS.get(each) for each in np.concatenate(sides)[order]], dtype=pl.String)
    splits = pl.DataFrame({"subject_id": subject, "split": names}).drop_nulls("split")
    _write_table(work / "metadata" / "subject_splits.parquet", splits, SUBJECT_SPLITS)
    mapping = Mapping.read(events.path, "concept", "name")
    _write_table(work / "metadata" / "codes.parquet", _described(sorted(codes), mapping), CODES)
    about = {"dataset_name": name, "etl_name": "ehr-pipeline", "etl_version": __version__, "meds_version": VERSION}
    json_files.write(work / "metadata" / "dataset.json", about)
    rows_in = int(events.counts["kept"])
    return {
        "rows_in": rows_in,
        "kept": kept,
        "dropped": {"patient_not_in_data_set": rows_in - kept},
        "subjects": len(subject),
        "rows_about_subjects": about_subjects,
        "codes": len(codes),
    }


def _recorded(path: Path, patient_ids: pl.Series, subject: NDArray[np.int64]) -> pl.DataFrame:
    """Return the mapped events of the patients of one bucket (subject_id, time, code)."""
    patient, day, concept, ids, names = row_keys.from_table(schemas.read(path), "concept")
    place_of = dict(zip(patient_ids, subject.tolist(), strict=True))
    found = np.array([place_of.get(patient_id, -1) for patient_id in ids.to_pylist()], np.int64)
    owner = found[patient] if len(found) else np.empty(0, np.int64)
    here = owner >= 0
    code = pl.Series([code_of(name) for name in names.to_pylist()], dtype=pl.String)
    return pl.DataFrame(
        {
            "subject_id": owner[here],
            "time": pl.Series(day[here]).cast(pl.Date).cast(pl.Datetime("us")),
            "code": code.gather(concept[here]),
        }
    )


def _static_attributes(people: pl.DataFrame, subject: NDArray[np.int64]) -> pl.DataFrame:
    """Return the patients' attributes as rows (subject_id, time, code); the time is null for attributes without a date."""
    people = people.with_columns(subject_id=pl.Series(subject))
    time = pl.lit(None, pl.Datetime("us"))
    parts = [
        people.select("subject_id", time=pl.col("birth_date").cast(pl.Datetime("us")), code=pl.lit(BIRTH)),
        people.filter(pl.col("sex") != "").select("subject_id", time=time, code=pl.lit("GENDER//") + pl.col("sex")),
    ]
    for name, kind in people.schema.items():
        if name in schemas.DATED:
            known, code = people.filter(pl.col(name).is_not_null()), DEATH if name == schemas.DEATH else name.upper()
            parts.append(known.select("subject_id", time=pl.col(name).cast(pl.Datetime("us")), code=pl.lit(code)))
        elif kind == pl.String and name not in ("patient_id", "birth_precision", "sex"):
            known = people.filter(pl.col(name) != "")
            parts.append(known.select("subject_id", time=time, code=pl.lit(f"{name.upper()}//") + pl.col(name)))
    return pl.concat(parts)


def _distinct(parts: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all subject ids, sorted, and the sorting order. Raises UserError if two patients share one (unlikely: 63 bits)."""
    subject = np.concatenate(parts)
    order = np.argsort(subject)
    subject = subject[order]
    if not row_keys.starts(subject).all():
        raise UserError(
            "Two patients have the same 63-bit subject id by chance. Nothing was exported. Please report this to the authors"
            " of ehr_pipeline."
        )
    return subject, order


def _described(codes: list[str], mapping: Mapping) -> pl.DataFrame:
    named = mapping.mapped.filter(pl.col("name").fill_null("") != "").sort("concept", "name")
    name_of = dict(named.unique("concept", keep="first", maintain_order=True).select("concept", "name").iter_rows())
    by_code = {code_of(concept): name for concept, name in name_of.items()}
    return pl.DataFrame(
        {
            "code": pl.Series(codes, dtype=pl.String),
            "description": pl.Series([by_code.get(code) for code in codes], dtype=pl.String),
            "parent_codes": pl.Series([None] * len(codes), dtype=pl.List(pl.String)),
        }
    )


def _write_table(path: Path, frame: pl.DataFrame, schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if "numeric_value" in schema.names:
        frame = frame.with_columns(numeric_value=pl.lit(None, pl.Float32))
    pq.write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema), path)


def _crosswalk(dataset: Artifact, subject_of: Callable[[str], int], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["subject_id", "patient_id"])
        for shard in dataset.files("patients"):
            for patient in schemas.read(shard, ["patient_id"]).column("patient_id").to_pylist():
                writer.writerow([subject_of(patient), spreadsheet.text(patient)])
