"""Settings of the cohort."""

from ehr_pipeline.typed_settings import option, settings


def list_of(number: int) -> str:
    """Return the name of the setting with the concept list of a disease; `number` is the disease's index in the cohort."""
    return f"embeddings.cohort[{number}].concepts"


@settings
class Disease:
    """One disease of the cohort."""

    name: str = option("Name, as shown in the report.")
    concepts: str = option(
        "Concept list (CSV) of the disease. Empty: every patient in the data set is included.", "", role="list"
    )
    min_visits: int = option(
        "Minimum number of days with a concept from the list for a patient to have the disease.", 1, ge=1
    )
