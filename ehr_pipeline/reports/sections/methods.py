"""How everything on the page was computed, and its limits."""

from typing import Any

from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.sections import evolution, flow
from ehr_pipeline.tables.asset_names import PATIENT_EMBEDDINGS

EQUAL = 1e-3
"""Distances whose variation is a smaller share of their mean count as equal."""


def content(findings: Findings) -> dict[str, Any]:
    """Return the parts of the methods that differ from run to run."""
    inputs = findings.inputs
    return {
        "reports": findings.settings,
        "vectors": inputs.artifacts[PATIENT_EMBEDDINGS].manifest["settings"]["vectors"],
        "confirmed": confirmed(inputs),
        "substituted": findings.substituted,
        "collapse": collapse(inputs),
        "own_diseases": findings.own_diseases,
        "sides": flow.sides_in_words(findings.counted),
        "windows": evolution.windows(findings),
    }


def confirmed(inputs: Inputs) -> bool:
    """Whether the concept profile is restricted to what halves of the visits confirm; with too few patients it is not."""
    return bool(inputs.artifacts[PATIENT_EMBEDDINGS].counts.get("reliable", {}).get("directions"))


def collapse(inputs: Inputs) -> str:
    """Return how far a patient's place depends on age and length of record only, compared with the published vectors."""
    quality = inputs.artifacts[PATIENT_EMBEDDINGS].counts["quality"]
    now, published = quality["collapse"], quality["collapse_published"]
    if now["spread"] < EQUAL:
        return (
            "No: they are centred so that all patients lie at the same distance from the middle. (That of the published vectors"
            f" varies by {published['spread']:.1%}, with rank correlations of"
            f" {published['age']:+.2f} with age and {published['concepts']:+.2f} with the number of concepts.)"
        )
    told = "; ".join(
        f"{words} {now[name]:+.2f} (published vectors: {published[name]:+.2f})"
        for name, words in (
            ("age", "age"),
            ("concepts", "number of concepts"),
            ("inverse_frequency", "rarity of concepts"),
        )
    )
    return (
        f"Rank correlation of the distance to the centre of all patients with {told}; 0 is best. That distance varies by"
        f" {now['spread']:.1%} of its mean (published vectors: {published['spread']:.1%})."
    )
