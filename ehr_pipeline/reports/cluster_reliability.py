"""How reliable each cluster is, in words."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.clusters.cluster_stability import STABLE
from ehr_pipeline.clusters.evidence import NONE_BELOW, WEAK_BELOW
from ehr_pipeline.disclosure.suppression import Disclosure

STABILITY = {
    "stable": "other samples of patients find it again",
    "doubtful": "other samples find it in part: which patients belong to it is open",
    "unstable": "other samples of patients do not find it",
}
IN_PART, FOUND_IN_PART = 0.3, "other samples of patients find only a part of it"
"""The Jaccard coefficient from which an unstable cluster counts as found in part, and the words for this."""


def stability(found: dict[str, Any]) -> str:
    """Return the stability of a cluster (from `trust.json`) as a sentence; empty if it was not tested."""
    if found["jaccard"] is None:
        return ""
    told = STABILITY[found["words"]]
    if found["words"] == "unstable" and found["jaccard"] >= IN_PART:
        told = FOUND_IN_PART
    value = math.floor(100 * found["jaccard"] + 1e-9) / 100  # 0.7495 is not yet the 0.75 of a stable cluster
    return f"{found['words'].capitalize()} ({value:.2f}): {told}."


@dataclass(frozen=True)
class Recognition:
    """The share of patients whose cluster is recognised from half of their record, as the page shows it."""

    recognised: str
    by_chance: str
    evidence: str
    """'clear', 'weak', 'none'; 'too few' if what may be shown leaves it open; empty if it was not tested."""


def recognition(own: float | None, by_chance: float | None, size: int, disclosure: Disclosure) -> Recognition:
    """Return how far a cluster's patients are recognised beyond chance, in a word that follows from the numbers.

    Shares have as many digits as a reader needs to derive the word. If the number of patients recognised, or not
    recognised, is too small to be shown, the share is a bound, and the word is given only if it is the same at both
    ends of the bound.
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
    """Return a share's excess over chance, as a part of the possible excess, in a word: 'clear', 'weak' or 'none'."""
    excess = (own - by_chance) / max(1 - by_chance, 1e-9)
    return "none" if excess < NONE_BELOW else "weak" if excess < WEAK_BELOW else "clear"


def usable(card: Mapping[str, Any]) -> bool:
    """Whether a cluster can be relied on: other samples of patients find it, and its evidence is clear."""
    return bool(card["evidence"] == "clear" and card["stability"]["words"] == "stable")


@dataclass(frozen=True)
class Standing:
    """How many groups of clusters can be relied on."""

    usable: int
    total: int
    share: str
    """The share of the patients in described clusters who are in usable groups."""
    others: str
    """How many of the other groups fall short, and why; empty if there are none."""
    kind: str = "clusters"
    """What is counted, in words: 'clusters' if each is a group by itself, otherwise 'groups of clusters'."""

    @property
    def colour(self) -> str:
        """The colour of the verdict: 'clear' if most clusters can be relied on, otherwise 'weak'."""
        return "clear" if 2 * self.usable > self.total else "weak"


SHORT = {
    "none": (
        "says no more of a patient than disease, age, sex and amount of record do",
        "say no more of a patient than disease, age, sex and amount of record do",
    ),
    "weak": ("has weak evidence only", "have weak evidence only"),
    "clear": ("is not the same in other samples of the patients", "are not the same in other samples of the patients"),
    "too few": (
        "is left open, since small counts may not be shown",
        "are left open, since small counts may not be shown",
    ),
}
"""Why clusters cannot be relied on, by their evidence: words for one cluster, and for several."""


def standing(
    described: Sequence[dict[str, Any]],
    patients: Sequence[int],
    disclosure: Disclosure,
    groups: Sequence[Sequence[int]] | None = None,
) -> Standing:
    """Return how many `groups` of the `described` clusters can be relied on, their share of `patients`, and why others cannot.

    A group can be relied on if one of its parts can. A group that cannot falls short as its largest part does. Without `groups`,
    which hold numbers of clusters, each cluster is one.
    """
    parts = [[place] for place in range(len(described))]
    if groups is not None:
        places = {card["number"]: place for place, card in enumerate(described)}
        parts = [[places[number] for number in group] for group in groups]
    good = [any(usable(described[place]) for place in group) for group in parts]
    first = [described[max(group, key=lambda place: patients[place])]["evidence"] for group in parts]
    short = Counter(word if word in SHORT else "too few" for word, fine in zip(first, good, strict=True) if not fine)
    told = [size for card, size in zip(described, patients, strict=True) if not card["hidden"]]
    inside = sum(patients[place] for group, fine in zip(parts, good, strict=True) if fine for place in group)
    others = [f"{short[word]} {SHORT[word][short[word] > 1]}" for word in SHORT if short[word]]
    kind = "clusters" if len(parts) == len(described) else "groups of clusters"
    return Standing(sum(good), len(good), disclosure.share(inside, sum(told)), "; ".join(others), kind)


def limits(unstable_below: float) -> str:
    """Return the limits from which a cluster is called stable and below which it is called unstable, in words."""
    return (
        f"stable from {max(STABLE, unstable_below):.2f}, unstable below {unstable_below:.2f}, doubtful between, by the mean Jaccard"
        " coefficient between a cluster and the most similar one of random halves of the patients"
    )


def counted(words: Iterable[str]) -> str:
    """Return the numbers of clusters by stability, from the word of each: '13 stable, 5 doubtful, 2 unstable'."""
    numbers = Counter(words)
    return ", ".join(f"{numbers[word]} {word}" for word in (*STABILITY, "untested") if numbers[word])
