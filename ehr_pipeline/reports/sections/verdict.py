"""The first screen: the verdict, four figures, the map of patients, and the list of groups."""

from collections.abc import Iterator
from typing import Any

from ehr_pipeline.disclosure.suppression import OTHERS
from ehr_pipeline.reports import bias_audit, map_svg, maps, pictures
from ehr_pipeline.reports.bias_audit import Effect
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.maps import Layer
from ehr_pipeline.reports.sections import alternatives, truth
from ehr_pipeline.reports.sections.clusters import list_of_groups
from ehr_pipeline.reports.statements import clusters, occlusion, patient_map, verdict
from ehr_pipeline.reports.statements import pictures as say
from ehr_pipeline.reports.statements.short import headline
from ehr_pipeline.tables import asset_names as assets

SIZES = ("large", "medium", "small")


def content(findings: Findings) -> dict[str, Any]:
    """Return the verdict in one sentence and the reasons for it, the figures, the map with its colours, and the list."""
    mirrored = [effect.name for effect in findings.effects if bias_audit.in_banner(effect)]
    evidence, standing, fewest = findings.evidence, findings.standing, findings.settings.suppress_below
    statement = (
        verdict.banner(evidence, standing, mirrored)
        if len(findings.numbers) > 1
        else verdict.undivided(tried=alternatives.most_tried(findings))
    )
    answer, rest = statement.halves()
    groups = list_of_groups(findings)
    planted = truth.agreement(findings)
    tested = evidence["verdict"] == "differ" and evidence["traits"]["found"] is False
    return {
        "invented": verdict.invented(planted, evidence) if planted else None,
        "colour": verdict.colour(evidence, standing),
        "answer": answer,
        "rest": rest,
        "key": list(_key_figures(findings)),
        "no_map": patient_map.no_map(fewest),
        "caption": say.map_caption(fewest),
        "how_to_read": patient_map.how_to_read(fewest),
        "groups": groups,
        "choose": say.choose(len(groups)),
        "relation": verdict.relation(evidence["verdict"], len(groups), tested=tested) if groups else None,
        "how_sure": clusters.how_sure_columns(findings.halves),
        "one_concept": occlusion.how_many_rest_on_one(findings.resting_on_one, len(findings.numbers))
        if groups
        else None,
        **_map(findings),
    }


def _map(findings: Findings) -> dict[str, Any]:
    """Return the map and its colours, each with its key; the picture of the clusters is kept for Dagster as well."""
    layers = [layer for layer in findings.layers.values() if layer]
    by_cluster, numbers = findings.layers["cluster"], findings.numbers
    if by_cluster:
        centres = {int(numbers[label]): place for label, place in maps.centres(by_cluster.marks).items()}
        path = findings.pictures / "map_cluster.png"
        pictures.map_of_clusters(path, by_cluster.marks, centres, len(numbers))
    if not layers:
        return {"map": "", "colours": []}
    hints = [
        {number: say.map_hint(layer.title, group.name, group.share) for number, group in layer.groups.items()}
        for layer in layers
    ]
    shown = [(group.name, group.share) for number, group in layers[0].groups.items() if number != OTHERS]
    return {
        "map": map_svg.svg(layers, hints, say.map_alt(shown, len(layers))),
        "colours": [(place, layer.menu, _key(layer)) for place, layer in enumerate(layers)],
    }


def _key(layer: Layer) -> list[tuple[str, str]]:
    """Return the colours of a layer with their names. The colours of clusters are in the list of groups, so only that of `OTHERS`
    is returned."""
    if layer.name == "cluster":
        return [(group.colour, group.name) for number, group in layer.groups.items() if number == OTHERS]
    return [(group.colour, group.name) for group in layer.groups.values()]


def _key_figures(findings: Findings) -> Iterator[tuple[str, str]]:
    """Yield the key figures with their words."""
    counted = findings.counted
    yield "patients in clusters", counted.person(counted.counts[assets.CLUSTERS]["kept"])
    yield headline(findings.standing, findings.evidence["verdict"]), str(findings.standing.total)
    if (largest := _largest(findings.effects)) and len(findings.numbers) > 1:
        yield say.largest_effect([effect.name for effect in largest]), largest[0].words.capitalize()
    mapped = findings.inputs.artifacts[assets.MAPPED_EVENTS].counts
    coverage = 1 - sum(mapped["dropped"].values()) / max(mapped["rows_in"], 1)
    yield say.coverage(coverage), f"{100 * coverage:.1f} %"


def _largest(found: list[Effect]) -> list[Effect]:
    """Return the effects whose size in words is largest, of attributes other than disease; none if no effect is beyond chance. Only
    words can be compared: the measures have different scales."""
    others = [effect for effect in found if effect.attribute != "disease" and effect.words in SIZES]
    first = min((SIZES.index(effect.words) for effect in others), default=None)
    return [effect for effect in others if SIZES.index(effect.words) == first]
