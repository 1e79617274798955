"""Columns of every table that passes between stages, and the check that enforces them.

Ids and codes are strings in all of these tables. In large tables they are dictionary-encoded, so that a row costs twelve bytes.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.errors import Damaged
from ehr_pipeline.tables.align import one_chunk

TEXT, INTEGER, REAL, FLAG, DATE = pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.date32()
_IDS = pa.dictionary(pa.int32(), TEXT)


def schema_of(*columns: tuple[pa.DataType, str]) -> pa.Schema:
    """Return a schema of columns in the given order. Each argument holds a type, and the names of all its columns, divided by
    blanks."""
    return pa.schema([(name, kind) for kind, names in columns for name in names.split()])


RAW_EVENTS = schema_of((_IDS, "patient_id"), (DATE, "date"), (_IDS, "code"))
MAPPED_EVENTS = schema_of((_IDS, "patient_id"), (DATE, "date"), (_IDS, "concept"))
# `kind` is 'events' or 'patients'. `patient_hash` is there so that the lines of a patient who withdraws can be removed; it is null
# when the line has no patient id.
QUARANTINE = schema_of((TEXT, "kind file"), (INTEGER, "line"), (TEXT, "reason"), (pa.uint64(), "patient_hash"))
SPLIT = schema_of((TEXT, "patient_id side"))
TASK_LABELS = schema_of(
    (pa.int16(), "task"),
    (_IDS, "patient_id"),
    (pa.int32(), "row"),
    (pa.dictionary(pa.int8(), TEXT), "side"),
    (DATE, "index_date history_from history_until prediction_date window_from window_until"),
    (FLAG, "label"),
    (pa.dictionary(pa.int8(), TEXT), "ended"),
    (pa.int32(), "followed_days"),
    (FLAG, "had_before"),
)
"""Labels of a shard of the data set, by task. `history_from` is null if the whole history is used."""
COHORT = schema_of(
    (TEXT, "patient_id shard"),
    (pa.int32(), "row"),
    (TEXT, "disease"),
    (pa.list_(pa.field("item", TEXT)), "diseases"),
    (DATE, "first_date"),
)
CASES = schema_of(
    (TEXT, "patient_id shard"),
    (FLAG, "inside"),
    (pa.int32(), "concepts visits"),
    (DATE, "first_date last_date"),
)
"""Columns on how much is recorded about everybody with one of the diseases, in the data set (`inside`) or not: pairs of day and
concept, days, and the first and last of them."""
VOCABULARY = schema_of(
    (INTEGER, "token_id"),
    (TEXT, "concept name semantic_types"),
    (FLAG, "untyped"),
    (INTEGER, "events appearances patients"),
)
"""Columns of `vocabulary.csv`."""
CONCEPT_RELATIONS = schema_of(
    (TEXT, "concept name partner partner_name direction measure"),
    (INTEGER, "rank"),
    (REAL, "value low high q"),
    (INTEGER, "patients"),
    (FLAG, "suppressed"),
)
NEIGHBOURS = schema_of(
    (TEXT, "concept name scope"), (INTEGER, "rank"), (TEXT, "neighbour neighbour_name"), (REAL, "cosine")
)
"""Columns of `neighbours.csv`: neighbours of the concepts of interest."""
CATALOG = schema_of((TEXT, "extract data_version"))
"""Columns of the catalog of extracts, stored as JSON: data version by name."""
LISTS = schema_of((TEXT, "disease"), (INTEGER, "line"), (TEXT, "code cui name concept"))
"""Columns of the cohort's concept lists; `concept` holds the concepts that a row means, separated by blanks."""
SUBSTITUTES = schema_of((TEXT, "concept name substitute substitute_name"), (REAL, "same_habit_ratio context_cosine"))
"""Columns of `substitutes.csv`: pairs of concepts that count as one."""
POOLED = schema_of((INTEGER, "token_id"), (TEXT, "concept name"))
"""Columns of `selected_concepts.csv`, for people to read: the concepts from which patients' vectors are made."""
CHOICE = schema_of(
    (INTEGER, "n"), (REAL, "eigenvalue gap residual"), (FLAG, "converged"), (REAL, "agreement agreement_sd")
)
"""Columns of `choice.csv`: the numbers of clusters that were tried."""
SUPPORT = schema_of(
    (INTEGER, "n"), (REAL, "halves weakest"), (FLAG, "supported"), (REAL, "prediction_strength prediction_strength_sd")
)
"""Columns of `support.csv`: how far the halves of records agree for each number of clusters, and the prediction strength."""
COMPARISON = schema_of(
    (TEXT, "method"), (INTEGER, "clusters smallest largest unassigned"), (REAL, "agreement stability silhouette")
)
"""Columns of `comparison.csv`: one row for each clustering method."""
MARKS = schema_of((pa.int32(), "cluster token"), (REAL, "deviate ln_p ln_q"), (FLAG, "patients_agree"))
"""Columns of `marks.arrow`: one row for each pair of a cluster and a concept tested, cluster after cluster."""
TRANSITIONS = schema_of(
    (TEXT, "step"), (INTEGER, "from_cluster to_cluster patients patients_back"), (REAL, "expected expected_back ln_p")
)
"""Columns of `transitions.csv`: pairs of clusters between which patients moved. The last three are empty if not computed."""
VISITS = pa.list_(
    pa.field("item", pa.struct([("date", pa.date32()), ("concepts", pa.list_(pa.field("item", pa.int32())))]))
)

OBSERVATION = ("observation_start", "observation_end")
"""Columns of a patient's observation window, if the source has it. It includes both days; null means unknown."""
DEATH = "death_date"
"""Column of the day of death, if the source has it; null where no death is known."""
DATED = (*OBSERVATION, DEATH)
"""The columns of patients that contain dates, in addition to the birth."""

# A birth date known only to the year is set to 1 July, one known only to the month to the 15th.
_PERSON = schema_of((TEXT, "patient_id"), (DATE, "birth_date"), (TEXT, "birth_precision sex"))


def patients(attributes: tuple[str, ...]) -> pa.Schema:
    """Return the schema of a table with one row for each patient of an extract."""
    return pa.schema([*_PERSON, *_carried(attributes)])


def patient_dataset(attributes: tuple[str, ...]) -> pa.Schema:
    """Return the schema of a table with one row per patient of the data set: visits sorted by date, their concepts by token id."""
    return pa.schema([*_PERSON, *_carried(attributes), ("visits", VISITS)])


def _carried(attributes: tuple[str, ...]) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.date32() if name in DATED else pa.string()) for name in attributes]


def embeddings(size: int) -> pa.Schema:
    """Return the schema of a table with one row per embedded patient: the vector, and how many chunks and tokens are in it."""
    return schema_of((TEXT, "patient_id"), (_vector(size), "vector"), (pa.int32(), "chunks tokens"))


def histories(who: pa.DataType, size: int) -> pa.Schema:
    """Return the schema of a table with one row per requested history, by patient or subject id: how much is known, and the vector
    of the history.

    `vector` is null if the history has no chosen token; `age_at_cut` (whole years) is null if the patient is not in the extract.
    """
    name = "subject_id" if pa.types.is_integer(who) else "patient_id"
    return schema_of(
        (who, name), (DATE, "cut"), (_vector(size), "vector"), (pa.int32(), "tokens pooled_tokens age_at_cut")
    )


def clusters(attributes: tuple[str, ...], methods: tuple[str, ...]) -> pa.Schema:
    """Return the schema of a table with one row per embedded patient: attributes, clusters (also by other `methods`), map
    position."""
    others = [(f"cluster_{method}", pa.int32()) for method in methods]
    return pa.schema(
        [
            *schema_of((TEXT, "patient_id sex")),
            *_carried(attributes),
            *schema_of((pa.int32(), "age"), (REAL, "mean_age"), (pa.int32(), "concepts visits"), (TEXT, "disease")),
            *schema_of((pa.int32(), "cluster"), (pa.float32(), "stability")),
            *others,
            *schema_of((pa.float32(), "x y"), (FLAG, "assigned"), (pa.uint64(), "vector_hash")),
        ]
    )


def trajectories(size: int) -> pa.Schema:
    """Return the schema of a table with one row for each window of a patient's record that has enough pooled tokens.

    A row holds the dates of the first and last visit, the number of pooled tokens, and the cluster; `support` is the share of
    neighbours that agree on the cluster; x and y are the position on the map of patients.
    """
    return schema_of(
        (TEXT, "patient_id"),
        (pa.int32(), "window"),
        (DATE, "first_date last_date"),
        (pa.int32(), "tokens cluster"),
        (pa.float32(), "support x y"),
        (_vector(size), "vector"),
    )


def _vector(size: int) -> pa.DataType:
    return pa.list_(pa.field("item", pa.float32()), size)


def write(path: Path, table: pa.Table) -> None:
    """Write a table as an uncompressed Arrow IPC file with one batch, so that it can be mapped into memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.combine_chunks()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)


def read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Map a table into memory, with all columns or only those named."""
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return table.select(columns) if columns else table


def read_as(path: Path, expected: pa.Schema) -> pa.Table:
    """Map a table that has at least the expected columns. Raises Damaged if it lacks one, or cannot be read."""
    try:
        table = read(path)
        problems = _problems(table.schema, expected)
    except (OSError, pa.ArrowException) as error:
        problems = ["there is no such file" if isinstance(error, FileNotFoundError) else "it is no Arrow file"]
    if problems:
        raise Damaged(
            f"{path}: {'; '.join(problems)}. Rebuild the asset (ehr-pipeline run), or copy its whole folder again from where it"
            " was made."
        )
    return table


def differences(path: Path, expected: pa.Schema) -> list[str]:
    """Return how the columns of a file differ from the expected ones; empty when they do not."""
    with pa.memory_map(str(path)) as source:
        found = pa.ipc.open_file(source).schema
    problems = _problems(found, expected) + [
        f"unexpected column {name}" for name in found.names if name not in expected.names
    ]
    return [f"{path.name}: {problem}" for problem in problems]


def _problems(found: pa.Schema, expected: pa.Schema) -> list[str]:
    """Return sentences about expected columns that are missing, or have another type."""
    problems = []
    for field in expected:
        index = found.get_field_index(field.name)
        if index < 0:
            problems.append(f"column {field.name} is missing")
        elif found.field(index).type != field.type:
            problems.append(f"column {field.name} is {found.field(index).type}, but should be {field.type}")
    return problems


def vectors(matrix: NDArray[np.float32]) -> pa.FixedSizeListArray:
    """Return a matrix (n, D) as a column of vectors, which shares its memory."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def matrix(table: pa.Table, name: str = "vector") -> NDArray[np.float32]:
    """Return a column of vectors as a matrix (n, D); for a table of one batch, a read-only view."""
    column = one_chunk(table.column(name))
    found: NDArray[np.float32] = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return found
