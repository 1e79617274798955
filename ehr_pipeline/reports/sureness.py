"""How many clusters the records speak for, and how sure each one is, in words."""

import csv
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.artifacts import Artifact
from ehr_pipeline.clusters.evidence import NONE_BELOW, WEAK_BELOW
from ehr_pipeline.reports.disclosure import Disclosure

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


@dataclass(frozen=True)
class Recognition:
    """For how many of its patients a cluster is recognised from half a record, as the page tells it."""

    recognised: str
    by_chance: str
    evidence: str
    """'clear', 'weak', 'none'; 'too few' where what may be told leaves it open; empty where it was not tested."""


def recognition(own: float | None, by_chance: float | None, size: int, disclosure: Disclosure) -> Recognition:
    """How far patients of a cluster of some size are recognised beyond its own chance, in words that follow from the numbers.

    Shares have as many digits as the word needs to be reckoned from them. Where so few patients are recognised that their number
    must not be told, the share is a bound, and the word is what all shares within it have in common.
    """
    if own is None or by_chance is None:
        return Recognition("–", "–", "")
    low, high = disclosure.mean(own, size)
    if low < high:
        low, high = math.floor(100 * low) / 100, math.ceil(100 * high) / 100
        chance = round(by_chance, 2)
        words = {_in_a_word(share, chance) for share in (low, high)}
        bound = f"<{100 * high:.0f} %" if low == 0 else f">{100 * low:.0f} %"
        return Recognition(
            "–" if high - low >= 1 else bound, f"{100 * chance:.0f} %", min(words) if len(words) == 1 else "too few"
        )
    word = _in_a_word(own, by_chance)
    told = [(f"{100 * own:.{digits}f}", f"{100 * by_chance:.{digits}f}") for digits in range(4)]
    shown = next((pair for pair in told if _in_a_word(*(float(text) / 100 for text in pair)) == word), told[-1])
    return Recognition(f"{shown[0]} %", f"{shown[1]} %", word)


def _in_a_word(own: float, by_chance: float) -> str:
    """The excess of a share over chance, as a part of the possible one: 'clear', 'weak', or 'none'."""
    excess = (own - by_chance) / max(1 - by_chance, 1e-9)
    return "none" if excess < NONE_BELOW else "weak" if excess < WEAK_BELOW else "clear"


def usable(card: dict[str, Any]) -> bool:
    """Whether a cluster can be relied on: other samples find it, and its evidence is clear."""
    return bool(card["evidence"] == "clear" and card["stability"]["words"] == "stable")


def counted(words: Iterable[str]) -> str:
    """How many clusters are how stable: '13 stable, 5 doubtful, 2 unstable'; from the words of each."""
    numbers = Counter(words)
    return ", ".join(f"{numbers[word]} {word}" for word in (*STABILITY, "untested") if numbers[word])


def how_many(clusters: Artifact, asked: int) -> str:
    """For which number of clusters random halves of the patients agree best, beside the number that was asked for.

    Empty where it was not examined.
    """
    path = clusters.file("choice.csv")
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["agreement"]]
    if not rows:
        return ""
    agreement = {int(row["n"]): float(row["agreement"]) for row in rows}
    best = max(agreement, key=lambda n: agreement[n])
    told = f"{asked} clusters were asked for. Among {min(agreement)} to {max(agreement)}, random halves of the patients"
    if best == asked:
        return f"{told} agree best on {asked} as well (adjusted Rand index {agreement[best]:.2f})."
    own = f", and {agreement[asked]:.2f} with {asked}" if asked in agreement else ""
    return f"{told} agree best on {best} (adjusted Rand index {agreement[best]:.2f}{own})."
