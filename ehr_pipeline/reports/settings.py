"""Settings of the reports."""

from dataclasses import dataclass

from ehr_pipeline.fields import option


@dataclass(frozen=True, kw_only=True)
class ReportsSettings:
    """What the page shows."""

    title: str = option("Title of the page.", "Patient clusters")
    top_concepts: int = option("Concepts shown for each cluster. Source: 50 in the published run.", 50, ge=1)
    max_p: float = option(
        "Largest p value of a concept that is shown. Source: 0.1 in the published run.", 0.1, gt=0, le=1
    )
    suppress_below: int = option(
        "Counts of patients under this number are not shown anywhere but in the data artifacts.", 10, ge=1
    )
    colour_by: tuple[str, ...] = option(
        "Attributes that colour the map and are audited, beside age, sex and number of concepts.",
        ("region", "treatment", "ethnicity", "practice"),
    )
    map_points: int = option(
        "Marks drawn in a map at most, about; beyond it each stands for more neighbours than suppress_below asks for.",
        60000,
        role="tuning",
        ge=100,
    )
