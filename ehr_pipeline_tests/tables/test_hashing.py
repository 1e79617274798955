import numpy as np
import polars as pl

from ehr_pipeline.tables.hashing import bucket_of

IDS = pl.Series([*(str(n) for n in range(100_000, 103_000)), *(f"p-{n}" for n in range(1000)), "ü", "007", "7"])


def test_buckets_never_change() -> None:
    """Known values: another hash would scatter a patient's records over the buckets of older extracts."""
    known = pl.Series(
        ["1", "7", "007", "123456789012345678", "9223372036854775807", "c791450e-f494-4776-a4c8-3066efb64872"]
    )
    assert bucket_of(known, 4096).tolist() == [2320, 1596, 605, 1772, 945, 1667]
    texts = pl.Series(["left out", "", "é" * 50, "x" * 200])
    assert bucket_of(texts.slice(1), 4096).tolist() == [3128, 3708, 704], "of any length, and from anywhere in a column"


def test_a_smaller_number_of_buckets_joins_those_of_a_larger_one() -> None:
    assert np.array_equal(bucket_of(IDS, 64) >> 2, bucket_of(IDS, 16))
    assert bucket_of(IDS, 1).tolist() == [0] * len(IDS)


def test_buckets_are_of_even_size() -> None:
    sizes = np.bincount(bucket_of(IDS, 16), minlength=16)
    assert sizes.min() > 0.8 * sizes.mean()
    assert sizes.max() < 1.2 * sizes.mean()


def test_ids_are_texts_and_not_numbers() -> None:
    assert bucket_of(pl.Series(["7"]), 4096)[0] != bucket_of(pl.Series(["007"]), 4096)[0]
