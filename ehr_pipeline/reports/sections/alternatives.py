"""The results that other numbers of clusters and other methods would have given."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ehr_pipeline.clusters import clustering, comparison
from ehr_pipeline.clusters import number_of_clusters as numbers
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import cluster_reliability, pictures
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import embedded
from ehr_pipeline.reports.statements import alternatives as say
from ehr_pipeline.reports.statements.statement import Statement
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables.asset_names import CLUSTERS

CURVES = {"halves": "halves of a record (kappa)", "prediction_strength": "prediction strength"}
"""Columns of `support.csv` that are drawn, with the words for them."""
CLEARLY = 0.1
"""Smallest advantage in stability (mean Jaccard coefficient) for which another method is mentioned."""


def content(findings: Findings) -> dict[str, Any]:
    """Return how far random halves of the patients agree by number of clusters, and the comparison of methods."""
    clusters, number = findings.inputs.artifacts[CLUSTERS], len(findings.numbers)
    methods = _comparison(clusters, findings.disclosure)
    agreement, tried = agreements(clusters), None
    support = {row["n"]: row for row in numbers.read(clusters.path)}
    if len(agreement) >= 3:
        picture = findings.pictures / "agreement_by_number.png"
        curves = {words: _curve(support, name) for name, words in CURVES.items()}
        pictures.agreement_by_number(
            picture, agreement, number, {name: curve for name, curve in curves.items() if curve}
        )
        rows = [_row(n, *agreement[n], support.get(n, {})) for n in sorted(agreement)]
        tried = {"picture": embedded(picture), "rows": rows, "asked": number}
    return {
        "how_many": [
            statement
            for statement in (how_supported(findings), how_many(clusters, number, findings.halves))
            if statement
        ],
        "how_tried": [say.how_tried(), *(say.how_supported(numbers.MOST_PATIENTS) if support else [])],
        "tried": tried,
        "comparison": [_score_row(row) for row in methods],
        "columns": say.columns(cluster_reliability.limits(findings.inputs.settings[CLUSTERS]["unstable_below"])),
        "steadier": steadier_methods(findings),
    }


def _curve(support: Mapping[int, Mapping[str, Any]], name: str) -> dict[int, float]:
    """Return the known values of a column of `support.csv`, by number of clusters."""
    return {n: row[name] for n, row in support.items() if row[name] is not None}


def _row(n: int, mean: float, spread: float, support: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Return a number of clusters, and its figures as text."""
    known = [support.get(name) for name in ("halves", "weakest", "prediction_strength")]
    figures = ["–" if value is None else f"{value:.2f}" for value in (mean, spread, *known)]
    return n, [*figures, ("yes" if support["supported"] else "no") if support else "–"]


def most_tried(findings: Findings) -> int:
    """Return the largest number of clusters that was tried, if the study left the number to the data; otherwise 0."""
    if findings.inputs.settings[CLUSTERS].get("n") != "auto":
        return 0
    return max((row["n"] for row in numbers.read(findings.inputs.artifacts[CLUSTERS].path)), default=0)


def how_supported(findings: Findings) -> Statement:
    """Say how many clusters the records support."""
    tried = numbers.read(findings.inputs.artifacts[CLUSTERS].path)
    largest = max((row["n"] for row in tried if row["supported"]), default=1)
    chosen = findings.inputs.settings[CLUSTERS].get("n") == "auto"
    return say.supported([row["n"] for row in tried], largest, len(findings.numbers), chosen=chosen)


def _score_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a method's name for readers, and its scores as text."""
    scores = [row[name] for name in ("agreement", "stability", "silhouette")]
    name = "baseline without a model" if row["method"] == "baseline" else row["method"]
    return row | {"name": name, "scores": ["–" if score in (None, "") else f"{float(score):.2f}" for score in scores]}


def _comparison(clusters: Artifact, disclosure: Disclosure) -> list[dict[str, Any]]:
    """Read the comparison of methods. Counts are rounded: together with the sizes on the cards, exact ones would reveal the size of
    a small cluster."""
    counted = ("smallest", "largest", "unassigned")
    return [
        row | {name: disclosure.about(row[name]) for name in counted}
        for row in map(asdict, comparison.read(clusters.path))
    ]


def agreements(clusters: Artifact) -> dict[int, tuple[float, float]]:
    """Return how far random halves of the patients agree, for each number of clusters tried: mean and standard deviation of the
    adjusted Rand index. Empty if it was not examined."""
    tried = [row for row in clustering.read_choice(clusters.path) if row["agreement"] is not None]
    return {row["n"]: (row["agreement"], row["agreement_sd"] or 0.0) for row in tried}


def how_many(clusters: Artifact, asked: int, halves: int) -> Statement | None:
    """Compare the number of clusters asked for with the number on which random halves of the patients agree best."""
    return say.how_many({n: mean for n, (mean, _) in agreements(clusters).items()}, asked, halves)


def steadier_methods(findings: Findings) -> Statement | None:
    """Name the methods that are clearly more stable than the method of the page; None if there are none."""
    method = findings.inputs.settings[CLUSTERS]["method"]
    stability = _stability(_comparison(findings.inputs.artifacts[CLUSTERS], findings.disclosure))
    return say.steadier(steadier(stability, method), method, f"{stability.get(method, 1.0):.2f}")


def other_divisions(findings: Findings) -> Statement | None:
    """Say how far the clusters of other methods agree with those of the page; None if there are none."""
    rows = comparison.read(findings.inputs.artifacts[CLUSTERS].path)
    own = findings.inputs.settings[CLUSTERS]["method"]
    return say.other_divisions([row.agreement for row in rows if row.method not in (own, "baseline")])


def steadier(stability: Mapping[str, float], method: str) -> list[tuple[str, str]]:
    """Return the methods clearly more stable than `method`, which made the page's clusters, with their stability."""
    least = stability.get(method, 1.0) + CLEARLY
    return [(name, f"{value:.2f}") for name, value in stability.items() if value >= least and name != "baseline"]


def _stability(methods: list[dict[str, Any]]) -> dict[str, float]:
    """Return the stability of each method that has one."""
    return {row["method"]: row["stability"] for row in methods if row["stability"] is not None}
