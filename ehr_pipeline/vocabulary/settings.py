"""Settings of the vocabulary."""

from ehr_pipeline.typed_settings import option, settings

# Semantic types (UMLS Semantic Network) that describe how care is organised and recorded, not the patient.
ADMINISTRATIVE_TYPES = (
    "T058",
    "T064",
    "T065",
    "T089",
    "T090",
    "T091",
    "T092",
    "T093",
    "T094",
    "T095",
    "T097",
    "T170",
    "T171",
    "T185",
)


@settings
class VocabularySettings:
    """Which concepts stay. The drops happen in the order of these settings."""

    mrsty: str = option(
        "MRSTY.RRF of the UMLS (.gz is read too): the semantic types of its concepts. Empty where no code is mapped to the UMLS.",
        "",
        role="input",
    )
    drop_semantic_types: tuple[str, ...] = option(
        "Semantic types (TUI) to drop; a concept goes when all of its types are among them.", ADMINISTRATIVE_TYPES
    )
    drop_semantic_groups: tuple[str, ...] = option(
        "Semantic groups to drop, such as 'GEOG' or 'OCCU' (UMLS SemGroups).", ("GEOG", "OCCU", "ORGA")
    )
    administrative_concepts: str = option(
        "Concept list (CSV) of administrative concepts to drop; empty for none.", "", role="list"
    )
    min_appearances: int = option(
        "Smallest number of appearances (patient, day) of a concept that stays. Source: 100 in the published run.",
        100,
        ge=1,
    )
    min_patients: int = option(
        "Smallest number of patients with a concept that stays. 0 in the published run, and by default. Set it to"
        " reports.suppress_below where the model is to be handed on, before it is trained: its vocabulary names every concept,"
        " and the name of one that hardly anybody has tells of them. Otherwise `export model` refuses it.",
        0,
        ge=0,
        later=True,
    )
    min_size: int = option(
        "Smallest vocabulary on which training makes sense; below it, nothing is built.", 50, role="check", ge=1
    )
