"""Count how often each concept or code occurs, in events, visits (patient and day) and patients: within one bucket, and over all
buckets."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.tables import row_keys, schemas
from ehr_pipeline.tables.compiled_loops import compiled
from ehr_pipeline.tables.row_keys import DAY_BITS, ITEM_BITS

ROWS_AT_ONCE = 1 << 20  # rows added up at once, so that memory does not grow with the number of buckets


def count_concepts(keys: row_keys.Keys, concepts: pa.Array) -> pa.Table:
    """Count the concepts that occur. Columns: concept; and (int64) events, appearances (visits with the concept) and patients.

    `keys` (n,) are sorted events, whose items are indices into `concepts`.
    """
    counts = np.zeros((len(concepts), 4), np.int32)  # no bucket has 2**31 events; half the size stays in the cache
    counts[:, 3] = -1
    _add_concepts(keys, counts)
    occur = np.flatnonzero(counts[:, 0])
    columns = dict(zip(("events", "appearances", "patients"), counts[occur, :3].T.astype(np.int64), strict=True))
    return pa.table({"concept": concepts.take(pa.array(occur)), **columns})


def count_codes(patient: NDArray[np.int32], code: NDArray[np.int32], size: int) -> NDArray[np.int64]:
    """Count events and patients (2, size) by code. The events (n,) are grouped by patient; codes are below `size`.

    Each patient is in exactly one bucket, so the numbers of patients in all buckets can be added up.
    """
    counts = np.zeros((size, 3), np.int32)
    counts[:, 2] = -1
    _add_codes(patient, code, counts)
    return counts[:, :2].T.astype(np.int64)


@compiled
def _add_codes(patient: NDArray[np.int32], code: NDArray[np.int32], counts: NDArray[np.int32]) -> None:
    """Add up the events and patients of each code (codes, 3). The third column is the last patient seen with the code."""
    for place in range(len(patient)):
        item, owner = code[place], patient[place]
        counts[item, 0] += 1
        counts[item, 1] += counts[item, 2] != owner
        counts[item, 2] = owner


@compiled
def _add_concepts(keys: row_keys.Keys, counts: NDArray[np.int32]) -> None:
    """Count events, visits and patients by concept, from sorted events (n,) that may contain repeats.

    Adds to `counts` (concepts, 4); its last column is the last patient seen with the concept.
    """
    before = np.int64(-1)
    for each in keys:
        key = np.int64(each)
        patient, item = key >> (DAY_BITS + ITEM_BITS), key & (2**ITEM_BITS - 1)
        counts[item, 0] += 1
        counts[item, 1] += key != before
        before = key
        counts[item, 2] += counts[item, 3] != patient
        counts[item, 3] = patient


def sum_buckets(paths: list[Path], column: str) -> pl.DataFrame:
    """Sum the tables of all buckets by the column `column`; the result is sorted by that column."""
    parts: list[pa.Table] = []
    for path in paths:
        parts.append(schemas.read(path))
        if path == paths[-1] or sum(part.num_rows for part in parts[1:]) > ROWS_AT_ONCE:
            parts = [_sum(pa.concat_tables(parts).combine_chunks(), column)]
    return pl.DataFrame(parts[0]).sort(column)


def _sum(table: pa.Table, column: str) -> pa.Table:
    """Add up the rows with the same text in the column `column`."""
    texts = table.column(column).combine_chunks().dictionary_encode()
    sums = {column: texts.dictionary}
    for name in table.column_names:
        if name != column:
            sums[name] = np.zeros(len(texts.dictionary), np.int64)
            np.add.at(sums[name], texts.indices.to_numpy(), table.column(name).to_numpy())
    return pa.table(sums)
