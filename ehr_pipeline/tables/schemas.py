"""Columns at every boundary between stages, and the one check that enforces them.

Ids and codes are strings at every border. In large tables they are dictionary-encoded, so that a row costs twelve bytes.
"""

from pathlib import Path

import pyarrow as pa

_IDS = pa.dictionary(pa.int32(), pa.string())

RAW_EVENTS = pa.schema([("patient_id", _IDS), ("date", pa.date32()), ("code", _IDS)])
MAPPED_EVENTS = pa.schema([("patient_id", _IDS), ("date", pa.date32()), ("concept", _IDS)])
# `kind` is 'events' or 'patients'. The hash of the patient, null where the line does not tell one, is there so that the lines of
# a patient who withdraws can be removed.
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
"""Of `vocabulary.csv`."""
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
"""Of the neighbours of the concepts of interest, `neighbours.csv`."""
CATALOG = pa.schema([("extract", pa.string()), ("data_version", pa.string())])
"""Of the extracts, in JSON: data version by name."""
VISITS = pa.list_(
    pa.field("item", pa.struct([("date", pa.date32()), ("concepts", pa.list_(pa.field("item", pa.int32())))]))
)

OBSERVATION = ("observation_start", "observation_end")
"""Columns of a patient's observation window, where a source tells it; both days belong to it, null is not known."""

# Birth dates known to the year stand at 1 July, to the month at the 15th.
_PERSON = [
    ("patient_id", pa.string()),
    ("birth_date", pa.date32()),
    ("birth_precision", pa.string()),
    ("sex", pa.string()),
]


def patients(attributes: tuple[str, ...]) -> pa.Schema:
    """One row for each patient of an extract."""
    return pa.schema([*_PERSON, *_carried(attributes)])


def patient_dataset(attributes: tuple[str, ...]) -> pa.Schema:
    """One row for each patient of the data set: visits in order of date, concepts of a visit in order of token id."""
    return pa.schema([*_PERSON, *_carried(attributes), ("visits", VISITS)])


def _carried(attributes: tuple[str, ...]) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.date32() if name in OBSERVATION else pa.string()) for name in attributes]


def embeddings(size: int) -> pa.Schema:
    """One row for each embedded patient: its vector, and from how many chunks and chosen tokens it was made."""
    vector = pa.list_(pa.field("item", pa.float32()), size)
    return pa.schema([("patient_id", pa.string()), ("vector", vector), ("chunks", pa.int32()), ("tokens", pa.int32())])


def clusters(attributes: tuple[str, ...], methods: tuple[str, ...]) -> pa.Schema:
    """One row for each embedded patient: who it is, its cluster by its number and by other `methods`, and its place on the map."""
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
    """One row for each window of a patient's record that holds enough: days of its first and last visit, pooled tokens, cluster.

    `support` is the share of neighbours that agree on the cluster; x and y are the place on the map of patients.
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
    """Write a table as one Arrow IPC file of one batch, uncompressed, so that it can be mapped into memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.combine_chunks()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)


def read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Map a table into memory; only the columns that are asked for are touched."""
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return table.select(columns) if columns else table


def differences(path: Path, expected: pa.Schema) -> list[str]:
    """How the columns of a file differ from what they should be; empty when they do not."""
    with pa.memory_map(str(path)) as source:
        found = pa.ipc.open_file(source).schema
    problems = []
    for field in expected:
        index = found.get_field_index(field.name)
        if index < 0:
            problems.append(f"{path.name}: column {field.name} is missing")
        elif found.field(index).type != field.type:
            problems.append(
                f"{path.name}: column {field.name} is {found.field(index).type}, but should be {field.type}"
            )
    problems += [f"{path.name}: unexpected column {name}" for name in found.names if name not in expected.names]
    return problems
