import numpy as np
import polars as pl
import pytest

from ehr_pipeline.errors import UserError
from ehr_pipeline.records import code_numbers
from ehr_pipeline.records.code_numbers import CodeNumbers


def test_numbers_and_texts_of_one_code_are_one() -> None:
    codes = CodeNumbers()
    first = codes.from_numbers(np.array([24079001, 9014002, 24079001]))
    again = codes.from_texts(pl.Series(["9014002", "M111.", "24079001", "007"]))
    assert first.tolist() == [1, 2, 1]
    assert again.tolist() == [2, 3, 1, 4]


def test_a_code_of_another_system_is_another_code() -> None:
    codes = CodeNumbers()
    (snomed,) = codes.from_numbers(np.array([24079001]))
    (local,) = codes.from_numbers(np.array([24079001]), "med:")
    assert snomed != local
    assert codes.from_texts(pl.Series(["med:24079001"]), "med:").tolist() == [local]


def test_ranks_follow_the_order_of_texts() -> None:
    codes = CodeNumbers()
    numbers = [*codes.from_numbers(np.array([9, 10, 100])), *codes.from_texts(pl.Series(["9A", "M1"]))]
    table = codes.sorted_table()
    assert table.column("code").to_pylist() == ["10", "100", "9", "9A", "M1"]
    assert table.column("rank").to_numpy()[np.array(numbers) - 1].tolist() == [2, 0, 1, 3, 4]


def test_many_codes_that_share_slots_of_a_table_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_numbers, "MIN_SLOTS", 4)
    codes, rng = CodeNumbers(), np.random.default_rng(0)
    number_of: dict[int, int] = {}
    for size in range(1, 40):
        block = rng.integers(1, 500, size) << 40  # many begin at the same slot
        for code, number in zip(block.tolist(), codes.from_numbers(block).tolist(), strict=True):
            assert number_of.setdefault(code, number) == number
    assert sorted(number_of.values()) == list(range(1, len(number_of) + 1))


def test_too_many_codes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_numbers, "ITEM_BITS", 3)
    with pytest.raises(UserError, match="more than 8 different codes"):
        CodeNumbers().from_numbers(np.arange(1, 10))


def test_places_of_numbers_are_those_of_a_dictionary() -> None:
    """Also of numbers that are alike in their hash's lowest bits, of unusable ones, and of none."""
    random = np.random.default_rng(0)
    for size in (0, 1, 3, 100, 5000):
        known = 1 + random.choice(10**6, size, replace=False).astype(np.int64)
        usable, asked = random.random(size) < 0.7, random.integers(0, 10**6, 3000)
        expected = {number: place for place, number in enumerate(known.tolist()) if usable[place]}
        found = code_numbers.Places(known, usable).of(asked)
        assert found.tolist() == [expected.get(number, -1) for number in asked.tolist()]
