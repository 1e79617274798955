"""Counts of concepts are what a few lines of plain Python count."""

from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.events.counts import count_codes, count_concepts
from ehr_pipeline.tables import row_keys


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 5)), max_size=80))
def test_counts(table: list[tuple[int, int, int]]) -> None:
    keys = np.sort(row_keys.pack(*(np.array([row[part] for row in table], np.int64) for part in range(3))))
    found = count_concepts(keys, pa.array([f"C{concept}" for concept in range(6)])).to_pylist()
    events = Counter(concept for *_, concept in table)
    appearances = Counter(concept for *_, concept in set(table))
    patients = Counter(concept for _, concept in {(patient, concept) for patient, _, concept in table})
    assert found == [
        {"concept": f"C{c}", "events": events[c], "appearances": appearances[c], "patients": patients[c]}
        for c in sorted(events)
    ]
    by_code = count_codes(row_keys.patients(keys), row_keys.items(keys), 6)
    assert by_code.tolist() == [[events[c] for c in range(6)], [patients[c] for c in range(6)]]
