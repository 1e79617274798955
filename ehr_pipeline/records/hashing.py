"""Which bucket a patient belongs to: a hash of our own, since a library's hash is stable only within a version."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline import plain

_FNV_OFFSET, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


def bucket_of(patient_ids: pl.Series, buckets: int) -> NDArray[np.int32]:
    """The bucket (n,) of each patient id (n,) of strings. Ids that are no plain numbers become numbers by FNV-1a: '007' is not 7.

    `buckets` is a power of two; the buckets of a smaller number are unions of those of a larger one.
    """
    numbers, numeric = plain.numbers(patient_ids)
    if not numeric.all():
        numbers = numbers.copy()
        numbers[~numeric] = _fnv1a(patient_ids.filter(pl.Series(~numeric)))
    return bucket_of_numbers(numbers, buckets)


def bucket_of_numbers(numbers: NDArray[np.integer], buckets: int) -> NDArray[np.int32]:
    """The bucket (n,) of ids (n,) that are plain numbers: the top bits of SplitMix64 (Steele 2014)."""
    if buckets == 1:
        return np.zeros(len(numbers), np.int32)
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(64 - (buckets.bit_length() - 1))).astype(np.int32)


def _fnv1a(texts: pl.Series) -> NDArray[np.uint64]:
    """FNV-1a (Fowler, Noll, Vo) over the UTF-8 bytes of each text, one byte position of all texts at a time."""
    encoded = [text.encode() for text in texts.to_list()]
    lengths = np.array([len(text) for text in encoded])
    width = int(lengths.max())
    characters = np.array(encoded, dtype=f"S{width}").view(np.uint8).reshape(len(encoded), width).astype(np.uint64)
    digest = np.full(len(encoded), _FNV_OFFSET, np.uint64)
    with np.errstate(over="ignore"):
        for position in range(width):
            step = (digest ^ characters[:, position]) * _FNV_PRIME
            digest = np.where(position < lengths, step, digest)
    return digest
