"""Settings of the clusters."""

from dataclasses import dataclass
from typing import Literal

from ehr_pipeline.fields import option


@dataclass(frozen=True, kw_only=True)
class ClustersSettings:
    """How the cohort is divided."""

    n: int = option("Number of clusters. Source: 20 in the published run.", 20, ge=2)
    method: Literal["spectral", "agglomerative"] = option(
        "The method that the reports use; the other is computed beside it. Source: spectral in the published run.",
        "spectral",
    )
    neighbours: int = option("Neighbours in the graph that the methods and the map work on.", 15, ge=2)
    permutations: int = option("Permutations in the split-half test of whether the clusters mean anything.", 200, ge=20)
    truth: str = option("Folder of the truth that `ehr-pipeline synth` wrote; empty on real data.", "", role="input")
    baseline_components: int = option("Components of the honest baseline (truncated SVD of concept counts).", 64, ge=2)
