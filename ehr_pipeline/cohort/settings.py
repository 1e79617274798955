"""Settings of the cohort."""

from ehr_pipeline.typed_settings import option, settings


def list_of(number: int) -> str:
    """Name of the setting that holds the concept list of a disease; `number` is the index of the disease in the cohort."""
    return f"embeddings.cohort[{number}].concepts"


@settings
class Disease:
    """One disease of the cohort."""

    name: str = option("Name, as shown in the report.")
    concepts: str = option(
        "Concept list (CSV) of the disease. Empty: every patient in the data set is a case.", "", role="list"
    )
    min_visits: int = option("Least number of days with a concept from the list that makes a patient a case.", 1, ge=1)
