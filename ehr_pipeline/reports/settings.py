"""Settings of the reports."""

from typing import Literal

from ehr_pipeline.typed_settings import option, settings


@settings
class ReportsSettings:
    """What the page shows."""

    title: str = option("Title of the page.", "Patient clusters")
    ranking: Literal["auto", "tested", "published"] = option(
        "Concepts on the cards. 'tested': those that pass the matched half test, more frequent and less frequent ones apart;"
        " 'published': the first by the chi-square test of occurrences, which a random division of the patients has as well;"
        " 'auto': 'published' with embeddings.preset = 'published', otherwise 'tested'.",
        "auto",
    )
    top_concepts: int = option(
        "The most concepts shown for each cluster (with 'tested', in each direction). Source: 50 in the published run.",
        50,
        ge=1,
    )
    max_p: float = option(
        "Largest p value of a concept that the published ranking shows. Source: 0.1 in the published run.",
        0.1,
        gt=0,
        le=1,
    )
    suppress_below: int = option(
        "Counts of patients under this number are not shown anywhere but in the data artifacts.", 10, ge=1
    )
    audited: tuple[str, ...] = option(
        "Attributes that are audited for bias and colour the map, beside age, sex, disease and number of concepts. Those of the"
        " default that the data lack are left out.",
        ("region", "treatment", "ethnicity", "practice"),
    )
    attribute_types: dict[str, Literal["number", "category"]] = option(
        "What audited attributes are: a 'number', such as a body mass index, or a 'category'. Others are guessed from their values;"
        " `ehr-pipeline check` and the page say what was guessed.",
        {},
        later=True,
    )
    map_points: int = option(
        "Marks of a map in each colour at most, about; beyond it each stands for more neighbours than suppress_below asks for. The"
        " page grows by about 0.1 MB for 1,000.",
        6000,
        role="tuning",
        ge=100,
    )
