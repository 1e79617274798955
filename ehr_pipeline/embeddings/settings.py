"""Settings of the cohort and of the patient embeddings. Plain dataclasses: GPU workers read them without pydantic."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ehr_pipeline.fields import option

# Disease or syndrome, mental dysfunction, pathologic function, sign or symptom, neoplastic process, finding.
SYMPTOM_AND_DIAGNOSIS_TYPES = ("T047", "T048", "T046", "T184", "T191", "T033")


@dataclass(frozen=True, kw_only=True)
class Disease:
    """One disease of the cohort."""

    name: str = option("Name, as it stands in the report.")
    concepts: str = option("Concept list (CSV) of the disease.", role="list")
    min_visits: int = option("Days with a concept of the list that make a patient a case.", 1, ge=1)


@dataclass(frozen=True, kw_only=True)
class PoolingSettings:
    """Which tokens are averaged. All tokens always attend to each other."""

    select: Literal["all", "types", "list"] = option(
        "'all' tokens, tokens of chosen semantic 'types', or a concept 'list' extended by its nearest neighbours.",
        "list",
    )
    semantic_types: tuple[str, ...] = option("Semantic types (TUI) for 'types'.", SYMPTOM_AND_DIAGNOSIS_TYPES)
    concepts: str = option("Concept list (CSV) for 'list'.", "", role="list")
    neighbours: int = option("Nearest neighbours that extend the list. Source: 10 in the published run.", 10, ge=0)

    def problems(self) -> Iterator[str]:
        """What is wrong with these values beyond their types."""
        if self.select == "list" and not self.concepts:
            yield "concepts must name a concept list when select = 'list'."


@dataclass(frozen=True, kw_only=True)
class EmbeddingsSettings:
    """The cohort and its vectors."""

    cohort: tuple[Disease, ...] = option("The diseases whose patients make the cohort.")
    pooling: PoolingSettings = option("Which tokens are averaged.", PoolingSettings(select="types"))
    batch_tokens: int = option("Token slots computed at once.", 16384, role="tuning", ge=256)

    def problems(self) -> Iterator[str]:
        """What is wrong with these values beyond their types."""
        if not self.cohort:
            yield "at least one [[embeddings.cohort]] table is needed."
        names = [disease.name for disease in self.cohort]
        if len(set(names)) < len(names):
            yield f"the diseases of the cohort need different names. Got {names}."
