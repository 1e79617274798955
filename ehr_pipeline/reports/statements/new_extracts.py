"""Sentences about new extracts: which earlier results were kept, and how much clusters overlap with the previous ones."""

from collections.abc import Mapping
from typing import Any

from ehr_pipeline.reports.statements.statement import Statement, say


def earlier_encoder(unknown: str) -> Statement:
    """Say that the encoder was not trained again. `unknown`: share of tokens that the encoder does not know."""
    return say(
        "The encoder was trained on earlier extracts and was not changed. Tokens of the cohort that it does not know, and that"
        " are therefore not part of the vectors: {unknown}.",
        unknown=unknown,
    )


def continued_encoder(added: int) -> Statement:
    """Say that the training began from earlier weights."""
    return say(
        "Training of the encoder started from the weights of an earlier one; {added:,} {concepts} new to it.",
        added=added,
        concepts="concept was" if added == 1 else "concepts were",
    )


def kept_vectors() -> Statement:
    """Say which patients kept their earlier vectors."""
    return say("Patients with unchanged records kept their vectors; the others were embedded in the same space.")


def assigned(number: str) -> Statement:
    """Say how many patients were assigned to the earlier clusters. `number` is text."""
    return say(
        "The clusters are those of earlier extracts: {number} new or changed patients were assigned to them by a vote of their"
        " nearest clustered patients. Stability and the comparison of methods describe the original clustering; the split-half"
        " test, the marking concepts and the audit describe all current patients.",
        number=number,
    )


def overlap(facts: Mapping[str, Any]) -> Statement:
    """Say how much the clusters agree with the previous ones."""
    return say(
        "Overlap with the previous clusters, over {patients} patients who had a cluster in both: adjusted Rand index {index} (1:"
        " the same division; 0: expected by chance).",
        patients=facts["patients"],
        index=facts["index"],
    )


def overlap_table(facts: Mapping[str, Any]) -> Statement:
    """Explain the table of overlaps, or say why it is not shown."""
    if not facts["rows"]:
        return say(
            "A table of previous and current clusters is not shown: so few patients moved that the sizes of the clusters would"
            " reveal them."
        )
    return say(
        "Numbers of patients, rounded to a multiple of {blank}; empty: fewer than that, or none.",
        blank=facts["blank"],
    )
