"""Columns of every table that passes between stages, and the check that enforces them.

Ids and codes are strings in all of these tables. In large tables they are dictionary-encoded, so that a row costs twelve bytes.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.errors import Damaged
from ehr_pipeline.tables.align import one_chunk

_IDS = pa.dictionary(pa.int32(), pa.string())

RAW_EVENTS = pa.schema([("patient_id", _IDS), ("date", pa.date32()), ("code", _IDS)])
MAPPED_EVENTS = pa.schema([("patient_id", _IDS), ("date", pa.date32()), ("concept", _IDS)])
# `kind` is 'events' or 'patients'. `patient_hash` is there so that the lines of a patient who withdraws can be removed; it is null
# when the line has no patient id.
QUARANTINE = pa.schema(
    [
        ("kind", pa.string()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("reason", pa.string()),
        ("patient_hash", pa.uint64()),
    ]
)
SPLIT = pa.schema([("patient_id", pa.string()), ("side", pa.string())])
TASK_LABELS = pa.schema(
    [
        ("task", pa.int16()),
        ("patient_id", _IDS),
        ("row", pa.int32()),
        ("side", pa.dictionary(pa.int8(), pa.string())),
        ("index_date", pa.date32()),
        ("history_from", pa.date32()),
        ("history_until", pa.date32()),
        ("prediction_date", pa.date32()),
        ("window_from", pa.date32()),
        ("window_until", pa.date32()),
        ("label", pa.bool_()),
        ("ended", pa.dictionary(pa.int8(), pa.string())),
        ("followed_days", pa.int32()),
        ("had_before", pa.bool_()),
    ]
)
"""Labels of a shard of the data set, by task. `history_from` is null if the whole history is used."""
COHORT = pa.schema(
    [
        ("patient_id", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        ("disease", pa.string()),
        ("diseases", pa.list_(pa.field("item", pa.string()))),
        ("first_date", pa.date32()),
    ]
)
VOCABULARY = pa.schema(
    [
        ("token_id", pa.int64()),
        ("concept", pa.string()),
        ("name", pa.string()),
        ("semantic_types", pa.string()),
        ("untyped", pa.bool_()),
        ("events", pa.int64()),
        ("appearances", pa.int64()),
        ("patients", pa.int64()),
    ]
)
"""Columns of `vocabulary.csv`."""
CONCEPT_RELATIONS = pa.schema(
    [
        *((name, pa.string()) for name in ("concept", "name", "partner", "partner_name", "direction", "measure")),
        ("rank", pa.int64()),
        *((name, pa.float64()) for name in ("value", "low", "high", "q")),
        ("patients", pa.int64()),
        ("suppressed", pa.bool_()),
    ]
)
NEIGHBOURS = pa.schema(
    [
        ("concept", pa.string()),
        ("name", pa.string()),
        ("scope", pa.string()),
        ("rank", pa.int64()),
        ("neighbour", pa.string()),
        ("neighbour_name", pa.string()),
        ("cosine", pa.float64()),
    ]
)
"""Columns of `neighbours.csv`: neighbours of the concepts of interest."""
CATALOG = pa.schema([("extract", pa.string()), ("data_version", pa.string())])
"""Columns of the catalog of extracts, stored as JSON: data version by name."""
LISTS = pa.schema(
    [
        ("disease", pa.string()),
        ("line", pa.int64()),
        *((name, pa.string()) for name in ("code", "cui", "name", "concept")),
    ]
)
"""Columns of the cohort's concept lists; `concept` holds the concepts that a row means, separated by blanks."""
SUBSTITUTES = pa.schema(
    [
        *((name, pa.string()) for name in ("concept", "name", "substitute", "substitute_name")),
        ("same_habit_ratio", pa.float64()),
        ("context_cosine", pa.float64()),
    ]
)
"""Columns of `substitutes.csv`: pairs of concepts that count as one."""
POOLED = pa.schema([("token_id", pa.int64()), ("concept", pa.string()), ("name", pa.string())])
"""Columns of `selected_concepts.csv`, for people to read: the concepts from which patients' vectors are made."""
CHOICE = pa.schema(
    [
        ("n", pa.int64()),
        *((name, pa.float64()) for name in ("eigenvalue", "gap", "residual")),
        ("converged", pa.bool_()),
        ("agreement", pa.float64()),
        ("agreement_sd", pa.float64()),
    ]
)
"""Columns of `choice.csv`: the numbers of clusters that were tried."""
SUPPORT = pa.schema(
    [
        ("n", pa.int64()),
        *((name, pa.float64()) for name in ("halves", "weakest")),
        ("supported", pa.bool_()),
        *((name, pa.float64()) for name in ("prediction_strength", "prediction_strength_sd")),
    ]
)
"""Columns of `support.csv`: how far the halves of records agree for each number of clusters, and the prediction strength."""
COMPARISON = pa.schema(
    [
        ("method", pa.string()),
        *((name, pa.int64()) for name in ("clusters", "smallest", "largest", "unassigned")),
        *((name, pa.float64()) for name in ("agreement", "stability", "silhouette")),
    ]
)
"""Columns of `comparison.csv`: one row for each clustering method."""
MARKS = pa.schema(
    [
        *((name, pa.int32()) for name in ("cluster", "token")),
        *((name, pa.float64()) for name in ("deviate", "ln_p", "ln_q")),
        ("patients_agree", pa.bool_()),
    ]
)
"""Columns of `marks.arrow`: one row for each pair of a cluster and a concept tested, cluster after cluster."""
TRANSITIONS = pa.schema(
    [
        ("step", pa.string()),
        *((name, pa.int64()) for name in ("from_cluster", "to_cluster", "patients", "patients_back")),
        *((name, pa.float64()) for name in ("expected", "expected_back", "ln_p")),
    ]
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
"""The columns of patients that hold dates, in addition to the birth."""

# A birth date known only to the year is set to 1 July, one known only to the month to the 15th.
_PERSON = [
    ("patient_id", pa.string()),
    ("birth_date", pa.date32()),
    ("birth_precision", pa.string()),
    ("sex", pa.string()),
]


def patients(attributes: tuple[str, ...]) -> pa.Schema:
    """Columns of a table with one row for each patient of an extract."""
    return pa.schema([*_PERSON, *_carried(attributes)])


def patient_dataset(attributes: tuple[str, ...]) -> pa.Schema:
    """Columns of a table with one row per patient of the data set: visits sorted by date, their concepts by token id."""
    return pa.schema([*_PERSON, *_carried(attributes), ("visits", VISITS)])


def _carried(attributes: tuple[str, ...]) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.date32() if name in DATED else pa.string()) for name in attributes]


def embeddings(size: int) -> pa.Schema:
    """Columns of a table with one row per embedded patient: vector, and the numbers of chunks and chosen tokens in it."""
    vector = pa.list_(pa.field("item", pa.float32()), size)
    return pa.schema([("patient_id", pa.string()), ("vector", vector), ("chunks", pa.int32()), ("tokens", pa.int32())])


def histories(who: pa.DataType, size: int) -> pa.Schema:
    """Columns of a table with one row per requested history, by patient or subject id: how much is known, and the vector of the
    history.

    `vector` is null if the history has no chosen token; `age_at_cut` (whole years) is null if the patient is not in the extract.
    """
    name = "subject_id" if pa.types.is_integer(who) else "patient_id"
    counts = [(column, pa.int32()) for column in ("tokens", "pooled_tokens", "age_at_cut")]
    vector = pa.list_(pa.field("item", pa.float32()), size)
    return pa.schema([(name, who), ("cut", pa.date32()), ("vector", vector), *counts])


def clusters(attributes: tuple[str, ...], methods: tuple[str, ...]) -> pa.Schema:
    """Columns of a table with one row per embedded patient: attributes, clusters (also by other `methods`), map position."""
    others = [(f"cluster_{method}", pa.int32()) for method in methods]
    return pa.schema(
        [
            ("patient_id", pa.string()),
            ("sex", pa.string()),
            *_carried(attributes),
            ("age", pa.int32()),
            ("mean_age", pa.float64()),
            ("concepts", pa.int32()),
            ("visits", pa.int32()),
            ("disease", pa.string()),
            ("cluster", pa.int32()),
            ("stability", pa.float32()),
            *others,
            ("x", pa.float32()),
            ("y", pa.float32()),
            ("assigned", pa.bool_()),
            ("vector_hash", pa.uint64()),
        ]
    )


def trajectories(size: int) -> pa.Schema:
    """Columns of a table with one row for each window of a patient's record with enough pooled tokens.

    A row holds the dates of the first and last visit, the number of pooled tokens, and the cluster; `support` is the share of
    neighbours that agree on the cluster; x and y are the position on the map of patients.
    """
    vector = pa.list_(pa.field("item", pa.float32()), size)
    return pa.schema(
        [
            ("patient_id", pa.string()),
            ("window", pa.int32()),
            ("first_date", pa.date32()),
            ("last_date", pa.date32()),
            ("tokens", pa.int32()),
            ("cluster", pa.int32()),
            ("support", pa.float32()),
            ("x", pa.float32()),
            ("y", pa.float32()),
            ("vector", vector),
        ]
    )


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
            f"{path}: {'; '.join(problems)}. Make the asset again (ehr-pipeline run), or copy its whole folder again from where it"
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
    """Return problems: expected columns that are missing, or have another type."""
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
