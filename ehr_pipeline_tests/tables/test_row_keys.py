import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehr_pipeline.tables import row_keys

ROW = st.tuples(
    st.integers(0, 2**row_keys.PATIENT_BITS - 1),
    st.integers(row_keys.FIRST_DAY, row_keys.LAST_DAY),
    st.integers(0, 2**row_keys.ITEM_BITS - 1),
)


@settings(deadline=None)  # the first call compiles
@given(st.lists(ROW, min_size=1, max_size=50))
def test_keys_unpack_to_their_parts_and_sort_like_rows(table: list[tuple[int, int, int]]) -> None:
    keys = row_keys.pack(*(np.array(column, np.int64) for column in zip(*table, strict=True)))
    unpacked = list(
        zip(row_keys.patients(keys).tolist(), row_keys.days(keys).tolist(), row_keys.items(keys).tolist(), strict=True)
    )
    assert unpacked == table
    ordered = row_keys.sorted_keys(keys)
    assert list(
        zip(
            row_keys.patients(ordered).tolist(),
            row_keys.days(ordered).tolist(),
            row_keys.items(ordered).tolist(),
            strict=True,
        )
    ) == sorted(table)


@pytest.mark.parametrize("together", [1, 3, row_keys.KEYS_AT_ONCE])  # with 1, no visit of several keys has room
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    visits=st.lists(st.integers(0, 2**41 - 1), max_size=5, unique=True),
    items=st.lists(st.integers(0, 2**row_keys.ITEM_BITS - 1), max_size=30),
)
def test_keys_are_sorted_within_visits(
    visits: list[int], items: list[int], together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each visit has all items, as often as they are drawn, in the order drawn."""
    monkeypatch.setattr(row_keys, "KEYS_AT_ONCE", together)
    keys = np.array([visit << row_keys.ITEM_BITS | item for visit in sorted(visits) for item in items], np.uint64)
    assert row_keys.sort_within_visits(keys.copy()).tolist() == sorted(keys.tolist())


def test_no_keys_are_sorted() -> None:
    assert row_keys.sorted_keys(np.empty(0, np.uint64)).tolist() == []
    assert row_keys.sort_within_visits(np.empty(0, np.uint64)).tolist() == []


def test_a_table_names_only_what_occurs() -> None:
    keys = row_keys.pack(np.array([2, 0]), np.array([10, 11]), np.array([1, 3]))
    table = row_keys.to_table(np.sort(keys), pa.array(["a", "b", "c"]), pa.array(["w", "x", "y", "z"]), "code")
    assert table.to_pydict()["patient_id"] == ["a", "c"]
    assert table.to_pydict()["code"] == ["z", "x"]
    assert table.column("code").chunk(0).dictionary.to_pylist() == ["x", "z"]


def test_starts_of_runs() -> None:
    assert row_keys.starts(np.array([3, 3, 4, 4, 5])).tolist() == [True, False, True, False, True]
    assert row_keys.starts(np.array([], np.uint64)).tolist() == []


@settings(deadline=None)  # the first call compiles
@given(st.lists(ROW, max_size=50), st.integers(0, 2**32))
def test_items_that_have_no_other_name_are_left_out(table: list[tuple[int, int, int]], seed: int) -> None:
    patient, day, item = (
        np.array([row[part] % 1000 if part == 2 else row[part] for row in table], np.int32) for part in range(3)
    )
    of_item = np.random.default_rng(seed).integers(-1, 5, 1000)
    stays = of_item[item] >= 0
    wanted = row_keys.pack(patient[stays], day[stays], of_item[item][stays])
    assert row_keys.translated(patient, day, item, of_item).tolist() == wanted.tolist()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.booleans()), max_size=30))
def test_visits_of_distinct_keys_begin_and_stay(table: list[tuple[int, int, int, bool]]) -> None:
    rows = sorted({row[:3] for row in table})
    stays = {row[:2]: row[3] for row in table}
    visits = list(dict.fromkeys(row[:2] for row in rows))
    if table:
        parts = (np.array(column, np.int64) for column in list(zip(*sorted(row[:3] for row in table), strict=True)))
        keys = row_keys.distinct(row_keys.pack(*parts))
    else:
        keys = row_keys.distinct(np.empty(0, np.uint64))
    begins = row_keys.visit_starts(keys)
    assert begins.tolist() == [[row[:2] for row in rows].index(visit) for visit in visits]
    kept = row_keys.keep_visits(keys, begins, np.array([stays[visit] for visit in visits], bool))
    found = zip(
        row_keys.patients(kept).tolist(), row_keys.days(kept).tolist(), row_keys.items(kept).tolist(), strict=True
    )
    assert list(found) == [row for row in rows if stays[row[:2]]]
