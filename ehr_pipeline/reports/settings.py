"""Settings of the reports."""

from typing import Literal

from ehr_pipeline.typed_settings import option, settings


@settings
class ReportsSettings:
    """Contents of the reports, and the threshold for small counts."""

    title: str = option("Title of the page.", "Patient clusters")
    ranking: Literal["auto", "tested", "published"] = option(
        "Concepts shown on the cards. 'tested': concepts that pass the mark test, with more frequent and less frequent"
        " ones listed separately; 'published': the top concepts by the chi-square test of occurrences, a test that also finds"
        " concepts for a random division of the patients; 'auto': 'published' with embeddings.preset = 'published', otherwise"
        " 'tested'.",
        "auto",
    )
    top_concepts: int = option(
        "Largest number of concepts shown for each cluster (with 'tested', in each direction). Source: 50 in the published run.",
        50,
        ge=1,
    )
    max_p: float = option(
        "Largest p value of a concept that the published ranking shows. Source: 0.1 in the published run.",
        0.1,
        gt=0,
        le=1,
    )
    suppress_below: int = option("Counts of patients below this number appear only in the data artifacts.", 10, ge=1)
    audited: tuple[str, ...] = option(
        "Attributes that are audited for bias and can colour the map, in addition to age, sex, disease and number of concepts."
        " Default attributes that the data lack are skipped.",
        ("region", "treatment", "ethnicity", "practice"),
    )
    attribute_types: dict[str, Literal["number", "category"]] = option(
        "Kind of each audited attribute: a 'number', such as a body mass index, or a 'category'. If not listed, the kind is"
        " guessed from the values; `ehr-pipeline check` and the page show the guess.",
        {},
        later=True,
    )
    map_points: int = option(
        "Approximate largest number of points on a map in each colour. With more patients, each point stands for more neighbours"
        " than suppress_below requires. Each 1,000 points add about 0.1 MB to the page.",
        6000,
        role="tuning",
        ge=100,
    )
