"""Settings of the clusters."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic_core import PydanticCustomError

from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.typed_settings import option, settings

Other = Literal["spectral", "agglomerative", "kmeans", "leiden", "hdbscan"]


def _number(value: Any) -> Any:
    """A number of clusters, as given. Raises a validation error for anything but "auto" or a whole number from 1."""
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise PydanticCustomError("number_of_clusters", 'must be "auto" or a whole number of at least 1')


@settings
class ClustersSettings:
    """How the cohort is divided."""

    n: Annotated[int | Literal["auto"], pydantic.PlainValidator(_number)] = option(
        "Number of clusters, at least 1. auto: the largest number on which the two halves of records agree beyond chance, from 1"
        " to `examine_up_to`. Source: 20 in the published run.",
        20,
    )
    method: Literal["spectral", "agglomerative", "kmeans"] = option(
        "The method that the reports use. Source: spectral in the published run.", "spectral"
    )
    compare: tuple[Other, ...] = option(
        "Methods that are computed beside it, for the table that compares them. leiden needs the extra `clusters` (igraph);"
        " leiden and hdbscan choose the number of clusters themselves; hdbscan takes long for more than 20,000 patients.",
        ("agglomerative", "kmeans"),
    )
    neighbours: int = option("Neighbours in the graph that the methods and the map work on.", 15, ge=2)
    index: Literal["auto", "exact", "approximate"] = option(
        "How neighbours are found: by all products of vectors, or by nearest-neighbour descent. auto: exact up to 300,000"
        " patients.",
        "auto",
    )
    keep_numbers: bool = option(
        "Whether clusters that the artifact before this one held keep their numbers; otherwise numbers go by size.",
        True,
    )
    resamples: int = option(
        "Random halves of the patients that are clustered anew to see how stable clusters are.", 20, ge=2
    )
    resample_patients: int = option("The most patients in one of them.", 10_000, ge=100)
    examine_up_to: int = option(
        "The largest number of clusters that is examined: eigengap, stability, and whether halves of a record agree.",
        30,
        ge=2,
    )
    unstable_below: float = option(
        "Mean Jaccard coefficient over the halves under which a cluster is flagged as unstable; from 0.75 it is called stable."
        " Source: Hennig 2007.",
        0.6,
        ge=0,
        le=1,
    )
    permutations: int = option("Permutations in the split-half test of whether the clusters mean anything.", 200, ge=20)
    truth: str = option("Folder of the truth that `ehr-pipeline synth` wrote; empty on real data.", "", role="input")
    baseline_components: int = option("Components of the honest baseline (truncated SVD of concept counts).", 64, ge=2)

    @property
    def others(self) -> tuple[str, ...]:
        """The methods computed in addition to the one that the reports use, in the order of their columns."""
        return tuple(name for name in self.compare if name != self.method)


def most_clusters(patients: int) -> int:
    """The most clusters that a message may advise for so many patients; 0 where they are too few for any."""
    return 0 if patients < 3 else 2 if patients < FEWEST else patients // 3
