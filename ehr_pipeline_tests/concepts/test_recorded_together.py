"""Near concepts that are recorded together are told from neighbours that are named at random."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ehr_pipeline.concepts.recorded_together import Visits, held_out, joint_visits
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT

PATIENTS, VISITS, CONCEPTS = 120, 12, 200


def visits(seed: int, pairs: NDArray[np.int64], patients: int = PATIENTS) -> Visits:
    """Visits in which concepts are recorded by frequency alone, and the two of a pair (K, 2) together in half of the cases."""
    rng = np.random.default_rng(seed)
    rate = rng.permutation(np.geomspace(0.01, 0.2, CONCEPTS))
    carried = rng.random((patients, CONCEPTS)) < 0.7
    there = (rng.random((patients, VISITS, CONCEPTS)) < rate) & carried[:, None]
    for one, other in pairs - FIRST_CONCEPT:
        there[..., other] |= there[..., one] & (rng.random((patients, VISITS)) < 0.5)
    found = np.concatenate([np.zeros((patients * VISITS, FIRST_CONCEPT)), there.reshape(-1, CONCEPTS)], axis=1)
    return Visits(csr_array(found.astype(np.int32)), np.repeat(np.arange(patients), VISITS))


def named(seed: int) -> NDArray[np.int64]:
    """Thirty concepts (K, 2), each with a neighbour that is no other's."""
    return FIRST_CONCEPT + np.random.default_rng([seed, 1]).permutation(CONCEPTS)[:60].reshape(30, 2)


def test_pairs_that_are_recorded_together_are_found_beyond_chance() -> None:
    pairs = named(0)
    found = joint_visits(visits(0, pairs), *pairs.T, seed=0)
    assert found is not None
    assert (found.patients, found.pairs) == (PATIENTS, 30)
    assert found.p == pytest.approx(1 / 401)
    assert 1.5 < found.low < found.ratio < found.high


def test_neighbours_at_random_are_no_more_than_chance() -> None:
    """In nineteen of twenty cohorts; the pairs that are recorded together are others than those that are near."""
    found = [joint_visits(visits(seed, named(seed + 500)), *named(seed).T, seed=seed) for seed in range(20)]
    assert sum(one is not None and one.p < 0.05 for one in found) <= 3
    assert np.mean([one.ratio for one in found if one]) == pytest.approx(1, abs=0.1)


def test_the_ratio_is_that_of_counts_by_hand() -> None:
    """All concepts are recorded equally often, and there are only as many as are compared: chance is their mean."""
    once = np.zeros((PATIENTS * VISITS, 26), np.int32)
    once[:300] = 1
    recorded = np.random.default_rng(6).permuted(once, axis=0)
    there = np.concatenate([np.zeros((len(recorded), FIRST_CONCEPT), np.int32), recorded], axis=1)
    of = np.repeat(np.arange(PATIENTS), VISITS)
    found = joint_visits(Visits(csr_array(there), of), *np.array([[FIRST_CONCEPT], [FIRST_CONCEPT + 1]]), seed=0)
    both = recorded.T @ recorded
    assert found is not None
    assert found.ratio == pytest.approx(both[0, 1] / both[0, 2:].mean())


def test_too_little_is_not_told() -> None:
    pairs = named(0)
    assert joint_visits(visits(0, pairs, patients=49), *pairs.T, seed=0) is None
    assert joint_visits(visits(0, pairs), *pairs[:0].T, seed=0) is None
    rare = visits(0, pairs)
    rare.concepts.data[:] = 0
    assert joint_visits(rare, *pairs.T, seed=0) is None


def test_visits_are_those_of_patients_from_whom_nothing_was_learned(tiny: Pipeline) -> None:
    data, sides = (
        tiny.store.current("patient_dataset").files("patients"),
        tiny.store.current("data_split").files("split"),
    )
    found = held_out(zip(data, sides, strict=True), 10_000)
    expected: list[list[int]] = []
    for path, of in zip(data, sides, strict=True):
        shard = Shard.read(Path(path))
        for row, side in enumerate(schemas.read(of, ["side"]).column("side").to_pylist()):
            if side != "train":
                starts = shard.visit_start[shard.patient_start[row] : shard.patient_start[row + 1] + 1]
                expected += [sorted(shard.tokens[a:b].tolist()) for a, b in pairwise(starts)]
    rows = [sorted(found.concepts[[row]].indices.tolist()) for row in range(found.concepts.shape[0])]
    assert rows == expected
    assert found.patients == tiny.store.current("data_split").counts["validation"]
