"""Find the edges (pairs of concepts) on which independent kinds of evidence agree.

A pair of concepts qualifies if enough patients have both, and if, among patients similar in age, sex and number of recorded
concepts, more have both than expected by chance (at the false discovery rate in the settings). Qualified pairs are ranked by three
kinds of evidence, which err in different ways: how often both are recorded at the same visit, how often the same patient has both
(compared with similar patients), and the encoder. The three ranks are combined by reciprocal rank fusion (Cormack, Clarke &
Büttcher 2009). Axes: n concepts, m edges."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.relations import graph_comparison, names_and_ontology
from ehr_pipeline.relations.concept_selection import Chosen
from ehr_pipeline.relations.evidence import AFTER, PAIR, SIMILAR, VISIT, Evidence
from ehr_pipeline.relations.graph_comparison import Graph
from ehr_pipeline.relations.names_and_ontology import Near
from ehr_pipeline.relations.settings import RelationsSettings
from ehr_pipeline.relations.table import EDGES

SMOOTHING = 60
"""The constant of reciprocal rank fusion, as in the cited paper."""
KINDS = (VISIT, SIMILAR, PAIR)


@dataclass(frozen=True)
class Consensus:
    """The edges, their order, and the communities that they form."""

    graph: Graph
    """All pairs that qualify."""
    qualified: NDArray[np.bool_]
    """Pairs that qualify (n, n)."""
    first: NDArray[np.int64]
    """For each edge (m,): 1 if its first concept comes before the second, -1 if after it, 0 if the order is not certain."""
    only_in_order: NDArray[np.int64]
    """Pairs (k, 2) that do not qualify, but whose second concept follows the first; the largest relative risk first."""


def qualified(evidence: Evidence, settings: RelationsSettings) -> NDArray[np.bool_]:
    """Return flags (n, n) of the pairs that qualify: enough patients have both concepts, and more than by chance among similar
    patients, by the test and by the interval of the odds ratio."""
    alike = evidence[SIMILAR]
    assert alike.q is not None
    assert alike.low is not None
    flags: NDArray[np.bool_] = (
        (alike.low > 1) & (alike.q <= settings.max_q) & (alike.patients >= settings.fewest_patients)
    )
    return flags


def comes_first(evidence: Evidence, settings: RelationsSettings) -> NDArray[np.bool_]:
    """Return flags (n, n) of the pairs whose first concept (the row's) comes before the second."""
    risk = evidence[AFTER]
    assert risk.low is not None
    enough = risk.patients >= settings.fewest_patients
    flags: NDArray[np.bool_] = (evidence.direction_q <= settings.max_q) & (risk.low > 1) & enough
    return flags


def only_in_order(
    evidence: Evidence, among: NDArray[np.bool_], ordered: NDArray[np.bool_], settings: RelationsSettings
) -> NDArray[np.int64]:
    """Return the `ordered` pairs (k, 2) that do not qualify (are not `among` those that do), and whose relative risk passes its
    test, too. If nearly all patients have both concepts at some time, only the order can show that they are related."""
    risk = evidence[AFTER]
    assert risk.q is not None
    first, second = np.nonzero(ordered & ~among & (risk.q <= settings.max_q))
    order = np.argsort(-risk.rank_by[first, second], kind="stable")
    return np.stack([first[order], second[order]], axis=1).astype(np.int64)


def fused(tables: list[NDArray[Any]], among: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Combine the ranks of symmetric weights (n, n), counted over the pairs flagged in `among` (n, n); -inf for all other pairs,
    and on the diagonal."""
    rows, columns = np.triu_indices(len(among), 1)
    kept = among[rows, columns]
    rows, columns = rows[kept], columns[kept]
    score = np.zeros(len(rows))
    for table in tables:
        values = np.nan_to_num(table[rows, columns].astype(np.float64), nan=-np.inf)
        order = np.argsort(-values, kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(1, len(order) + 1)
        score += 1 / (SMOOTHING + rank)
    ranks = np.full(among.shape, -np.inf)
    ranks[rows, columns] = ranks[columns, rows] = score
    return ranks


def agree(evidence: Evidence, settings: RelationsSettings, seed: int, kinds: tuple[str, ...] = KINDS) -> Consensus:
    """Find the consensus edges: all pairs that qualify, the best first. Without an encoder, pass as `kinds` only the kinds of
    evidence from counts."""
    among = qualified(evidence, settings)
    weights = fused([evidence[kind].weights for kind in kinds], among)
    graph = Graph("consensus", weights, None, seed)
    one, other = graph.edges.T
    ordered = comes_first(evidence, settings)
    first = ordered[one, other].astype(np.int64) - ordered[other, one]
    return Consensus(graph, among, first, only_in_order(evidence, among, ordered, settings))


def edges_with_evidence(consensus: Consensus, evidence: Evidence, chosen: Chosen, others: list[Graph]) -> pa.Table:
    """Return the table of edges with the evidence for each; its columns are `EDGES`."""
    return _with_evidence((consensus.graph.edges, consensus.first), consensus, evidence, chosen, others)


def orders_with_evidence(consensus: Consensus, evidence: Evidence, chosen: Chosen) -> pa.Table:
    """Return the table of the pairs that are only in order, without scores; its columns are `EDGES`."""
    pairs = consensus.only_in_order
    return _with_evidence((pairs, np.ones(len(pairs), np.int64)), consensus, evidence, chosen, [])


def _with_evidence(
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    consensus: Consensus,
    evidence: Evidence,
    chosen: Chosen,
    others: list[Graph],
) -> pa.Table:
    (edges, first), concepts = pairs, chosen.concepts
    one, other = edges.T
    alike, risk, community = evidence[SIMILAR], evidence[AFTER], consensus.graph.communities
    forward = np.where(first != 0, first > 0, _likelier(evidence, edges))
    score = consensus.graph.weights[one, other]
    i, j = np.where(forward, one, other), np.where(forward, other, one)
    heavy = {graph.name: {tuple(edge) for edge in graph.edges.tolist()} for graph in others}
    in_graphs = [" ".join(name for name, some in heavy.items() if tuple(edge) in some) for edge in edges.tolist()]
    named = {
        f"{side}{suffix}": [getattr(concepts[place], field) for place in places]
        for side, places in (("first", one), ("second", other))
        for suffix, field in (("", "concept"), ("_name", "name"))
    }
    words = {1: "first", -1: "second", 0: ""}
    values = named | {
        "rank": np.arange(1, len(edges) + 1),
        "score": np.where(np.isfinite(score), score, np.nan),
        "graphs": in_graphs,
        "patients": alike.patients[one, other],
        "patients_in_a_visit": evidence[VISIT].patients[one, other],
        "patients_of_first": evidence.patients[one],
        "patients_of_second": evidence.patients[other],
        "first_then_second": risk.patients[one, other],
        "second_then_first": risk.patients[other, one],
        "after_others": evidence.after_others[i, j],
        **{f"odds_ratio{suffix}": part[one, other] for suffix, part in _parts(alike)},
        "odds_ratio_q": alike.q[one, other] if alike.q is not None else np.full(len(edges), np.nan),
        "comes_first": [words[side] for side in first.tolist()],
        **{f"relative_risk{suffix}": part[i, j] for suffix, part in _parts(risk)},
        "direction_q": evidence.direction_q[i, j],
        "community_of_first": community[one],
        "community_of_second": community[other],
    }
    return pa.table({field.name: pa.array(values[field.name]).cast(field.type) for field in EDGES}, EDGES)


def _likelier(evidence: Evidence, edges: NDArray[np.int64]) -> NDArray[np.bool_]:
    one, other = edges.T
    likelier: NDArray[np.bool_] = np.nan_to_num(evidence.comes_first.deviate[one, other]) >= 0
    return likelier


def _parts(measure: Any) -> list[tuple[str, NDArray[Any]]]:
    return [("", measure.value), ("_low", measure.low), ("_high", measure.high)]


def compared(
    graphs_: list[Graph], group: NDArray[np.int64], known: NDArray[np.int64], near: Near | None = None
) -> dict[str, Any]:
    """Describe each graph; compare every two graphs, and each with the `known` pairs (m, 2) and an ontology, if there are any."""
    described = {graph.name: graph_comparison.describe(graph, group) for graph in graphs_}
    if near is not None:
        for graph in graphs_:
            described[graph.name] |= names_and_ontology.new_edges(graph.edges, near)
    agreement = [
        {"one": one.name, "other": other.name} | graph_comparison.compare(one, other)
        for place, one in enumerate(graphs_)
        for other in graphs_[:place]
    ]
    content: dict[str, Any] = {"graphs": described, "agreement": agreement}
    if len(known):
        content["known"] = {
            "pairs": len(known),
            "average_precision": {
                graph.name: graph_comparison.average_precision(graph.weights, known) for graph in graphs_
            },
        }
    return content
