"""Pairs, and orders, of too few patients are not among the edges, however strong their evidence is."""

import numpy as np

from ehr_pipeline.relations import consensus
from ehr_pipeline.relations.evidence import AFTER, PAIR, SIMILAR, VISIT, Evidence, Measure
from ehr_pipeline.relations.measures import Direction
from ehr_pipeline.relations.settings import RelationsSettings

SETTINGS = RelationsSettings()


def evidence(both: int, followed: int) -> Evidence:
    """Two concepts that go together, the first before the second, without doubt but for the number of patients."""
    value, sure = np.full((2, 2), 9, np.float32), np.zeros((2, 2), np.float32)
    order = np.array([[np.nan, 9.0], [-9.0, np.nan]])
    people = np.full((2, 2), both, np.int32)
    of = {VISIT: people, SIMILAR: people, PAIR: people, AFTER: np.full((2, 2), followed, np.int32)}
    measures = tuple(Measure(name, value, many, low=value, high=value, q=sure) for name, many in of.items())
    first = np.where(order > 0, 0, 1).astype(np.float32)
    return Evidence(measures, Direction(order, first), first, np.full(2, 500), np.full((2, 2), 99, np.int32))


def test_a_pair_needs_enough_patients_with_both() -> None:
    least = SETTINGS.fewest_patients
    for both in (least - 1, least):
        found = consensus.agree(evidence(both, 99), SETTINGS, 1)
        assert found.graph.edges.tolist() == [[0, 1]] * (both >= least)


def test_an_order_needs_enough_patients_who_had_them_in_it() -> None:
    least = SETTINGS.fewest_patients
    for followed in (least - 1, least):
        found = consensus.agree(evidence(99, followed), SETTINGS, 1)
        assert found.first.tolist() == [int(followed >= least)]


def test_without_an_encoder_the_kinds_of_counts_make_the_edges() -> None:
    whole = evidence(99, 99)
    counts = Evidence(
        tuple(measure for measure in whole.measures if measure.name != PAIR),
        whole.comes_first,
        whole.direction_q,
        whole.patients,
        whole.after_others,
    )
    assert consensus.agree(counts, SETTINGS, 1, (VISIT, SIMILAR)).graph.edges.tolist() == [[0, 1]]
