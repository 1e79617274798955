"""The results that other numbers of clusters and other methods would have given."""

from dataclasses import asdict
from typing import Any

from ehr_pipeline.clusters import comparison, divide
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import pictures
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import embedded
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables.asset_names import CLUSTERS

CLEARLY = 0.1
"""Smallest advantage in stability (mean Jaccard coefficient) for which another method is mentioned."""
AS_GOOD = 0.01
"""Adjusted Rand indices that differ by less are about the same."""


def content(findings: Findings) -> dict[str, Any]:
    """Return how far random halves of the patients agree by number of clusters, and the comparison of methods."""
    clusters, number = findings.inputs.artifacts[CLUSTERS], len(findings.numbers)
    methods = _comparison(clusters, findings.disclosure)
    agreement, tried = agreements(clusters), None
    if len(agreement) >= 3:
        picture = findings.pictures / "agreement_by_number.png"
        pictures.agreement_by_number(picture, agreement, number)
        tried = {"picture": embedded(picture), "rows": sorted(agreement.items()), "asked": number}
    return {
        "how_many": how_many(clusters, number),
        "tried": tried,
        "comparison": methods,
        "steadier": steadier(methods, findings.inputs.settings[CLUSTERS]["method"]),
    }


def _comparison(clusters: Artifact, disclosure: Disclosure) -> list[dict[str, Any]]:
    """Compare the methods. Counts are rounded: with the sizes on the cards they would reveal that of a small cluster."""
    counted = ("smallest", "largest", "unassigned")
    return [
        row | {name: disclosure.about(row[name]) for name in counted}
        for row in map(asdict, comparison.read(clusters.path))
    ]


def agreements(clusters: Artifact) -> dict[int, tuple[float, float]]:
    """Return how far random halves of the patients agree, for each number of clusters tried: mean and standard
    deviation of the adjusted Rand index. Empty if it was not examined.
    """
    tried = [row for row in divide.read_choice(clusters.path) if row["agreement"] is not None]
    return {row["n"]: (row["agreement"], row["agreement_sd"] or 0.0) for row in tried}


def how_many(clusters: Artifact, asked: int) -> str:
    """Compare in words the number of clusters asked for with that on which random halves of the patients agree best.

    Empty if it was not examined.
    """
    agreement = {n: mean for n, (mean, _) in agreements(clusters).items()}
    if not agreement:
        return ""
    best = max(agreement, key=lambda n: agreement[n])
    told = f"{asked} clusters were asked for. Among {min(agreement)} to {max(agreement)}, random halves of the patients"
    if best == asked:
        return f"{told} agree best on {asked} as well (adjusted Rand index {agreement[best]:.2f})."
    most = max(n for n, mean in agreement.items() if mean >= agreement[best] - AS_GOOD)
    alike = f"; on up to {most} about as well" if most > best else ""
    own = f"; {agreement[asked]:.2f} with {asked}" if asked in agreement and asked != most else ""
    return f"{told} agree best on {best} (adjusted Rand index {agreement[best]:.2f}{alike}{own})."


def steadier(methods: list[dict[str, Any]], method: str) -> list[tuple[str, str]]:
    """Return the methods clearly more stable than `method`, which made the page's clusters, with their stability."""
    found = {row["method"]: row["stability"] for row in methods if row["stability"] is not None}
    own = found.get(method, 1.0)
    return [(name, f"{value:.2f}") for name, value in found.items() if value >= own + CLEARLY and name != "baseline"]
