"""Settings of the vocabulary."""

from ehr_pipeline.typed_settings import option, settings

# Semantic types (UMLS Semantic Network) that describe how care is organised and recorded, not the patient.
ADMINISTRATIVE_TYPES = (
    *("T058", "T064", "T065"),  # activities of care, administration and teaching
    *("T089", "T090", "T091", "T092", "T093", "T094", "T095", "T097"),  # laws, occupations, organisations
    *("T170", "T171", "T185"),  # intellectual products, languages, classifications
)


@settings
class VocabularySettings:
    """Which concepts are kept. Concepts are dropped in the order of these settings."""

    mrsty: str = option(
        "MRSTY.RRF of the UMLS (.gz is read too): the semantic types of its concepts. Empty if no code is mapped to the UMLS.",
        "",
        role="input",
    )
    drop_semantic_types: tuple[str, ...] = option(
        "Semantic types (TUI) to drop. A concept is dropped if all of its types are in this list.", ADMINISTRATIVE_TYPES
    )
    drop_semantic_groups: tuple[str, ...] = option(
        "Semantic groups to drop, such as 'GEOG' or 'OCCU' (UMLS SemGroups).", ("GEOG", "OCCU", "ORGA")
    )
    administrative_concepts: str = option(
        "Concept list (CSV) of administrative concepts to drop; empty for none.", "", role="list"
    )
    min_appearances: int = option(
        "Concepts that are recorded at fewer visits (one patient on one day) are dropped. Source: 100 in the published run.",
        100,
        ge=1,
    )
    min_patients: int = option(
        "Concepts that fewer patients have are dropped. Source: 0 in the published run. If the model is to be shared, set this"
        " to reports.suppress_below before training, or `export model` refuses it: the vocabulary contains the name of every"
        " concept, and the name of a very rare concept reveals something about the few patients who have it.",
        0,
        ge=0,
        later=True,
    )
    min_size: int = option(
        "Smallest vocabulary size that is worth training on; with fewer concepts, nothing is built on the vocabulary.",
        50,
        role="check",
        ge=1,
    )
