"""The table of clusters and of the concepts that mark them, drawings of the clusters, how to read their cards, and the cards."""

from collections.abc import Mapping, Sequence
from typing import Any

from ehr_pipeline.drawing import plots
from ehr_pipeline.reports import charts, cluster_reliability, heat_table, several_diseases
from ehr_pipeline.reports.cards import band_name
from ehr_pipeline.reports.charts import Strip
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import embedded
from ehr_pipeline.reports.statements import audit, marker_concepts, occlusion
from ehr_pipeline.reports.statements import clusters as say
from ehr_pipeline.reports.statements import pictures as drawn
from ehr_pipeline.reports.statements import several_diseases as together
from ehr_pipeline.reports.statements.statement import Statement
from ehr_pipeline.tables import asset_names as assets

DOTS = 7
"""Concepts in each direction that the drawing of a card shows."""
KINDS = {"clear": "yes", "stable": "yes", "none": "no", "too few": "no", "unstable": "no"}
"""Classes of cells that say how sure a cluster is."""
DOUBTED = ("none", "too few", *say.DOUBTED)
"""Words of which the list of all clusters warns."""
STRIPS = {"onset": "Age at the first record of a disease", "age": "Age at the last visit", "followed": "Years followed"}


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
        "cards": [
            _with_sentences(card, verdict, findings)
            | drawings(card, is_tested=findings.is_tested)
            | {"rests_on": _rests_on(findings, card["number"])}
            for card in sorted(shown, key=lambda card: say.is_folded(card, verdict))
        ],
        "find": drawn.FIND,
        "is_tested": findings.is_tested,
        "no_marks": marker_concepts.no_marks(findings.beyond, rules.suppress_below, findings.tests[0])
        if findings.is_tested
        else marker_concepts.none_listed(rules.suppress_below, rules.max_p),
        "cloud_says": None if findings.is_tested else marker_concepts.cloud_of_the_published_ranking(),
        "small": small,
        "why_small": say.small(small, rules.suppress_below),
        "glance": list_of_groups(findings),
        "several_diseases": any(card["diseases"] for card in shown),
        "heat": _heat(shown, is_tested=findings.is_tested) if named else None,
        **(side_by_side(findings, shown) if named else {"strips": ""}),
        "glance_explained": say.glance(
            rules.suppress_below,
            findings.pairs_compared,
            findings.halves,
            cluster_reliability.limits(findings.inputs.settings[assets.CLUSTERS]["unstable_below"]),
        ),
        "guide": [
            *say.how_to_read(rules.suppress_below, findings.beyond if findings.is_tested else "", findings.tests[0]),
            *filter(None, [occlusion.explained(findings.occlusion)]),
        ],
        **_overlap(findings),
        "hidden_away": verdict == "none" and not undivided,
    }


def _overlap(findings: Findings) -> dict[str, Any]:
    """Return the picture of the patients with several diseases, with its sentences; no picture if none may be shown."""
    diseases = findings.cohort.table.column("diseases").to_pylist()
    found = several_diseases.overlap(diseases, findings.clusters.numbers, findings.disclosure)
    if found is None:
        return {"overlap": ""}
    path = findings.pictures / "diseases_by_cluster.svg"
    several_diseases.draw(path, found)
    return {
        "overlap": embedded(path),
        "overlap_alt": together.alt(found, findings.disclosure),
        "overlap_told": together.several(found, findings.disclosure),
        "overlap_explained": together.explained(findings.disclosure),
    }


def _rests_on(findings: Findings, number: int) -> Statement | None:
    """Return the sentence on the concepts that a cluster's vectors rest on."""
    return occlusion.rests_on(
        findings.occlusion, number, findings.vocabulary, findings.disclosure, verdict=findings.evidence["verdict"]
    )


def _with_sentences(card: Mapping[str, Any], verdict: str, findings: Findings) -> dict[str, Any]:
    """Return a card with its sentences and drawings, for the template."""
    from_some = card["number"] in findings.of_some_practices
    return {
        "number": card["number"],
        "folded": say.folded(card) if say.is_folded(card, verdict) else None,
        "title": say.title(card, verdict),
        "facts": [
            *say.facts(card, verdict),
            *([("Practices", audit.comes_from_some_practices())] if from_some else []),
        ],
        "cloud": card["cloud"],
        "cloud_alt": say.cloud_alt(card),
        "tables": say.tables(card),
        "is_sure": "yes" if cluster_reliability.usable(card) else "no",
        "sides": list(say.sides(card, is_tested=findings.is_tested)),
        "closest": say.closest(card, verdict),
    }


def list_of_groups(findings: Findings) -> list[dict[str, Any]]:
    """Return the rows of the list, group after group. The parts of a group are in order of size; if there are several, the first
    has a heading.

    The list is empty without evidence of subgroups, and for a single cluster.
    """
    shown = [card for card in findings.cards if not card["hidden"]]
    if findings.evidence["verdict"] == "none" or len(findings.cards) == 1:
        return []
    sizes = dict(zip(findings.numbers.tolist(), findings.sizes.tolist(), strict=True))
    rows = []
    for group in findings.groups:
        cards = sorted((card for card in shown if card["number"] in group), key=lambda card: -sizes[card["number"]])
        heading = say.parts(cards, findings.beyond) if len(cards) > 1 else None
        for place, card in enumerate(cards):
            more = {"heading": heading if place == 0 else None, "is_part": len(cards) > 1}
            rests = occlusion.first(
                findings.occlusion,
                card["number"],
                findings.vocabulary,
                findings.disclosure,
                verdict=findings.evidence["verdict"],
            )
            rows.append(
                _at_a_glance(card) | more | {"rests": rests or "–"} | {"colour": _colours(findings)[card["number"]]}
            )
    return rows


def _colours(findings: Findings) -> dict[int, str]:
    """Return the colour of each cluster, as on the map."""
    numbers = findings.numbers.tolist()
    return dict(zip(numbers, plots.distinct(len(numbers)), strict=True))


def drawings(card: Mapping[str, Any], *, is_tested: bool) -> dict[str, Any]:
    """Return the drawings of a card: the lift of its first concepts, and the ages of its patients."""
    rows = [*card["over"][:DOTS], *card["under"][:DOTS]]
    hints = [
        [
            drawn.pyramid_hint(sex, band_name(band), float(share))
            for sex, share in zip(charts.SEXES, shares, strict=True)
        ]
        for band, shares in enumerate(card["pyramid"].shares)
    ]
    return {
        "lifts": charts.lifts(rows, drawn.lifts_alt(card["number"], rows), list(map(drawn.lift_hint, rows)))
        if rows
        else "",
        "lifts_caption": drawn.lifts_caption(rows, len(card["over"]) + len(card["under"]), is_tested=is_tested),
        "pyramid": ""
        if card["pyramid"].is_empty
        else charts.draw_pyramid(
            card["pyramid"], drawn.pyramid_alt(card["number"], [hint for row in hints for hint in row]), hints
        ),
    }


def _heat(shown: Sequence[Mapping[str, Any]], *, is_tested: bool) -> dict[str, Any] | None:
    """Return the table of groups and concepts; None if no card has a concept."""
    rows = heat_table.table(shown)
    if not rows:
        return None
    caption = drawn.heat_caption(is_tested=is_tested)
    return {"numbers": [card["number"] for card in shown], "rows": rows, "caption": caption}


def side_by_side(findings: Findings, shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the drawing of ages and follow-up, with the table of the same figures."""
    colours = _colours(findings)
    named = [
        (f"{card['number']} {card['dominant'] or card['title']}", [card[name] for name in STRIPS]) for card in shown
    ]
    titles = STRIPS | ({"onset": "Age at the first record"} if findings.of_everybody else {})
    strips = [Strip(title, tuple(card[name] for card in shown)) for name, title in titles.items()]
    return {
        "strips": charts.strips(
            [name for name, _ in named],
            [colours[card["number"]] for card in shown],
            strips,
            drawn.strips_alt(list(titles.values()), named),
        ),
        "strips_caption": drawn.strips_caption(findings.known_at_start),
        "strips_heads": list(titles.values()),
        "strips_rows": [(card["number"], card["title"], texts) for card, (_, texts) in zip(shown, named, strict=True)],
    }


def _at_a_glance(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cluster's row for both lists of clusters. `sure` and `doubt` hold words, each with its figure and the cell's CSS
    class."""
    first: Sequence[tuple[str, str]] = card["diseases"][:1]
    return {
        "number": card["number"],
        "title": say.title(card, ""),
        "size": card["size"],
        "tested": f"{card['tested']} tested" if card["tested"] else "",
        "age": card["age"],
        "disease": say.shares(first),
        "recognised": f"{card['recognised']} ({card['by_chance']})" if card["evidence"] else card["recognised"],
        "sure": [(word, KINDS.get(word, ""), figure) for word, figure in say.sure(card)],
        "doubt": [(word, "over" if word in DOUBTED else "", figure) for word, figure in say.sure(card)],
    }
