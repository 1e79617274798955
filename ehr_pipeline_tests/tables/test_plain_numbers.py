import numpy as np
import polars as pl
import pytest

from ehr_pipeline.tables import plain_numbers


@pytest.mark.parametrize("text", ["1", "24079001", "999999999999999999"])
def test_plain_numbers(text: str) -> None:
    number, is_plain = plain_numbers.numbers(pl.Series([text]))
    assert is_plain.tolist() == [True]
    assert number.tolist() == [int(text)]


@pytest.mark.parametrize(
    "text", ["", "0", "007", "+5", "-5", " 5", "5 ", "1e3", "1.0", "1_000", "x", "1000000000000000000", "9" * 30, "٣"]
)
def test_other_texts_are_not_plain(text: str) -> None:
    assert plain_numbers.numbers(pl.Series([text], dtype=pl.String))[1].tolist() == [False]


def test_digits_at_every_power_of_ten() -> None:
    values = np.array([10**k + d for k in range(1, 18) for d in (-1, 0, 1)], np.int64)
    assert plain_numbers.digits(values).tolist() == [len(str(value)) for value in values.tolist()]
