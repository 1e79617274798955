"""Measures of graphs equal networkx's; edges on which evidence agrees are those that qualify."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.relations import consensus, graph_comparison, pair_files
from ehr_pipeline.relations.graph_comparison import Graph


def weights(seed: int, n: int = 30, groups: int = 3) -> np.ndarray:
    """Symmetric weights that are larger within groups."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % groups
    found = rng.random((n, n)) + 0.8 * (group[:, None] == group)
    return np.maximum(found, found.T)


@pytest.fixture(params=[1, 2])
def graph(request: pytest.FixtureRequest) -> Graph:
    return Graph("some", weights(request.param), 90, 0)


def test_measures_equal_networkx(graph: Graph) -> None:
    theirs = nx.from_scipy_sparse_array(graph.links)
    mine = graph_comparison.describe(graph, np.arange(30) % 3)
    assert mine["edges"] == theirs.number_of_edges() == 90
    assert mine["clustering"] == pytest.approx(nx.average_clustering(theirs), rel=1e-12)
    assert mine["components"] == nx.number_connected_components(theirs)
    assert mine["largest_component"] == max(map(len, nx.connected_components(theirs)))
    parts = [set(np.flatnonzero(graph.communities == part)) for part in range(mine["communities"])]
    assert mine["modularity"] == pytest.approx(nx.community.modularity(theirs, parts, weight=None), rel=1e-12)


def test_communities_are_those_that_were_planted() -> None:
    group = np.arange(40) % 4
    weights = np.where(group[:, None] == group, 1.0, np.nan)
    weights[39] = weights[:, 39] = np.nan
    found = Graph("", weights, 4 * 45, 0).communities
    assert len(set(zip(group[:39].tolist(), found[:39].tolist(), strict=True))) == 4
    assert np.bincount(found).tolist() == [10, 10, 10, 9, 1], "the largest first; without edges, alone"
    assert Graph("", np.full((3, 3), np.nan), 9, 0).communities.tolist() == [0, 1, 2]


def test_edges_are_the_heaviest_and_never_those_without_a_weight() -> None:
    some = np.array([[9.0, 1.0, np.nan], [1.0, 9.0, 3.0], [np.nan, 3.0, 9.0]])
    assert graph_comparison.edges_of(some, 5).tolist() == [[1, 2], [0, 1]]
    assert graph_comparison.edges_of(some, 1).tolist() == [[1, 2]]


def test_rank_biased_overlap_is_the_sum_of_its_source() -> None:
    one, other = np.array([[1, 2, 3, 4]]), np.array([[2, 1, 5, 3]])
    agreement = [len(set(one[0, :d]) & set(other[0, :d])) / d for d in range(1, 5)]
    weight = [graph_comparison.PERSISTENCE**d for d in range(4)]
    assert graph_comparison.rank_biased_overlap(one, other) == pytest.approx(
        np.dot(agreement, weight) / sum(weight), rel=1e-12
    )
    assert graph_comparison.rank_biased_overlap(one, one) == pytest.approx(1)
    assert graph_comparison.rank_biased_overlap(one, one + 10) == 0


def test_hubs_and_diversity() -> None:
    assert graph_comparison.gini(np.full(7, 3)) == pytest.approx(0)
    assert graph_comparison.gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    group = np.arange(20) % 4
    within = Graph("", np.where(group[:, None] == group, 1.0, np.nan), 1000, 0)
    across = Graph("", np.where(group[:, None] != group, 1.0, np.nan), 1000, 0)
    assert graph_comparison.diversity(within, group) == (0, 0)
    assert graph_comparison.diversity(across, group) == pytest.approx((1, np.log(3) / np.log(4)))


def test_a_graph_agrees_with_itself_and_not_with_a_random_one(graph: Graph) -> None:
    random = Graph("random", weights(9, groups=1), 90, 0)
    itself, other = graph_comparison.compare(graph, graph), graph_comparison.compare(graph, random)
    assert itself == pytest.approx(dict.fromkeys(itself, 1.0))
    assert all(other[name] < 0.5 for name in other)


def test_average_precision_counts_ties_as_worst() -> None:
    known = np.array([[0, 1]])
    assert graph_comparison.average_precision(np.array([[0, 2, 1], [2, 0, 1], [1, 1, 0.0]]), known) == 1
    assert graph_comparison.average_precision(np.ones((3, 3)), known) == pytest.approx(1 / 3)


def test_ranks_are_joined_among_qualified_pairs_alone() -> None:
    one, other = weights(1), weights(2)
    among = weights(3) > 0.7
    found = consensus.fused([one, other], among)
    assert (np.isfinite(found) == (among & ~np.eye(30, dtype=bool))).all()
    rows = np.triu_indices(30, 1)
    kept = among[rows]
    rank = [1 + np.argsort(np.argsort(-table[rows][kept])) for table in (one, other)]
    np.testing.assert_allclose(found[rows][kept], sum(1 / (consensus.SMOOTHING + part) for part in rank))


def test_files_of_pairs_take_codes_and_name_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("first,second,score\n123,C02,0.5\nC03,C04,x\n")
    assert pair_files.read_pairs(str(path), "here", {"123": "C01"}) == [("C01", "C02"), ("C03", "C04")]
    with pytest.raises(InputError, match=r"here.*line 3"):
        pair_files.read_scores(str(path), "here", {})
    path.write_text("first,other\n1,2\n")
    with pytest.raises(InputError, match="the column second is missing"):
        pair_files.read_pairs(str(path), "here", {})
    with pytest.raises(InputError, match="not readable as CSV"):
        pair_files.read_pairs(str(tmp_path / "none.csv"), "here", {})
    assert pair_files.read_pairs("", "here", {}) == []
