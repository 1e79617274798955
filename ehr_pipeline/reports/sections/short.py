"""The section "In short": who is in the clusters, how reliable that is, and what was lost."""

from typing import Any

from ehr_pipeline import __version__
from ehr_pipeline.disclosure.figures import HIDDEN
from ehr_pipeline.embeddings.vectors import settings_of
from ehr_pipeline.reports import bias_audit, cluster_reliability
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.sections import alternatives, flow
from ehr_pipeline.reports.sections.methods import confirmed
from ehr_pipeline.reports.sections.settings import changed, years
from ehr_pipeline.reports.statements import audit, occlusion, vectors
from ehr_pipeline.reports.statements import short as say
from ehr_pipeline.reports.statements.statement import Statement
from ehr_pipeline.tables import asset_names as assets
from ehr_pipeline.vocabulary.table import Vocabulary


def content(findings: Findings) -> dict[str, Any]:
    """Return who is in the clusters, how reliable that is, what may be an artefact of recording, and what was lost."""
    answers = [
        ("Who is in each cluster, and why?", _who(findings)),
        ("How certain is this?", _how_sure(findings)),
        ("What may be an artefact?", _artefacts(findings)),
        ("What was read, and is it complete?", _came_in(findings)),
        ("How many patients and events were lost, and where?", _lost(findings)),
        (
            "Which settings and versions were used, and can the result be reproduced?",
            [say.reproduction(__version__, findings.inputs.seed)],
        ),
        (
            "May this page be released?",
            [say.suppressed(findings.settings.suppress_below), say.under_terms(findings.inputs.terms)],
        ),
    ]
    how = vector_method(findings.inputs, findings.vocabulary)
    return {
        "answers": [(question, [part for part in answer if part]) for question, answer in answers],
        "lead": [*vectors.what_decides(how), vectors.learned(how), vectors.called(how)],
    }


def _sure(findings: Findings) -> list[list[int]]:
    """Return the groups that can be relied on: those of which at least one part can be relied on."""
    good = {card["number"] for card in findings.cards if cluster_reliability.usable(card)}
    return [group for group in findings.groups if good & set(group)]


def _vectors(inputs: Inputs) -> Any:
    """Return the settings of the patients' vectors."""
    return settings_of(inputs.artifacts[assets.PATIENT_EMBEDDINGS])


def _who(findings: Findings) -> list[Statement]:
    if len(findings.numbers) == 1:
        return [say.undivided()]
    made_of = _vectors(findings.inputs)
    return say.who(
        findings.cards,
        findings.evidence["verdict"],
        _sure(findings),
        made=say.why_clustered(profile=bool(made_of["profile"]), ages=bool(made_of["ages"])),
        fewest=findings.settings.suppress_below,
    )


def _how_sure(findings: Findings) -> list[Any]:
    inputs, verdict = findings.inputs, findings.evidence["verdict"]
    how_many = alternatives.how_many(inputs.artifacts[assets.CLUSTERS], len(findings.numbers), findings.halves)
    supported = alternatives.how_supported(findings)
    if len(findings.numbers) == 1:
        return [supported]
    return [
        say.subgroups(verdict, told=findings.evidence["traits"]["found"] is not None),
        say.stable(cluster_reliability.counted(findings.cards, findings.sizes.tolist(), findings.disclosure)),
        alternatives.steadier_methods(findings),
        others := alternatives.other_divisions(findings),
        say.relied_on(verdict, _sure(findings), len(findings.cards), len(findings.groups)),
        say.wavering(verdict, findings.cards),
        supported,
        how_many,
        say.index_explained() if how_many or others else None,
    ]


def _artefacts(findings: Findings) -> list[Any]:
    verdict, made_of = findings.evidence["verdict"], _vectors(findings.inputs)
    if len(findings.numbers) == 1:
        return [
            audit.day_that_stands_out(findings.spans.day_that_stands_out()),
            say.without_concept(flow.summary_of_codes(findings.counted)),
            say.never_recorded(),
        ]
    return [
        say.followed(verdict, bias_audit.strong(findings.effects)),
        audit.of_some_practices(findings.of_some_practices),
        say.divided(verdict, findings.groups),
        say.mixed(verdict, findings.cards),
        occlusion.one_concept(findings.resting_on_one),
        say.by_construction(findings.disease_concepts, ages=bool(made_of["profile"] and made_of["ages"])),
        audit.day_that_stands_out(findings.spans.day_that_stands_out()),
        say.without_concept(flow.summary_of_codes(findings.counted)),
        say.never_recorded(),
    ]


def _came_in(findings: Findings) -> list[Statement]:
    records, event, rows = findings.inputs.records, findings.counted.event, findings.counted.counts[assets.RAW_RECORDS]
    usable = event.share(rows["kept"], rows["rows_in"])
    read = say.came_in(
        sorted(artifact.manifest["partition"] for artifact in records),
        sum(artifact.counts["files"] for artifact in records),
        sum(artifact.counts.get("unread", {}).get("files", 0) for artifact in records),
        usable if usable != HIDDEN else "Nearly all" if 2 * rows["kept"] > rows["rows_in"] else "Few",
    )
    if findings.inputs.shifted_dates:
        return [read, say.shifted_dates(), say.checks_passed()]
    covered = years(findings.inputs.artifacts[assets.PATIENT_DATASET], findings.disclosure)
    return [read, say.years(covered), say.checks_passed()]


def _lost(findings: Findings) -> list[Any]:
    counted = findings.counted
    patients = [flow.summary_of_patients(counted), flow.in_no_cluster(findings)]
    return [*patients, flow.reached(counted), flow.summary_of_codes(counted), say.see_flow()]


def vector_method(inputs: Inputs, vocabulary: Vocabulary) -> vectors.VectorMethod:
    """Return how the patients' vectors were made."""
    counts = inputs.artifacts[assets.PATIENT_EMBEDDINGS].counts
    return vectors.VectorMethod(
        settings=_vectors(inputs),
        preset=counts["preset"],
        changed=bool(changed(inputs)),
        pooling=counts["pooling"],
        neighbours=inputs.artifacts[assets.PATIENT_EMBEDDINGS].manifest["settings"]["pooling"]["neighbours"] > 0,
        chosen=counts["selected_concepts"],
        vocabulary=len(vocabulary.concepts),
        substitutes=bool(counts.get("substitutes")),
        confirmed=confirmed(inputs),
    )
