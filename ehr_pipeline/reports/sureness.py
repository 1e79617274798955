"""How many clusters the records speak for, and how sure each one is, in words."""

import csv
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ehr_pipeline.artifacts import Artifact
from ehr_pipeline.clusters.evidence import NONE_BELOW, WEAK_BELOW

STABILITY = {
    "stable": "other samples of patients find it again",
    "doubtful": "other samples find it in part: which patients belong to it is open",
    "unstable": "other samples of patients do not find it",
}


def stability(found: dict[str, Any]) -> str:
    """The stability of a cluster (`trust.json`) as a sentence; empty where it was not tested."""
    if found["jaccard"] is None:
        return ""
    return f"{found['words'].capitalize()} ({found['jaccard']:.2f}): {STABILITY[found['words']]}."


def recognition(own: float, by_chance: float) -> str:
    """How far patients of a cluster are recognised from half a record beyond its own chance: 'clear', 'weak', or 'none'."""
    excess = (own - by_chance) / max(1 - by_chance, 1e-9)
    return "none" if excess < NONE_BELOW else "weak" if excess < WEAK_BELOW else "clear"


def counted(words: Iterable[str]) -> str:
    """How many clusters are how stable: '13 stable, 5 doubtful, 2 unstable'; from the words of each."""
    numbers = Counter(words)
    return ", ".join(f"{numbers[word]} {word}" for word in (*STABILITY, "untested") if numbers[word])


def agreements(clusters: Artifact) -> dict[int, tuple[float, float]]:
    """How far random halves of the patients agree for each number of clusters that was tried: mean and standard deviation of the
    adjusted Rand index. Empty where it was not examined.
    """
    path = clusters.file("choice.csv")
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["agreement"]]
    return {int(row["n"]): (float(row["agreement"]), float(row["agreement_sd"] or 0)) for row in rows}


def how_many(clusters: Artifact, asked: int) -> str:
    """For which number of clusters random halves of the patients agree best, beside the number that was asked for.

    Empty where it was not examined.
    """
    agreement = {n: mean for n, (mean, _) in agreements(clusters).items()}
    if not agreement:
        return ""
    best = max(agreement, key=lambda n: agreement[n])
    told = f"{asked} clusters were asked for. Among {min(agreement)} to {max(agreement)}, random halves of the patients"
    if best == asked:
        return f"{told} agree best on {asked} as well (adjusted Rand index {agreement[best]:.2f})."
    own = f", and {agreement[asked]:.2f} with {asked}" if asked in agreement else ""
    return f"{told} agree best on {best} (adjusted Rand index {agreement[best]:.2f}{own})."
