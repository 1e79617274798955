"""Find patients with identical records: usually one person with two ids, for example after a change of practice.

If one is in the training set and the other in the test set, the encoder has seen the record of a test patient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables.compiled_loops import compiled

MIN_CONCEPTS = 10
"""Records with fewer concepts are not compared: two patients can have the same short record by chance."""


@dataclass(frozen=True)
class IdenticalRecords:
    """Numbers of patients with the same record as another patient."""

    patients: int
    across: int
    """Those of them with a record that occurs in more than one set of the split."""


def count_identical(dataset: Sequence[Path], sides: Sequence[NDArray[np.int8]]) -> IdenticalRecords:
    """Count patients with identical records (same birth, days and concepts) of at least FEWEST_CONCEPTS concepts.

    `sides` has, per shard of the data set, the number of each patient's set. Memory: nine bytes per patient.
    """
    parts = [record_digests(Shard.read(path)) for path in dataset]
    digests = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    compared = digests > 0
    side = np.concatenate(sides)[compared] if parts else np.zeros(0, np.int8)
    _, place, times = np.unique(digests[compared], return_inverse=True, return_counts=True)
    lowest, highest = np.full(len(times), 127, np.int8), np.full(len(times), -1, np.int8)
    np.minimum.at(lowest, place, side)
    np.maximum.at(highest, place, side)
    twice = times > 1
    return IdenticalRecords(int(times[twice].sum()), int(times[twice & (lowest < highest)].sum()))


def record_digests(shard: Shard) -> NDArray[np.uint64]:
    """Return a digest of each patient's record; 0 for a record with fewer than FEWEST_CONCEPTS concepts."""
    digests = shard.birth_day.astype(np.uint64)
    _digest(shard.tokens, shard.visit_start, shard.visit_day, shard.patient_start, digests)
    return digests


@compiled
def _digest(
    tokens: NDArray[np.int32],
    visit_start: NDArray[np.int32],
    visit_day: NDArray[np.int32],
    patient_start: NDArray[np.int32],
    digests: NDArray[np.uint64],
) -> None:
    """Replace births by digests: mix in days and tokens in turn, much as SplitMix64 does (Steele 2014)."""
    for patient in range(len(digests)):
        begin, end = patient_start[patient], patient_start[patient + 1]
        if visit_start[end] - visit_start[begin] < MIN_CONCEPTS:
            digests[patient] = np.uint64(0)
            continue
        value = digests[patient]
        for visit in range(begin, end):
            for place in range(visit_start[visit] - 1, visit_start[visit + 1]):
                word = (
                    np.uint64(tokens[place]) if place >= visit_start[visit] else np.uint64(visit_day[visit] + 1_000_000)
                )
                value = (value ^ word) * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(0x9E3779B97F4A7C15)
                value = value ^ (value >> np.uint64(29))
        digests[patient] = max(value, np.uint64(1))
