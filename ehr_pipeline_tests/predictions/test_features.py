"""Features of histories, against a reference that goes through the visits one by one."""

from math import log1p

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.patients.shard import DAYS_IN_YEAR
from ehr_pipeline.predictions.features import HALF_LIFE, history_of, of_histories
from ehr_pipeline.predictions.rows import JUDGE, Rows
from ehr_pipeline_tests.patients.test_histories import Record, shard_of

SIZE, KNOWN, INDEX, FIRST = 12, 9_000, 9_001, -50_000
VISITS = st.dictionaries(
    st.integers(7_000, KNOWN), st.lists(st.integers(5, SIZE - 1), min_size=1, max_size=4, unique=True), max_size=6
)


def rows_of(count: int) -> Rows:
    """Rows with the same days for all patients."""
    days = {"index": INDEX, "first": FIRST, "last": KNOWN, "known": KNOWN, "opens": INDEX, "query_day": INDEX}
    return Rows(
        shard=np.zeros(count, np.int32),
        row=np.arange(count),
        side=np.full(count, JUDGE, np.int8),
        patient=np.arange(count, dtype=np.uint64),
        **{name: np.full(count, day) for name, day in days.items()},
        label=np.zeros(count, bool),
        weight=np.ones(count),
        prevalence=0.5,
    )


def amounts_of(record: Record) -> list[float]:
    days = [day for day, _ in record]
    of_time = [days[-1] - days[0], KNOWN - days[-1]] if days else [0, 0]
    recent = [sum(KNOWN - day < limit for day in days) for limit in (365, 30)]
    counts = [len(record), sum(len(tokens) for _, tokens in record), *of_time, *recent]
    return [*map(log1p, counts), INDEX / DAYS_IN_YEAR]


@given(st.lists(VISITS, min_size=1, max_size=4))
@settings(deadline=None)
def test_counts_recency_and_amounts_are_those_of_the_visits(found: list[dict[int, list[int]]]) -> None:
    records = [sorted(record.items()) for record in found]
    features = of_histories(shard_of(records), rows_of(len(records)), SIZE)
    for number, record in enumerate(records):
        for token in range(SIZE):
            weights = [2 ** (-(KNOWN - day) / HALF_LIFE) for day, tokens in record if token in tokens]
            cell = [part[number, token] for part in (features.counts, features.recency, features.decayed)]
            assert np.allclose(cell, [len(weights), max(weights, default=0), sum(weights)], rtol=1e-6)
        lists = np.array([5, 6])
        both = [2 ** (-(KNOWN - day) / HALF_LIFE) for day, tokens in record for token in tokens if token in lists]
        expected = [sum(both), log1p(len(both)), max(both, default=0)]
        assert np.allclose(history_of(features, lists)[number], expected, rtol=1e-6)
        assert np.allclose(features.amounts[number], amounts_of(record))
    assert np.allclose(features.age, (INDEX + 20_000 - np.arange(len(records))) / DAYS_IN_YEAR)
    assert features.latest.tolist() == [record[-1][0] if record else FIRST for record in records]
