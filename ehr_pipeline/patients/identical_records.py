"""Find patients whose records are identical: as a rule one person under two ids, as after a change of practice or a merger.

If one of them is on the training side and the other on the test side, the encoder has seen a test patient's record, although it has
seen no test patient's id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables.compiled_loops import compiled

FEWEST_CONCEPTS = 10
"""Records with fewer concepts are not compared: two patients can have the same short record by chance."""


@dataclass(frozen=True)
class Identical:
    """Numbers of patients whose record another patient has as well."""

    patients: int
    apart: int
    """Those of them whose record is on more than one side of the split."""


def identical(dataset: Sequence[Path], sides: Sequence[NDArray[np.int8]]) -> Identical:
    """Count patients with identical records (same birth, days and concepts) of at least FEWEST_CONCEPTS concepts.

    `sides` holds the number of each patient's side, for each shard of the data set. Memory grows by nine bytes a patient.
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
    return Identical(int(times[twice].sum()), int(times[twice & (lowest < highest)].sum()))


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
    """Replace births by digests: mix in days and tokens, one after the other, much as SplitMix64 does (Steele 2014)."""
    for patient in range(len(digests)):
        begin, end = patient_start[patient], patient_start[patient + 1]
        if visit_start[end] - visit_start[begin] < FEWEST_CONCEPTS:
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
