"""Make vectors of histories: for each row of a file with a patient and a day, a vector of the record up to the end of this day.

    ehr-pipeline embed … --cut FILE

Nothing recorded after that day is read. Patients with few visits are kept, because the number of visits in the whole record is not
known on that day. If visits last several days, visits that may continue after that day are left out, as in `task_labels`. Histories
are made a few thousand at a time, and vectors stay in a file until they are written, so memory does not grow with the rows.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.embeddings.pooling import Pooled, pool_chunks
from ehr_pipeline.embeddings.transform import Part
from ehr_pipeline.encoder import configuration
from ehr_pipeline.export import apply
from ehr_pipeline.patients.histories import ALWAYS, cut
from ehr_pipeline.patients.shard import Shard, ages_at
from ehr_pipeline.records import dates
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.store import build_lock, publishing, secret_key
from ehr_pipeline.store.artifacts import Counts
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import align, schemas
from ehr_pipeline.tasks import prediction_times
from ehr_pipeline.tasks.prediction_times import Names, PredictionTimes

AT_ONCE = 4_096
"""Number of histories in memory at a time."""
_ABSENT = np.iinfo(np.int32).min


@dataclass(frozen=True)
class Columns:
    """The columns of the result (N,), in the order of the file. They are filled shard by shard."""

    vector: NDArray[np.float32]
    """Vectors (N, D), in a file; NaN for a row without a vector."""
    tokens: NDArray[np.int32]
    pooled: NDArray[np.int32]
    age: NDArray[np.int32]
    """Age at the end of the history, in whole years; _ABSENT for a patient who is not in the extract."""

    @classmethod
    def empty(cls, path: Path, rows: int, width: int) -> "Columns":
        """Return empty columns for a number of rows; the vectors are in the file `path`."""
        vector = np.memmap(path, np.float32, "w+", shape=(rows, width))
        for start in range(0, rows, AT_ONCE):
            vector[start : start + AT_ONCE] = np.nan
        none = np.zeros(rows, np.int32)
        return cls(vector, none, none.copy(), np.full(rows, _ABSENT, np.int32))

    def fill(self, rows: NDArray[np.int64], made: Shard, pooled: Pooled) -> None:
        """Fill in some rows (n,) from their histories and vectors."""
        self.tokens[rows] = np.diff(made.patient_tokens)
        self.pooled[rows] = pooled.tokens
        some = pooled.tokens > 0
        self.vector[rows[some]] = pooled.vectors_PD[some]

    def without(self) -> dict[str, NDArray[np.bool_]]:
        """Return flags (N,) of the rows without a vector, by reason."""
        absent = self.age == _ABSENT
        return {
            "not_in_extract": absent,
            "no_history": ~absent & (self.tokens == 0),
            "no_chosen_concept": (self.tokens > 0) & (self.pooled == 0),
        }


def embed(study: Study, folders: tuple[Path, Path, Path], file: Path, out: Path) -> Counts:
    """Write one row for each row of `file`, in its order, to the Arrow file `out` (`schemas.histories`). Return counts.

    `folders` are the checkpoint, the embeddings and the extract. Raises InputError for an invalid file (`prediction_times.read`),
    and as `apply.embed` does.
    """
    model, vectors, extract = folders
    vocabulary, transform = apply.checked(model, vectors, extract, out)
    given = prediction_times.read(file, names_of(study.records))
    key = secret_key.read(Path(study.study.store))
    whole = dataclasses.replace(study, patients=dataclasses.replace(study.patients, min_visits=1))
    with build_lock.scratch(Path(study.study.store)) as work:
        records, counts = apply.patients(whole, model, extract, work)
        width = transform.width(int(configuration.read(model)["hidden_size"]))
        columns = Columns.empty(work / "vectors", len(given.ids), width)
        seen = pa.concat_arrays([_ages(columns, given, schemas.read(path), key) for path in records.files("patients")])
        with apply.model_at_work(study, model, vocabulary) as (encoder, how):
            for path in apply.shards(work):
                shard = Shard.read(path)
                row = given.rows(ids_of(schemas.read(path, ["patient_id"])), key)
                for rows in blocks(np.flatnonzero(row >= 0), AT_ONCE):
                    last = given.last_day[rows] - study.patients.visit_window_days
                    made, everybody = cut(shard, row[rows], np.full(len(rows), ALWAYS), last), np.arange(len(rows))
                    chunks = pool_chunks(encoder, made, everybody, transform.weights, how)
                    columns.fill(rows, made, transform.apply(Part(made, everybody, chunks)))
        with publishing.whole(out, replace=True) as part:
            _write(part, given, columns)
        return {
            "rows_in": len(given.ids),
            "with_vector": int((columns.pooled > 0).sum()),
            "without": {name: int(flags.sum()) for name, flags in columns.without().items()},
            **apply.whom_it_knows(study, model, pa.chunked_array([seen])),
            "not_in_vocabulary": counts["dropped"]["not_in_vocabulary"],
        }


def names_of(records: RecordsSettings) -> Names:
    """Return the column names for patients and dates in the study's files: those of event files first, then of patient files."""
    kinds = records.kinds
    files = [kind.files for kind in kinds.events]
    patient = [each.columns.patient for each in files] + [kind.files.columns.patient for kind in kinds.patients]
    formats = dict.fromkeys(form for each in files for form in each.date_formats)
    return Names(
        tuple(dict.fromkeys([*patient, prediction_times.PATIENT])),
        tuple(dict.fromkeys([*(each.columns.date for each in files), prediction_times.DATE])),
        (*(form for form in formats if form != dates.ISO), dates.ISO),
    )


def ids_of(table: pa.Table) -> pa.Array:
    """Return the patient ids of a table as one array of text."""
    return align.one_chunk(table.column("patient_id")).cast(pa.string())


def blocks(rows: NDArray[np.int64], at_once: int) -> Iterator[NDArray[np.int64]]:
    """Yield rows in blocks of at most `at_once`."""
    for start in range(0, len(rows), at_once):
        yield rows[start : start + at_once]


def _ages(columns: Columns, given: PredictionTimes, people: pa.Table, key: Key | None) -> pa.Array:
    """Fill in the ages of the requested patients who are in the table `people`. Return the ids of these patients, each once."""
    ids = ids_of(people)
    row = given.rows(ids, key)
    here = np.flatnonzero(row >= 0)
    birth = people.column("birth_date").cast(pa.int32()).to_numpy()[row[here]]
    by_year = people.column("birth_precision").to_numpy(zero_copy_only=False)[row[here]] == "year"
    columns.age[here] = ages_at(given.last_day[here], birth, by_year, "year")
    return ids.take(pa.array(np.unique(row[here])))


def _write(path: Path, given: PredictionTimes, columns: Columns) -> None:
    """Write the result, a block of rows at a time."""
    schema = schemas.histories(given.ids.type, columns.vector.shape[1])
    absent = columns.without()["not_in_extract"]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for start in range(0, len(given.ids), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            none = columns.pooled[rows] == 0
            flat = pa.array(columns.vector[rows].reshape(-1))
            arrays = [
                given.ids[rows],
                pa.array(given.last_day[rows]).cast(pa.date32()),
                pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type, mask=pa.array(none)),
                pa.array(columns.tokens[rows]),
                pa.array(columns.pooled[rows]),
                pa.array(columns.age[rows], mask=absent[rows]),
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
