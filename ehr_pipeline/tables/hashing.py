"""Assign patients to buckets by a hash of the id. The hash is defined here, as a library's may change with its version."""

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.tables import plain_numbers
from ehr_pipeline.tables.compiled_loops import compiled

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)


def hash_of(patient_ids: pl.Series) -> NDArray[np.uint64]:
    """Return a hash (n,) of each string id (n,). Ids that are not plain numbers are hashed by FNV-1a first: '007' is not 7."""
    numbers, numeric = plain_numbers.numbers(patient_ids)
    if not numeric.all():
        numbers = numbers.copy()
        numbers[~numeric] = _fnv1a(patient_ids.filter(pl.Series(~numeric)))
    return hash_of_numbers(numbers)


def hash_of_column(patient_ids: pa.Array | pa.ChunkedArray) -> NDArray[np.uint64]:
    """Like `hash_of`, for an Arrow column."""
    return hash_of(pl.Series(patient_ids.cast(pa.string())))


def hash_of_numbers(numbers: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return the hash (n,) of ids (n,) that are plain numbers: SplitMix64 (Steele 2014)."""
    mixed = np.empty(len(numbers), np.uint64)
    _split_mix(numbers.astype(np.uint64, copy=False), mixed)
    return mixed


@compiled
def _split_mix(numbers: NDArray[np.uint64], mixed: NDArray[np.uint64]) -> None:
    for place in range(len(numbers)):
        value = numbers[place] + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed[place] = value ^ (value >> np.uint64(31))


def bucket_of(patient_ids: pl.Series, buckets: int) -> NDArray[np.int32]:
    """Return the bucket (n,) of each patient id (n,), a string.

    `buckets` is a power of two. With half as many, each bucket contains exactly the patients of two of the former.
    """
    return _top_bits(hash_of(patient_ids), buckets)


def bucket_of_numbers(numbers: NDArray[np.integer], buckets: int) -> NDArray[np.int32]:
    """Return the bucket (n,) of ids (n,) that are plain numbers."""
    return _top_bits(hash_of_numbers(numbers), buckets)


def _top_bits(hashes: NDArray[np.uint64], buckets: int) -> NDArray[np.int32]:
    if buckets == 1:
        return np.zeros(len(hashes), np.int32)
    return (hashes >> np.uint64(64 - (buckets.bit_length() - 1))).astype(np.int32)


def _fnv1a(texts: pl.Series) -> NDArray[np.uint64]:
    """Return FNV-1a (Fowler, Noll, Vo) of the UTF-8 bytes of each text."""
    column = pa.array(texts.to_arrow(), pa.large_string())
    _, offsets, values = column.buffers()
    ends = np.frombuffer(offsets, np.int64)[column.offset :][: len(column) + 1]
    digests = np.full(len(column), _FNV_OFFSET, np.uint64)
    _fnv1a_each(np.frombuffer(values or b"", np.uint8), ends, digests)
    return digests


@compiled
def _fnv1a_each(values: NDArray[np.uint8], ends: NDArray[np.int64], digests: NDArray[np.uint64]) -> None:
    """Compute the digest (n,) of each text, in place; `digests` must begin as the FNV offset basis. Text i has the bytes from
    `ends[i]` to `ends[i + 1]` of `values`."""
    for text in range(len(digests)):
        digest = digests[text]
        for place in range(ends[text], ends[text + 1]):
            digest = (digest ^ np.uint64(values[place])) * np.uint64(0x100000001B3)
        digests[text] = digest
