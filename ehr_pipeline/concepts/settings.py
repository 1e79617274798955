"""Settings of the concept check."""

from dataclasses import dataclass

from ehr_pipeline.fields import option


@dataclass(frozen=True, kw_only=True)
class ConceptsSettings:
    """The sanity check on concept vectors."""

    concepts_of_interest: str = option("Concept list (CSV) of diseases whose neighbours are shown.", role="list")
    neighbours: int = option("Nearest neighbours by cosine. Source: 10 in the published run.", 10, ge=1)
