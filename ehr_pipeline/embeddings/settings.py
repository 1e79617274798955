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
    """Return "auto" or a share from 0 to 1 as a float, so that 1 and 1.0 are the same. Raises a validation error otherwise."""
    if value == "auto":
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise PydanticCustomError("share", 'must be "auto" or a number from 0 to 1')


@settings
class PoolingSettings:
    """Which tokens are averaged. Attention always covers all tokens, averaged or not."""

    select: Literal["all", "types", "list"] = option(
        "'all': every token; 'types': tokens of the chosen semantic types; 'list': tokens of a concept list and of its nearest"
        " neighbours.",
        "list",
    )
    semantic_types: tuple[str, ...] = option("Semantic types (TUI) for 'types'.", SYMPTOM_AND_DIAGNOSIS_TYPES)
    concepts: str = option("Concept list (CSV) for 'list'.", "", role="list")
    neighbours: int = option(
        "Number of nearest neighbours by which each concept extends the list. Source: 10 in the published run.",
        10,
        ge=0,
    )

    def problems(self) -> Iterator[str]:
        """Yield a message for each problem with these values beyond their types."""
        if self.select == "list" and not self.concepts:
            yield "concepts must be a concept list when select = 'list'."


@settings
class VectorSettings:
    """How a patient's vector is computed from the vectors of the chosen tokens. The preset in [embeddings] supplies all values that
    the file does not set."""

    weighting: Literal["equal", "sif", "log", "root"] = option(
        "Weight of a token, where p is its concept's share of all events. 'equal': all weights are 1; 'sif': a / (a + p) (Arora"
        " 2017); 'log': the logarithm of 1 + 1 / share of patients (Spärck Jones 1972); 'root': 1 / √p.",
        "equal",
    )
    sif_constant: float = option("The a of 'sif'. Source: 0.001 (Arora 2017).", 1e-3, gt=0)
    attention: Literal["none", "plain", "trained"] = option(
        "How the chunks of a record are combined. 'none': by their weighted mean; 'plain': softmax(A Aᵀ / √D) A, then the mean,"
        " as published; 'trained': softmax(A Q Kᵀ Aᵀ / √D) A, with Q and K trained to recognise which half records belong to"
        " the same patient.",
        "none",
    )
    common_components: int = option(
        "Number of common directions removed from the encoder's vectors. 0: none; n: the mean and the n - 1 leading principal"
        " components (Mu & Viswanath 2018).",
        1,
        ge=0,
    )
    profile: int = option(
        "Number of leading components of the concept profile that are added to the encoder's vector. The profile holds the"
        " square root of each chosen concept's share in the patient's record. 0: no profile.",
        64,
        ge=0,
    )
    kinship: float = option(
        "Fraction of each concept's share in the profile that is passed on to the 10 concepts with the nearest vectors, so that"
        " related concepts are treated as partly the same.",
        0.0,
        ge=0,
        lt=1,
    )
    smoothing: float = option(
        "Weight of the whole cohort's profile in each patient's profile, so that chance concepts in a short record have less"
        " weight (Jelinek & Mercer 1980).",
        0.3,
        ge=0,
        lt=1,
    )
    habits: str = option(
        "Column of the patients that says who recorded their data, such as 'practice'. Practices may record different concepts"
        " for the same thing. Concepts that occur in similar records but are recorded in place of one another are pooled"
        " together, and are one concept in the profile. '': such concepts stay separate. Tests of pairs of concepts allow for"
        " the same column.",
        "practice",
    )
    course: bool = option(
        "Whether the profile also includes change over time: the profile of the later half of the record minus that of the"
        " earlier half.",
        False,
    )
    ages: bool = option("Whether the profile also includes the mean age at which its concepts were recorded.", True)
    reliable: int = option(
        "Largest number of directions to keep in the profile: those in which both halves of a patient's visits agree,"
        " weighted by how well they agree. 0: the profile stays unchanged.",
        64,
        ge=0,
    )
    encoder_share: Annotated[float | Literal["auto"], pydantic.PlainValidator(_share)] = option(
        "Share of the squared distance between two patients that comes from the encoder's vectors; the rest comes"
        " from the profile. auto: the share from 0 to 0.5 for which the two halves of a patient's record agree best on"
        " groups of patients; 0 if no other share is better than it.",
        "auto",
    )


@settings
class EmbeddingsSettings:
    """The cohort and its vectors. A preset supplies all values that the file does not set under [embeddings.vectors]."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "recommended": {},
        # As published: chunks of 256, the mean over the chosen tokens, attention between chunks, the mean over chunks.
        "published": {
            "vectors": {"attention": "plain", "common_components": 0, "profile": 0, "habits": "", "encoder_share": 1.0}
        },
    }

    preset: Literal["recommended", "published"] = option(
        "'recommended', or 'published' to compute vectors exactly as in the published method.", "recommended"
    )
    cohort: tuple[Disease, ...] = option(
        "The diseases whose patients form the cohort. Without any, the study ends with the encoder and its concept"
        " vectors.",
        (),
    )
    pooling: PoolingSettings = option("Which tokens are averaged.", PoolingSettings(select="types"))
    vectors: VectorSettings = option("How the vectors are made.", VectorSettings())
    batch_tokens: int = option("Number of token slots computed at once.", 16384, role="tuning", ge=256)

    def problems(self) -> Iterator[str]:
        """Yield a message for each problem with these values beyond their types."""
        for number, disease in enumerate(self.cohort):
            if not disease.concepts and disease.min_visits > 1:
                yield (
                    f"cohort[{number}] has no list, so every patient is a case, and min_visits has no effect. Set"
                    " patients.min_visits, or add a list."
                )
        names = [disease.name for disease in self.cohort]
        if len(set(names)) < len(names):
            yield f"the diseases of the cohort need different names. Got {names}."
