"""Check, before a run, the column with the split: does it exist, and are its first values understood?"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import polars as pl

from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.errors import UserError
from ehr_pipeline.patients.settings import USUAL_SIDES, SplitSettings
from ehr_pipeline.records import catalog, check_first_rows, files, sample, values
from ehr_pipeline.records.kinds import PatientKind
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.store.file_listing import walk
from ehr_pipeline.work.progress import Progress

SPLITS = Path("metadata/subject_splits.parquet")
MAX_SHOWN = 3


def notes(
    records: RecordsSettings, settings: SplitSettings, below: int
) -> Iterator[tuple[check_first_rows.Level, str]]:
    """Yield problems and remarks with their levels. Of values in fewer than `below` rows, only the shape is shown."""
    newest = [Path(records.landing) / name for name in catalog.extracts_in(Path(records.landing))[-1:]]
    if not settings.column:
        if records.source == "meds" and any((folder / SPLITS).is_file() for folder in newest):
            yield (
                "facts",
                f"{newest[0] / SPLITS}: the data set's own split is not used, so its held-out subjects train the encoder. To use"
                " it, set records.meds.splits and patients.split.column to the same name, such as 'meds_split'",
            )
        return
    if settings.column not in records.attributes:
        where = "records.meds.splits" if records.source == "meds" else "`attributes` of the patient files"
        yield (
            "problems",
            f"patients.split.column is {settings.column!r}, but the patient files have no such attribute: add it to {where}"
            f" (there are: {', '.join(records.attributes) or 'none'}).",
        )
        return
    for folder in newest:
        for kind in records.kinds.patients:
            if settings.column in kind.files.attributes and kind.adapt is None:
                yield from _check_files(folder, kind, settings, below)


def _check_files(
    folder: Path, kind: PatientKind, settings: SplitSettings, below: int
) -> Iterator[tuple[check_first_rows.Level, str]]:
    """Check the first values in the files of a kind. Another check reports files that cannot be read."""
    try:
        for path in files.find(walk(folder), kind):
            yield from _check_values(path, _first_values(path, kind, settings.column), settings, below)
    except (UserError, OSError):
        return


def _first_values(path: Path, kind: PatientKind, column: str) -> pl.Series:
    blocks = islice(
        files.read(path, kind, block_bytes=check_first_rows.HEAD_BYTES, progress=Progress(path.name, 1)),
        check_first_rows.BLOCKS,
    )
    return pl.concat([split().rows.select(value=f"attribute:{column}") for split in blocks])["value"]


def _check_values(
    path: Path, first_values: pl.Series, settings: SplitSettings, below: int
) -> Iterator[tuple[check_first_rows.Level, str]]:
    meant = values.meanings(pl.col("value"), settings.meanings, USUAL_SIDES)
    read = first_values.to_frame().with_columns(side=meant)
    other = read.filter(pl.col("side").str.starts_with(values.NOT_UNDERSTOOD))["value"]
    if len(first_values) and not (first_values != "").any():
        yield "warnings", f"{path}: its first rows have no value in {settings.column} (patients.split.column)."
    if len(other):
        counted = other.value_counts().sort(["count", "value"], descending=[True, False])
        frequent = counted.filter(pl.col("count") >= below)["value"].head(MAX_SHOWN).to_list()
        shapes = pl.DataFrame({"value": counted.filter(pl.col("count") < below)["value"]}).select(
            sample.shape(pl.col("value"))
        )["value"]
        shown = ", ".join(
            [*map(repr, frequent), *(f"such as {each}" for each in shapes.unique().sort().head(MAX_SHOWN))]
        )
        most = len(first_values) >= check_first_rows.MIN_ROWS and len(other) >= check_first_rows.MISREAD_SHARE * len(
            first_values
        )
        yield (
            "problems" if most else "warnings",
            f"{path}: the set is not understood in {count_text(len(other), below)} of its first rows ({shown}): give its meaning in"
            " patients.split.values, such as {A = 'train', B = 'test'}.",
        )
