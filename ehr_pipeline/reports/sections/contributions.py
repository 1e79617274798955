"""What the encoder, the concept profile and the counts contribute to the patient vectors, row by row."""

from typing import Any

from ehr_pipeline.clusters.contributions import Contributions
from ehr_pipeline.embeddings.encoder_share import ChosenShare
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections import short
from ehr_pipeline.reports.statements import contributions as say
from ehr_pipeline.reports.statements import vectors
from ehr_pipeline.tables.asset_names import CLUSTERS, PATIENT_EMBEDDINGS


def content(findings: Findings) -> dict[str, Any] | None:
    """Return the table and the sentences about it; None if nothing was compared."""
    found = Contributions.read(findings.inputs.artifacts[CLUSTERS].path)
    if found is None:
        return None
    embeddings, made = (
        findings.inputs.artifacts[PATIENT_EMBEDDINGS],
        short.vector_method(findings.inputs, findings.vocabulary),
    )
    pooling = embeddings.manifest["settings"]["pooling"]
    step = say.step_of(found.patients, findings.disclosure.below)
    return {
        "lead": [
            *vectors.what_decides(made),
            *filter(None, [say.share(ChosenShare.of(embeddings))]),
            say.rows(),
        ],
        "adds": say.adds(found, step, by_network=made.by_network),
        "notes": [
            say.compared(found, findings.counted.person(found.patients), step),
            say.chosen_by_network(pooling["select"] == "list" and pooling["neighbours"] > 0),
            say.measures(found),
        ],
        "rows": [say.row(row, step) for row in found.rows],
    }
