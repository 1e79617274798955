"""Settings of the clusters."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic_core import PydanticCustomError

from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.typed_settings import option, settings

Other = Literal["spectral", "agglomerative", "kmeans", "leiden", "hdbscan"]


def _number(value: Any) -> Any:
    """Return "auto" or a number of clusters unchanged. Raises a validation error for anything but "auto" or an integer from 1."""
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise PydanticCustomError("number_of_clusters", 'must be "auto" or a whole number of at least 1')


@settings
class ClustersSettings:
    """How the cohort is divided into clusters."""

    n: Annotated[int | Literal["auto"], pydantic.PlainValidator(_number)] = option(
        "Number of clusters, at least 1. auto: the largest number, up to `examine_up_to`, at which clusters from the two halves"
        " of patients' records agree beyond chance. Source: 20 in the published run.",
        20,
    )
    method: Literal["spectral", "agglomerative", "kmeans"] = option(
        "Clustering method that the reports use. Source: spectral in the published run.", "spectral"
    )
    compare: tuple[Other, ...] = option(
        "Additional methods, for the table that compares methods. leiden needs the extra `clusters` (igraph); leiden"
        " and hdbscan choose the number of clusters themselves; hdbscan takes long for more than 20,000 patients.",
        ("agglomerative", "kmeans"),
    )
    neighbours: int = option(
        "Number of neighbours of each patient in the graph that the methods and the map use.", 15, ge=2
    )
    index: Literal["auto", "exact", "approximate"] = option(
        "How neighbours are found: 'exact' compares all pairs of vectors, 'approximate' uses nearest-neighbour descent. auto:"
        " exact up to 300,000 patients.",
        "auto",
    )
    keep_numbers: bool = option(
        "Whether clusters keep the numbers that they had in the previous artifact. Otherwise they are numbered by size.",
        True,
    )
    resamples: int = option(
        "Number of random halves of the patients that are clustered again to measure how stable clusters are.", 20, ge=2
    )
    resample_patients: int = option("Largest number of patients in such a half.", 10_000, ge=100)
    examine_up_to: int = option(
        "Largest number of clusters that is examined for its eigengap, its stability, and the agreement between halves of"
        " records.",
        30,
        ge=2,
    )
    unstable_below: float = option(
        "A cluster whose mean Jaccard coefficient over the random halves is lower is flagged as unstable. At 0.75 or more, it"
        " is called stable. Source: Hennig 2007.",
        0.6,
        ge=0,
        le=1,
    )
    permutations: int = option(
        "Number of permutations in the split-half test and in the test of traits (whether conditions go together).",
        200,
        ge=20,
    )
    truth: str = option(
        "The folder `truth` of a synthetic extract, written by `ehr-pipeline synth`; empty for real data.",
        "",
        role="input",
    )
    baseline_components: int = option(
        "Number of components of the baseline, which uses no model (truncated SVD of concept counts).", 64, ge=2
    )

    @property
    def others(self) -> tuple[str, ...]:
        """Return the additional methods, beyond the one that the reports use, in the order of their columns."""
        return tuple(name for name in self.compare if name != self.method)


def most_clusters(patients: int) -> int:
    """Return the largest number of clusters that a message may recommend for this number of patients; 0 if too few for any."""
    return 0 if patients < 3 else 2 if patients < FEWEST else patients // 3
