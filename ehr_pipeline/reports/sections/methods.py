"""How everything on the page was computed, and its limits."""

from typing import Any

from ehr_pipeline.embeddings.vectors import settings_of
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.sections import evolution, flow
from ehr_pipeline.reports.statements import marker_concepts
from ehr_pipeline.reports.statements import methods as say
from ehr_pipeline.reports.statements.statement import Statement
from ehr_pipeline.tables.asset_names import CLUSTERS, PATIENT_EMBEDDINGS


def content(findings: Findings) -> dict[str, Any]:
    """Return statements on each method that this run used."""
    inputs, rules = findings.inputs, findings.settings
    made = inputs.artifacts[PATIENT_EMBEDDINGS]
    settings, quality = settings_of(made), made.counts["quality"]
    vectors = say.vectors(
        settings,
        made.manifest["settings"]["context"],
        substitutes=bool(findings.substituted.sets),
        confirmed=confirmed(inputs),
    )
    parts: list[Statement | list[Statement] | None] = [
        say.records(),
        vectors,
        say.habits(findings.substituted.method),
        say.collapse(quality["collapse"], quality["collapse_published"]),
        say.space(quality["space"]),
        say.disease_concepts(findings.disease_concepts),
        say.ages(settings),
        say.sides(flow.sides_in_words(findings.counted)),
        say.clustering(inputs.settings[CLUSTERS]["method"]),
        say.windows(evolution.windows(findings)),
        *marker_concepts.methods(
            findings.beyond, rules.top_concepts, rules.max_p, findings.tests, is_tested=findings.is_tested
        ),
        say.split_half(),
        say.p_values(int(inputs.artifacts[CLUSTERS].manifest["settings"]["permutations"])),
        *say.intervals(),
        say.neighbours(),
        say.limits(),
        say.error_rates(),
    ]
    return {"methods": [part if isinstance(part, list) else [part] for part in parts if part]}


def confirmed(inputs: Inputs) -> bool:
    """Return whether the concept profile keeps only the directions on which the halves of the visits agree. With few patients it
    keeps all."""
    return bool(inputs.artifacts[PATIENT_EMBEDDINGS].counts.get("reliable", {}).get("directions"))
