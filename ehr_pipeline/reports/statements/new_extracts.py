"""Sentences about new extracts: which earlier results were kept, and how much clusters overlap with the previous ones."""

from collections.abc import Mapping
from typing import Any

from ehr_pipeline.reports.statements.statement import Statement, say


def earlier_encoder(unknown: str) -> Statement:
    """Say that the encoder was not trained again. `unknown`: share of tokens that the encoder does not know."""
    return say(
        "The encoder was trained on earlier extracts and was not changed. Tokens of the cohort that it does not know, and which"
        " therefore play no part in the vectors: {unknown}.",
        unknown=unknown,
    )


def continued_encoder(added: int) -> Statement:
    """Say that the training began from earlier weights."""
    return say(
        "The training of the encoder began from the weights of an earlier one; {added:,} {concepts} new to it.",
        added=added,
        concepts="concept was" if added == 1 else "concepts were",
    )


def kept_vectors() -> Statement:
    """Say which patients kept their earlier vectors."""
    return say(
        "Patients whose records have not changed kept their vectors; the others were embedded in the same space."
    )


def assigned(number: str) -> Statement:
    """Say how many patients were assigned to the earlier clusters. `number` is text."""
    return say(
        "The clusters are those of earlier extracts: {number} new or changed patients were assigned to them by the vote of their"
        " nearest clustered patients. Stability and the comparison of methods describe the clustering itself; the split-half test,"
        " the marking concepts and the audit describe all patients of today.",
        number=number,
    )


def overlap(facts: Mapping[str, Any]) -> Statement:
    """Say how much the clusters agree with the previous ones."""
    return say(
        "Overlap with the clusters before, over {patients} patients who had a cluster in both: adjusted Rand index {index} (1: the"
        " same division, 0: what chance gives).",
        patients=facts["patients"],
        index=facts["index"],
    )


def overlap_table(facts: Mapping[str, Any]) -> Statement:
    """Explain the table of overlaps, or say why it is not shown."""
    if not facts["rows"]:
        return say(
            "Which patients were in which cluster before is not shown: so few moved that the sizes of the clusters would"
            " reveal them."
        )
    return say(
        "Numbers of patients, rounded to a multiple of {blank}; empty: fewer than that, or nobody.",
        blank=facts["blank"],
    )
