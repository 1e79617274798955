"""All pairs that qualify are edges. Pairs, and orders, of too few patients are not, however strong their evidence is."""

from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from ehr_pipeline.relations import build, consensus, table
from ehr_pipeline.relations.concept_selection import Chosen
from ehr_pipeline.relations.evidence import AFTER, PAIR, SIMILAR, VISIT, Evidence, Measure
from ehr_pipeline.relations.measures import Direction
from ehr_pipeline.relations.pair_files import UserLists
from ehr_pipeline.relations.settings import RelationsSettings
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Concept, Vocabulary

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


def weak(odds: tuple[float, float], q: float, risk_q: float) -> Evidence:
    """The same, but with an odds ratio of 1.3 with this interval and false discovery rate, and a relative risk with such a rate."""
    value, low, high, rate, rate_of_risk = (np.full((2, 2), one, np.float32) for one in (1.3, *odds, q, risk_q))
    whole = evidence(99, 99)
    of = {measure.name: measure for measure in whole.measures}
    of[SIMILAR] = replace(of[SIMILAR], value=value, low=low, high=high, q=rate)
    of[AFTER] = replace(of[AFTER], q=rate_of_risk)
    return replace(whole, measures=tuple(of.values()))


@pytest.mark.parametrize(
    ("odds", "q", "risk_q", "edge", "only_in_order"),
    [
        ((1.01, 1.7), 0.04, 0.01, True, False),
        ((0.98, 1.7), 0.04, 0.01, False, True),
        ((1.01, 1.7), 0.06, 0.01, False, True),
        ((0.98, 1.7), 0.04, 0.06, False, False),
    ],
)
def test_an_order_is_told_of_a_pair_that_goes_together_or_as_an_order_alone(
    odds: tuple[float, float], q: float, risk_q: float, edge: bool, only_in_order: bool
) -> None:
    """In GiBleed, bleeding follows celecoxib (relative risk 2.8, 2.0 to 4.0), but all patients take such a drug: the odds ratio of
    1.3 does not pass. The pair was nowhere. And a pair could be listed although the interval of its odds ratio includes 1."""
    found = consensus.agree(weak(odds, q, risk_q), SETTINGS, 1)
    assert found.graph.edges.tolist() == [[0, 1]] * edge
    assert found.first.tolist() == [1] * edge
    assert found.only_in_order.tolist() == [[0, 1]] * only_in_order


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


def test_more_pairs_than_the_edges_of_a_compared_graph_may_qualify(tmp_path: Path) -> None:
    """Of twelve concepts that all go together, 66 pairs qualify: six of them were nowhere, because a graph had 60 edges."""
    n = 12
    value, sure, people = np.full((n, n), 9, np.float32), np.zeros((n, n), np.float32), np.full((n, n), 99, np.int32)
    no_order = np.ones((n, n), np.float32)
    measures = tuple(
        Measure(name, value, people, low=value, high=value, q=sure) for name in (VISIT, SIMILAR, PAIR, AFTER)
    )
    dense = Evidence(measures, Direction(no_order - 1, no_order), no_order, np.full(n, 500), people)
    tokens = range(FIRST_CONCEPT, FIRST_CONCEPT + n)
    concepts = tuple(Concept(token, f"C{token}", f"name {token}", (), 99, 99) for token in tokens)
    chosen = Chosen(tuple((token,) for token in tokens), Vocabulary(concepts, ""))
    counts = build._write(dense, chosen, SETTINGS, 1, tmp_path, given=UserLists(frozenset(), [], [], {}))
    assert SETTINGS.edges_per_concept * n < n * (n - 1) // 2 == counts["edges"]
    assert len(table.read_consensus(tmp_path)) == counts["edges"]
    assert nx.read_graphml(tmp_path / table.NETWORK).number_of_edges() == counts["edges"]
    graphs = table.read_graphs(tmp_path)["graphs"]
    assert table.read_orders(tmp_path) == []
    assert {name: graph["edges"] for name, graph in graphs.items()} == dict.fromkeys(graphs, 60)


def test_pairs_that_are_only_in_order_are_written_with_their_evidence(tmp_path: Path) -> None:
    tokens = FIRST_CONCEPT, FIRST_CONCEPT + 1
    concepts = tuple(Concept(token, f"C{token}", f"name {token}", (), 99, 99) for token in tokens)
    chosen = Chosen(tuple((token,) for token in tokens), Vocabulary(concepts, ""))
    given = UserLists(frozenset(), [], [], {})
    counts = build._write(weak((0.98, 1.7), 0.04, 0.01), chosen, SETTINGS, 1, tmp_path, given=given)
    assert (counts["edges"], counts["only_in_order"]) == (0, 1)
    assert table.read_consensus(tmp_path) == []
    (row,) = table.read_orders(tmp_path)
    assert (row["first_name"], row["second_name"], row["comes_first"]) == ("name 5", "name 6", "first")
    assert (row["score"], row["patients"], row["first_then_second"]) == (None, 99, 99)
    assert (row["odds_ratio_low"], row["relative_risk_low"]) == (pytest.approx(0.98), 9)
