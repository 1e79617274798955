"""Split the patients if there may be a test set. This is done with the catalog, since the vocabulary needs the split.

A patient's set is a function of the id and the key (`split.side`), or is read from a column of the patients. If extracts differ,
the oldest one with a value takes precedence, because what was learned from a patient cannot be unlearned. Patients without a value
are UNASSIGNED, until an extract has one.

`sides/` has one row (patient_id, side) for each patient of any extract, in a shard for each bucket.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.errors import InputError
from ehr_pipeline.patients import split
from ehr_pipeline.patients.settings import EVERY_SIDE, LEARNED_FROM, TRAIN, UNASSIGNED, USUAL_SIDES, SplitSettings
from ehr_pipeline.records import values
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import schemas
from ehr_pipeline.work.buckets import Spread, map_buckets

FOLDER = "sides"
VALUES = "notes/split_values.json"
"""The values of the column that are not understood, with the number of patients for each."""
_VALUE = "value:"


@dataclass(frozen=True)
class SideJob:
    """The input for one bucket."""

    name: str
    patients: tuple[Path, ...]
    """Patient shards of all extracts, the oldest first."""
    settings: SplitSettings
    out: Path


def build(
    records: Sequence[Artifact], settings: SplitSettings, out: Path, workers: int = 1, spread: Spread = map_buckets
) -> Counts:
    """Write `sides/` into `out`; `records` are the records of all extracts, the oldest first.

    Returns the numbers of patients in each set (`sides`), with a value that is not understood (`not_understood`), and with
    different sets in different extracts (`differing`). Raises InputError if the training or the validation set is empty.
    """
    with_patients = [record for record in records if record.files("patients")]
    jobs = [
        SideJob(shard.name, tuple(record.file(f"patients/{shard.name}") for record in with_patients), settings, out)
        for shard in with_patients[0].files("patients")
    ]
    if settings.column and settings.column not in schemas.read(jobs[0].patients[0]).column_names:
        raise InputError(
            f"patients.split.column is {settings.column!r}, but the patient files have no such attribute: add its column to"
            " `attributes` of the patient files (for MEDS, set records.meds.splits)."
        )
    total = Counter[str]()
    for counts in spread(build_bucket, jobs, workers, "looking up sides"):
        total.update(counts)
    unread = {name.removeprefix(_VALUE): number for name, number in total.items() if name.startswith(_VALUE)}
    if unread:
        ordered = dict(sorted(unread.items(), key=lambda pair: (-pair[1], pair[0])))
        (out / VALUES).parent.mkdir(exist_ok=True)
        (out / VALUES).write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    sides = {side: total[side] for side in EVERY_SIDE}
    if not all(sides[side] for side in LEARNED_FROM):
        raise InputError(_empty_side_message(sides, total["not_understood"], settings))
    return {"sides": sides, "not_understood": total["not_understood"], "differing": total["differing"]}


def _empty_side_message(sides: dict[str, int], unread: int, settings: SplitSettings) -> str:
    """Return the message for an empty training or validation set, with what to do."""
    counted = ", ".join(f"{side} {count_text(number)}" for side, number in sides.items())
    if not settings.column:
        return (
            f"The split leaves one set empty ({counted}). Raise patients.split.validation_share, or lower test_share."
        )
    advice = (
        f"; {count_text(unread)} have an unknown value: give its meaning in patients.split.values" if unread else ""
    )
    if sides[TRAIN] and not settings.draw_validation:
        advice += (
            ". If the data set has only train and test, set patients.split.draw_validation = true to draw validation patients from"
            " the training patients"
        )
    return (
        f"The column {settings.column!r} (patients.split.column) leaves the training or the validation set empty: {counted}"
        f"{advice}."
    )


def build_bucket(job: SideJob) -> dict[str, int]:
    """Write the sets of the patients of one bucket, and return the counts."""
    settings, counts = job.settings, Counter[str]()
    if settings.column:
        people, counts = _by_column(job)
    else:
        ids = pl.concat([pl.Series("patient_id", schemas.read(path, ["patient_id"])[0]) for path in job.patients])
        ids = ids.unique().sort()
        sides = [split.side(patient_id, settings) for patient_id in ids]
        people = pl.DataFrame({"patient_id": ids, "side": pl.Series(sides, dtype=pl.String)})
    counts.update(dict(people["side"].value_counts().iter_rows()))
    arrow = people.to_arrow(compat_level=pl.CompatLevel.oldest())
    schemas.write(job.out / FOLDER / job.name, arrow.cast(schemas.SPLIT))
    return dict(counts)


def _by_column(job: SideJob) -> tuple[pl.DataFrame, Counter[str]]:
    """Return each patient's set in the oldest extract with a value, sorted by id; and counts of values that are not understood and
    of patients with different sets."""
    settings = job.settings
    rows = pl.concat(
        [
            pl.DataFrame(schemas.read(path, ["patient_id", settings.column])).with_columns(extract=pl.lit(number))
            for number, path in enumerate(job.patients)
        ]
    )
    meant = values.meanings(pl.col(settings.column).fill_null(""), settings.meanings, USUAL_SIDES)
    rows = rows.select("patient_id", "extract", side=meant)
    unread = pl.col("side").str.starts_with(values.NOT_UNDERSTOOD)
    other, known = rows.filter(unread), rows.filter(~unread & (pl.col("side") != UNASSIGNED))
    by_value = other.group_by(value=pl.col("side").str.strip_prefix(values.NOT_UNDERSTOOD))
    most = by_value.agg(pl.col("patient_id").n_unique()).sort("patient_id", "value", descending=[True, False])
    counts = Counter({f"{_VALUE}{value}": number for value, number in most.head(values.MAX_VALUES).iter_rows()})
    counts["not_understood"] = other["patient_id"].n_unique()
    counts["differing"] = int(known.group_by("patient_id").agg(pl.col("side").n_unique() > 1)["side"].sum())
    first = known.sort("extract", maintain_order=True).unique("patient_id", keep="first", maintain_order=True)
    every_patient = rows.select(pl.col("patient_id").unique()).sort("patient_id")
    people = every_patient.join(first.select("patient_id", "side"), on="patient_id", how="left", maintain_order="left")
    people = people.with_columns(pl.col("side").fill_null(UNASSIGNED))
    if settings.draw_validation:
        drawn_sides = [
            split.side_by_hash(patient_id, settings) if side == TRAIN else side
            for patient_id, side in people.iter_rows()
        ]
        people = people.with_columns(side=pl.Series(drawn_sides, dtype=pl.String))
    return people, counts


def left_out(catalog: Artifact) -> pl.Series:
    """Return the ids of the patients from whom nothing may be learned, because they are held out."""
    shards = [pl.DataFrame(schemas.read(path)) for path in catalog.files(FOLDER)]
    return pl.concat(shards).filter(~pl.col("side").is_in(LEARNED_FROM))["patient_id"]
