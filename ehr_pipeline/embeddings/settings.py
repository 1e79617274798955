"""Settings of the patient embeddings."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic_core import PydanticCustomError

from ehr_pipeline.cohort.settings import Disease
from ehr_pipeline.typed_settings import option, settings

# Disease or syndrome, mental dysfunction, pathologic function, sign or symptom, neoplastic process, finding.
SYMPTOM_AND_DIAGNOSIS_TYPES = ("T047", "T048", "T046", "T184", "T191", "T033")


def _share(value: Any) -> Any:
    """A share: 1 and 1.0 are one setting. Raises a validation error for anything but "auto" or a number from 0 to 1."""
    if value == "auto":
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise PydanticCustomError("share", 'must be "auto" or a number from 0 to 1')


@settings
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


@settings
class VectorSettings:
    """How a patient's vector is made of those of the chosen tokens. A preset of [embeddings] fills what the file leaves out."""

    weighting: Literal["equal", "sif", "log", "root"] = option(
        "Weight of a token by how frequent its concept is, p being the concept's share of all events: 'equal'; 'sif': a / (a + p)"
        " (Arora 2017); 'log': the logarithm of 1 + 1 / share of patients (Spärck Jones 1972); 'root': 1 / √p.",
        "equal",
    )
    sif_constant: float = option("The a of 'sif'. Source: 0.001 (Arora 2017).", 1e-3, gt=0)
    attention: Literal["none", "plain", "trained"] = option(
        "Between chunks. 'none': their weighted mean; 'plain': softmax(A Aᵀ / √D) A, then the mean, as published; 'trained':"
        " softmax(A Q Kᵀ Aᵀ / √D) A, with Q and K trained to tell which halves belong to one patient.",
        "none",
    )
    common_components: int = option(
        "Common directions that are taken out of the encoder's vectors: 0 leaves them as they are; n takes out their mean and the"
        " n - 1 leading principal components (Mu & Viswanath 2018).",
        1,
        ge=0,
    )
    profile: int = option(
        "Leading components of the concept profile (the square roots of each chosen concept's share in a patient's record) that"
        " stand beside the encoder's vector; 0 leaves the profile out.",
        64,
        ge=0,
    )
    kinship: float = option(
        "Part of each concept's share in the profile that goes to the 10 concepts whose vectors lie nearest, so that companions"
        " count as alike.",
        0.0,
        ge=0,
        lt=1,
    )
    smoothing: float = option(
        "Part of each profile that is the whole cohort's, so that what a short record holds by chance counts less (Jelinek & Mercer"
        " 1980).",
        0.3,
        ge=0,
        lt=1,
    )
    habits: str = option(
        "Column of the patients, such as 'practice', whose values have habits of recording. Concepts that stand in the same"
        " contexts and are recorded instead of one another are pooled together, and the profile makes one of them; '' leaves them"
        " apart.",
        "practice",
    )
    course: bool = option(
        "Whether the profile also tells what changed: that of the later half of the record minus that of the earlier half.",
        False,
    )
    ages: bool = option(
        "Whether the profile also tells the mean age at which its concepts were recorded.",
        True,
    )
    reliable: int = option(
        "At most so many directions of the profile stay: those that are found again in the other half of a patient's visits,"
        " weighed by how well. 0 keeps all as they are.",
        64,
        ge=0,
    )
    encoder_share: Annotated[float | Literal["auto"], pydantic.PlainValidator(_share)] = option(
        "Share of the squared distance between two patients that the encoder's vectors decide; the profile decides the rest. auto:"
        " the share from 0 to 0.5 with which halves of records agree best on groups, and 0 if none is better than 0.",
        "auto",
    )


@settings
class EmbeddingsSettings:
    """The cohort and its vectors. A preset fills what the file does not set under [embeddings.vectors]."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "recommended": {},
        # Exactly as published: chunks of 256, the mean over the chosen tokens, attention between chunks, the mean over chunks.
        "published": {
            "vectors": {
                "attention": "plain",
                "common_components": 0,
                "profile": 0,
                "habits": "",
                "encoder_share": 1.0,
            }
        },
    }

    preset: Literal["recommended", "published"] = option(
        "'recommended', or 'published' for the vectors of the published method.", "recommended"
    )
    cohort: tuple[Disease, ...] = option(
        "The diseases whose patients make the cohort. Without any, the study ends with the encoder and its concept vectors.",
        (),
    )
    pooling: PoolingSettings = option("Which tokens are averaged.", PoolingSettings(select="types"))
    vectors: VectorSettings = option("How the vectors are made.", VectorSettings())
    batch_tokens: int = option("Token slots computed at once.", 16384, role="tuning", ge=256)

    def problems(self) -> Iterator[str]:
        """What is wrong with these values beyond their types."""
        for number, disease in enumerate(self.cohort):
            if not disease.concepts and disease.min_visits > 1:
                yield (
                    f"cohort[{number}] names no list, so that everybody is a case: min_visits has no meaning there. Set"
                    " patients.min_visits, or name a list."
                )
        names = [disease.name for disease in self.cohort]
        if len(set(names)) < len(names):
            yield f"the diseases of the cohort need different names. Got {names}."
