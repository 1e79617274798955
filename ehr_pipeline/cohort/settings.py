"""Settings of the cohort."""

from ehr_pipeline.typed_settings import option, settings


def list_of(number: int) -> str:
    """Name of the setting that holds the concept list of a disease, given its number in the cohort."""
    return f"embeddings.cohort[{number}].concepts"


@settings
class Disease:
    """One disease of the cohort."""

    name: str = option("Name, as it stands in the report.")
    concepts: str = option(
        "Concept list (CSV) of the disease. Empty: every patient of the data set is a case.", "", role="list"
    )
    min_visits: int = option("Days with a concept of the list that make a patient a case.", 1, ge=1)
