"""The list of clusters, how to read their cards, and the cards."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ehr_pipeline.reports import overlap
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import embedded
from ehr_pipeline.reports.statements import clusters as say
from ehr_pipeline.reports.statements import marks, occlusion
from ehr_pipeline.reports.statements import overlap as together
from ehr_pipeline.reports.statements.statement import Statement


def content(findings: Findings) -> dict[str, Any]:
    """Return the cards (`Findings.cards`), and the list of groups with their parts."""
    cards, verdict, rules = findings.cards, findings.evidence["verdict"], findings.settings
    shown = [card for card in cards if not card["hidden"]]
    small = [card["number"] for card in cards if card["hidden"]]
    named = bool(shown) and verdict != "none"
    undivided = len(cards) == 1
    if undivided:
        shown, small, named = [], [], False
    return {
        "undivided": say.undivided() if undivided else None,
        "cards": [_with_sentences(card, verdict) | {"rests_on": _rests_on(findings, card["number"])} for card in shown],
        "is_tested": findings.is_tested,
        "no_marks": marks.nothing_marks(findings.beyond, rules.suppress_below)
        if findings.is_tested
        else marks.none_listed(rules.suppress_below, rules.max_p),
        "cloud_says": None if findings.is_tested else marks.cloud_of_the_published_ranking(),
        "small": small,
        "why_small": say.small(small, rules.suppress_below),
        "glance": list(_list_of_groups(findings, shown)) if named else [],
        "glance_explained": say.glance(rules.suppress_below),
        "guide": [
            *say.how_to_read(rules.suppress_below, findings.beyond if findings.is_tested else ""),
            *filter(None, [occlusion.explained(findings.occlusion)]),
        ],
        **_overlap(findings),
        "hidden_away": verdict == "none" and not undivided,
    }


def _overlap(findings: Findings) -> dict[str, Any]:
    """Return the picture of the patients with several diseases, with its words; no picture where none may be shown."""
    diseases = findings.cohort.table.column("diseases").to_pylist()
    found = overlap.overlap(diseases, findings.clusters.numbers, findings.disclosure)
    if found is None:
        return {"overlap": ""}
    path = findings.pictures / "diseases_by_cluster.png"
    overlap.draw(path, found)
    return {
        "overlap": embedded(path),
        "overlap_alt": together.alt(found, findings.disclosure),
        "overlap_told": together.several(found, findings.disclosure),
        "overlap_explained": together.explained(findings.disclosure),
    }


def _rests_on(findings: Findings, number: int) -> Statement | None:
    """Return what the vectors of a cluster rest on."""
    return occlusion.rests_on(
        findings.occlusion, number, findings.vocabulary, findings.disclosure, verdict=findings.evidence["verdict"]
    )


def _with_sentences(card: Mapping[str, Any], verdict: str) -> dict[str, Any]:
    """Return what a card shows."""
    return {
        "number": card["number"],
        "folded": say.folded(card) if say.is_folded(card, verdict) else None,
        "title": say.title(card, verdict),
        "facts": list(say.facts(card, verdict)),
        "cloud": card["cloud"],
        "sides": list(say.sides(card)),
        "closest": say.closest(card, verdict),
    }


def _list_of_groups(findings: Findings, shown: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the list: group after group, the parts of a group by size, the first of several with a heading."""
    sizes = dict(zip(findings.numbers.tolist(), findings.sizes.tolist(), strict=True))
    for group in findings.groups:
        cards = sorted((card for card in shown if card["number"] in group), key=lambda card: -sizes[card["number"]])
        heading = say.parts(cards, findings.beyond) if len(cards) > 1 else None
        for place, card in enumerate(cards):
            yield _at_a_glance(card) | {"heading": heading if place == 0 else None, "is_part": len(cards) > 1}


def _at_a_glance(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the list of clusters; `evidence` and `stability` with the class of their cell."""
    evidence, stability = say.evidence(card), card["stability"]["words"] if card["sureness"] else "untested"
    first: Sequence[tuple[str, str]] = card["diseases"][:1]
    return {
        "number": card["number"],
        "title": say.title(card, ""),
        "size": card["size"],
        "age": card["age"],
        "disease": say.shares(first),
        "recognised": f"{card['recognised']} ({card['by_chance']})" if card["evidence"] else card["recognised"],
        "evidence": (evidence, "over" if evidence in ("none", "too few") else ""),
        "stability": (stability, "over" if stability in say.DOUBTED else ""),
    }
