"""Clusters of the cohort's patients, their map, and how trustworthy they are."""

from ehr_pipeline.disclosure.kinds import Declared, People, Plain, Score, ShareOf, SumOf
from ehr_pipeline.tables.asset_names import CLUSTERS

ALL = SumOf("smallest")
"""The number of patients in clusters: the sum of the clusters' sizes, which the page shows exactly."""
COUNTED: dict[str, Declared] = {
    CLUSTERS: {
        "rows_in": ALL,
        "kept": ALL,
        "clusters": Plain,
        "numbers_kept": Plain,
        "stability": Plain,
        "eigenvectors": Plain,
        "graph": Plain,
        "agreement_with_*": Score,
        # Together with the share expected by chance, the excess would reveal the exact share recognised.
        "split_half": {"recognised": ShareOf("kept", ALL), "expected": Score, "excess": None, "verdict": Plain},
        "*": People,
    }
}
