"""Which diseases occur together: partners of each disease of interest, the network, and a comparison of the ways to find pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ehr_pipeline.drawing import network
from ehr_pipeline.relations import table
from ehr_pipeline.reports import disease_partners
from ehr_pipeline.reports.disease_partners import Partner
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import embedded
from ehr_pipeline.reports.statements import relations as say
from ehr_pipeline.reports.statements.statement import Statement
from ehr_pipeline.tables.asset_names import CONCEPT_RELATIONS

MOST_DISEASES, MOST_PARTNERS, MOST_EDGES, MOST_ORDERS = 40, 8, 80, 40
"""Most diseases that the page lists, most partners of each disease, most edges that it draws, and most pairs that are only in order
that it lists."""


def content(findings: Findings) -> dict[str, Any]:
    """Return the partners of each disease, the pictures, and the table of graphs."""
    artifact, disclosure = findings.inputs.artifacts[CONCEPT_RELATIONS], findings.disclosure
    settings, whole = artifact.manifest["settings"], int(artifact.counts["patients"])
    naming = findings.inputs.naming(disclosure.below)
    rows, in_order = (
        disease_partners.shown_edges(read(artifact.path), findings.named, naming, whole)
        for read in (table.read_consensus, table.read_orders)
    )
    names = {row[side]: row[f"{side}_name"] for row in rows for side in ("first", "second")}
    interest = _interest(findings, names)
    listed = [_partners(one, rows, findings, whole) for one in interest[:MOST_DISEASES]]
    compared = table.read_graphs(artifact.path)
    drawn = rows[:MOST_EDGES]
    ordered = any(partner.order for one in listed for partner in one.partners)
    max_q, concepts = settings["max_q"], int(artifact.counts["kept"])
    within = artifact.counts[table.PRACTICES] > 0
    notes = [
        *([say.order(settings["after_days"], max_q, concepts)] if ordered else []),
        say.doubts(ordered, within=within),
    ]
    return {
        "lead": [
            *(
                [say.rule(max_q, max(settings["fewest_patients"], disclosure.below), concepts, within=within)]
                if compared["graphs"]
                else []
            ),
            say.number(len(rows), concepts, sum(bool(row["comes_first"]) for row in rows)),
            *([few] if (few := say.few_concepts(int(artifact.counts["rows_in"]))) and compared["graphs"] else []),
            *([say.in_order(len(in_order))] if in_order else []),
            *([say.population(disclosure.about(whole))] if rows or in_order else []),
        ],
        "listed": [(names[one.concept], one.partners, one.more) for one in listed],
        "ordered": ordered,
        "notes": notes if listed else [],
        "without": say.hidden_partners(
            len(_of_interest(findings) - {*interest}), max(len(interest) - MOST_DISEASES, 0)
        ),
        "find": say.FIND,
        "network": _network(drawn, findings) if rows else "",
        "matrix": _matrix(drawn, findings) if rows else "",
        "legend": say.legend(len(drawn), len(rows), ordered=any(row["comes_first"] for row in drawn)),
        **_only_in_order(in_order, findings, whole),
        **_compared(compared, disclosure.below),
    }


@dataclass(frozen=True)
class _Listed:
    """A concept of the table."""

    concept: str
    partners: list[Partner]
    more: Statement | None
    """How many further partners it has."""


def _partners(concept: str, rows: Sequence[Mapping[str, Any]], findings: Findings, whole: int) -> _Listed:
    found = disease_partners.partners(concept, rows, findings.disclosure, whole)
    shown = _with_same_disease(concept, found[:MOST_PARTNERS], findings)
    return _Listed(concept, shown, say.further_partners(len(found) - len(shown)))


def _only_in_order(rows: Sequence[Mapping[str, Any]], findings: Findings, whole: int) -> dict[str, Any]:
    """Return the pairs that do not go together but of which one concept follows the other, each as its first concept and the later
    one as a partner; and the sentences about them. Pairs with a concept on the lists of the cohort's diseases, or all if there are
    none."""
    artifact, disclosure = findings.inputs.artifacts[CONCEPT_RELATIONS], findings.disclosure
    own = findings.disease_concepts.listed if findings.disease_concepts else frozenset[str]()
    rows = [row for row in rows if {row["first"], row["second"]} & own] or rows
    pairs = [
        (row["first_name"], *disease_partners.partners(row["first"], [row], disclosure, whole))
        for row in rows[:MOST_ORDERS]
    ]
    settings, concepts = artifact.manifest["settings"], int(artifact.counts["kept"])
    said = [
        say.only_in_order(settings["max_q"], len(rows) - len(pairs)),
        say.order(settings["after_days"], settings["max_q"], concepts),
        say.doubts(ordered=False, within=artifact.counts[table.PRACTICES] > 0),
    ]
    return {"orders": pairs, "orders_are": said if pairs else []}


def _with_same_disease(concept: str, found: Sequence[Partner], findings: Findings) -> list[Partner]:
    """Return the partners of a concept; those on the list of the same disease are marked."""
    own = findings.disease_concepts
    return [
        replace(one, name=say.same_disease(one.name)) if own and own.same(concept, one.concept) else one
        for one in found
    ]


def _interest(findings: Findings, names: Mapping[str, str]) -> list[str]:
    """Return the concepts with partners, in order: those on the lists of the cohort's diseases, or all if there are none on the
    lists."""
    own = findings.disease_concepts.listed if findings.disease_concepts else frozenset(names)
    return [concept for concept in names if concept in own] or list(names)


def _of_interest(findings: Findings) -> frozenset[str]:
    """Return the concepts on the lists of the cohort's diseases that may be named."""
    own = findings.disease_concepts
    return own.listed & findings.named if own else frozenset()


def _numbered(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], Any, Any]:
    """Return names of the concepts of some edges, the edges (m, 2) as indices of these concepts, and the community of each
    concept."""
    concepts = list(dict.fromkeys(row[side] for row in rows for side in ("first", "second")))
    named = {row[side]: row[f"{side}_name"] for row in rows for side in ("first", "second")}
    community = {row[side]: row[f"community_of_{side}"] for row in rows for side in ("first", "second")}
    edges = np.array([[concepts.index(row["first"]), concepts.index(row["second"])] for row in rows], np.int64)
    return [named[one] for one in concepts], edges, np.array([community[one] for one in concepts], np.int64)


def _network(rows: Sequence[Mapping[str, Any]], findings: Findings) -> str:
    names, edges, group = _numbered(rows)
    arrow = {"first": 1, "second": -1, "": 0}
    texts = [
        f"{row['first_name']} – {row['second_name']}: {findings.disclosure.about(row['patients'])} patients with both"
        for row in rows
    ]
    arrows = np.array([arrow[row["comes_first"]] for row in rows], np.int64)
    return network.svg(names, edges, texts, arrows=arrows, group=group, seed=findings.inputs.seed)


def _matrix(rows: Sequence[Mapping[str, Any]], findings: Findings) -> str:
    names, edges, group = _numbered(rows)
    weights = np.zeros((len(names), len(names)))
    heavy = len(rows) - np.arange(len(rows))  # the rank, not a ratio: a colour would be a figure that is not rounded
    weights[edges[:, 0], edges[:, 1]] = weights[edges[:, 1], edges[:, 0]] = heavy
    path = findings.pictures / "relations.svg"
    network.matrix(path, names, weights, group)
    return embedded(path)


def _compared(compared: Mapping[str, Any], fewest: int) -> dict[str, Any]:
    """Return the table of graphs, its head, and the sentences about it; nothing if there is no graph.

    With fewer known pairs than `fewest`, no precision is shown, because the precision for a single pair would reveal its rank.
    """
    if not compared["graphs"]:
        return {"graphs": [], "head": [], "graphs_are": ""}
    new = any("new_to_ontology" in found for found in compared["graphs"].values())
    known = compared.get("known", {"pairs": 0, "average_precision": {}})
    precision = known["average_precision"] if known["pairs"] >= max(fewest, 1) else {}
    said = say.graphs(compared["graphs"]["random"]["edges"], new, known["pairs"] if precision else 0)
    head = [
        "In the consensus",
        "Hubs",
        "Outside",
        "Modularity",
        *(["New"] if new else []),
        *(["Known"] if precision else []),
    ]
    return {"graphs": _graphs(compared, new, precision), "head": head, "graphs_are": said}


def _graphs(compared: Mapping[str, Any], new: bool, precision: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Return rows of the table of graphs: name, edges in the consensus, hubs, partners outside, modularity, new edges, known
    pairs."""
    with_consensus = {row["one"]: row["edges"] for row in compared["agreement"] if row["other"] == "consensus"}
    return [
        (
            say.NAMES.get(name, name),
            f"{with_consensus[name]:.2f}" if name in with_consensus else "",
            *(f"{found[part]:.2f}" for part in ("hubness", "partners_outside_group", "modularity")),
            *([f"{found['new_to_ontology']:.2f}" if found["edges_in_ontology"] else ""] if new else []),
            *([f"{precision[name]:.2f}"] if precision else []),
        )
        for name, found in compared["graphs"].items()
    ]
