"""Histories: nothing after the last day, nothing before the first, each patient as often as asked for."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.patients.histories import ALWAYS, cut, with_visit, without_token
from ehr_pipeline.patients.shard import Shard

Record = list[tuple[int, list[int]]]
RECORDS = st.lists(
    st.dictionaries(st.integers(-30_000, 20_000), st.lists(st.integers(5, 50), min_size=1, max_size=4), max_size=5),
    min_size=1,
    max_size=5,
)


def shard_of(records: list[Record]) -> Shard:
    """A shard of records: visits by day, each with its tokens."""
    visits = [visit for record in records for visit in record]
    tokens = [token for _, tokens in visits for token in tokens]
    starts = [0, *np.cumsum([len(tokens) for _, tokens in visits])]
    patients = [0, *np.cumsum([len(record) for record in records])]
    arrays = [np.array(each, np.int32) for each in (tokens, starts, [day for day, _ in visits], patients)]
    births = np.arange(len(records), dtype=np.int32) - 20_000
    return Shard(*arrays, births, np.arange(len(records)) % 2 == 1)


def records_of(shard: Shard) -> list[Record]:
    starts, visits = shard.patient_start.tolist(), shard.visit_start.tolist()
    tokens = [shard.tokens[a:b].tolist() for a, b in pairwise(visits)]
    days = shard.visit_day.tolist()
    return [list(zip(days[a:b], tokens[a:b], strict=True)) for a, b in pairwise(starts)]


@given(RECORDS, st.data())
@settings(deadline=None)
def test_a_history_is_the_visits_between_its_days(found: list[dict[int, list[int]]], data: st.DataObject) -> None:
    records = [sorted(record.items()) for record in found]
    days = st.one_of(st.integers(-31_000, 21_000), st.sampled_from([day for each in records for day, _ in each] or [0]))
    histories = data.draw(st.lists(st.tuples(st.integers(0, len(records) - 1), days, days), max_size=6))
    patient, first, last = (np.array([each[n] for each in histories], np.int64) for n in range(3))
    made = cut(shard_of(records), patient, first, last)
    expected = [[visit for visit in records[p] if a <= visit[0] <= b] for p, a, b in histories]
    assert records_of(made) == expected
    assert made.birth_day.tolist() == [p - 20_000 for p, _, _ in histories]
    assert made.birth_year_only.tolist() == [p % 2 == 1 for p, _, _ in histories]


@given(RECORDS, st.integers(-31_000, 21_000))
@settings(deadline=None)
def test_a_visit_stands_at_the_end_of_every_record(found: list[dict[int, list[int]]], day: int) -> None:
    records = [sorted(record.items()) for record in found]
    made = with_visit(shard_of(records), 1, np.full(len(records), day))
    assert records_of(made) == [[*record, (day, [1])] for record in records]


@given(RECORDS, st.integers(5, 8))
@settings(deadline=None)
def test_a_token_is_left_out_of_each_record(found: list[dict[int, list[int]]], first: int) -> None:
    records = [sorted(record.items()) for record in found]
    left_out = [first + place for place in range(len(records))]
    expected = [
        [(day, kept) for day, tokens in record if (kept := [each for each in tokens if each != token])]
        for record, token in zip(records, left_out, strict=True)
    ]
    assert records_of(without_token(shard_of(records), np.array(left_out))) == expected


def test_nothing_after_the_cut_changes_a_history() -> None:
    past: Record = [(10, [5, 6]), (20, [7])]
    arguments = np.array([0]), np.array([ALWAYS]), np.array([20])
    alone, followed = (cut(shard_of([record]), *arguments) for record in (past, [*past, (21, [8]), (400, [9])]))
    assert records_of(alone) == records_of(followed) == [past]
