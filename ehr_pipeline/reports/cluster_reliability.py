"""How reliable each cluster is, in words."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest

from ehr_pipeline.clusters.cluster_stability import STABLE
from ehr_pipeline.clusters.evidence import NONE_BELOW, WEAK_BELOW
from ehr_pipeline.disclosure.suppression import Disclosure

STABILITY = {
    "stable": "other samples of patients find it again",
    "doubtful": "other samples find part of it: which patients belong to it is uncertain",
    "unstable": "other samples of patients do not find it",
}
IN_PART, PARTLY_FOUND = 0.3, "other samples of patients find only part of it"
"""The Jaccard coefficient from which an unstable cluster counts as found in part, and the words for this."""


def stability(found: dict[str, Any]) -> str:
    """Return the stability of a cluster (from `trust.json`) as a sentence; empty if it was not tested."""
    if found["jaccard"] is None:
        return ""
    meaning = STABILITY[found["words"]]
    if found["words"] == "unstable" and found["jaccard"] >= IN_PART:
        meaning = PARTLY_FOUND
    return f"{found['words'].capitalize()} at {jaccard(found)}: {meaning}."


def jaccard(found: dict[str, Any]) -> str:
    """Return the mean Jaccard coefficient of a cluster with the middle 95 % of the random halves: '0.83 (0.71–0.92)'; empty if it
    was not tested."""
    if found["jaccard"] is None:
        return ""
    value = _down(found["jaccard"])  # 0.7495 is not yet the 0.75 of a stable cluster
    low, high = found.get("between") or (None, None)  # clusters kept from an older artifact have no ends
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({_down(low):.2f}–{_up(high):.2f})"


def varies(found: Mapping[str, Any]) -> bool:
    """Return whether a stable cluster is below the limit for 'stable' in some random halves of the patients."""
    low = (found.get("between") or (None,))[0]
    return bool(found["words"] == "stable" and low is not None and low < STABLE)


def _down(value: float) -> float:
    """Round down to two decimals."""
    return math.floor(100 * value + 1e-9) / 100


def _up(value: float) -> float:
    """Round up to two decimals."""
    return math.ceil(100 * value - 1e-9) / 100


@dataclass(frozen=True)
class Recognition:
    """The share of patients whose cluster is recognised from half of their record, as the page shows it."""

    recognised: str
    by_chance: str
    evidence: str
    """'clear', 'weak', 'none'; 'too few' if the interval of the excess includes 0, or what may be shown leaves it open; empty if it
    was not tested."""
    tested: str = ""
    """How many patients were tested, as it may be shown."""
    excess: str = ""
    """The excess over chance, as a part of the possible excess, with its 95 % interval; a bound if the share is shown as one."""
    at_least: str = ""
    """The word for the lower end of the interval; empty if it was not tested, or may not be shown."""
    at_most: str = ""
    """The word for its upper end; empty as above, or if the share is shown as a bound."""


@dataclass(frozen=True)
class Halves:
    """The results of the split-half test for a cluster."""

    own: float | None
    """Share recognised; None if it was not tested."""
    by_chance: float | None
    tested: int
    """Number of patients tested."""
    interval: tuple[float, float] | None
    """The 95 % interval of the excess."""

    @classmethod
    def of(cls, evidence: Mapping[str, Any], number: int) -> "Halves":
        """Read the results for the cluster `number` from the content of `evidence.json`."""
        own, by_chance, tested, interval = (
            evidence[name].get(str(number))
            for name in ("per_cluster", "expected_per_cluster", "patients_per_cluster", "interval_per_cluster")
        )
        return cls(own, by_chance, tested or 0, tuple(interval) if interval else None)


def recognition(found: Halves, size: int, disclosure: Disclosure) -> Recognition:
    """Return how far a cluster's patients are recognised beyond chance, as a word that follows from the numbers.

    `size` is the number of the cluster's patients. Shares have as many digits as a reader needs to derive the word. If the number
    of patients recognised, or of those not recognised, is too small to be shown, only a bound of the share is shown. The word is
    then given only if it is the same for all shares that the bound allows.
    """
    own, by_chance = found.own, found.by_chance
    if own is None or by_chance is None:
        return Recognition("–", "–", "")
    tested = disclosure.about(found.tested, size)
    low, high = disclosure.mean(own, found.tested)
    if low < high:
        low, high = math.floor(100 * low) / 100, math.ceil(100 * high) / 100
        chance = round(by_chance, 2)
        words = {_in_a_word(share, chance) for share in (low, high)}
        open_ended = high - low >= 1
        bound = f"<{100 * high:.0f} %" if low == 0 else f">{100 * low:.0f} %"
        excess, least = (
            ("", None) if open_ended else _bound_of_excess(low, high, chance, disclosure.around(found.tested)[0])
        )
        word = _shown_word(min(words), least) if len(words) == 1 else "too few"
        at_least = "" if least is None else _word_of(least)
        return Recognition("–" if open_ended else bound, f"{100 * chance:.0f} %", word, tested, excess, at_least)
    word = _in_a_word(own, by_chance)
    texts = [(f"{100 * own:.{digits}f}", f"{100 * by_chance:.{digits}f}") for digits in range(4)]
    shown = next((pair for pair in texts if _in_a_word(*(float(text) / 100 for text in pair)) == word), texts[-1])
    excess, at_least, at_most = f"{_down(_excess(own, by_chance)):.2f}", "", ""
    if found.interval:
        low, high = _down(found.interval[0]), _up(found.interval[1])
        excess += f" ({low:.2f}{'–' if low >= 0 else ' to '}{high:.2f})"
        at_least, at_most = map(_word_of, found.interval)
        word = _shown_word(word, low)
    return Recognition(f"{shown[0]} %", f"{shown[1]} %", word, tested, excess, at_least, at_most)


def _bound_of_excess(low: float, high: float, chance: float, tested: int) -> tuple[str, float | None]:
    """Return a bound of the excess that holds for 95 % of samples, and the bound as a number if it is a lower one, using only what
    the page shows.

    The share lies between `low` and `high`, and at least `tested` patients were tested. Either `low` is 0, or `high` is 1. The
    bound comes from Wilson's interval (1927) of the other end: from the upper limit for `high`, or from the lower limit for `low`.
    """
    recognised = math.ceil(high * tested) if low == 0 else math.floor(low * tested)
    ends = binomtest(recognised, tested).proportion_ci(method="wilson")
    if low == 0:
        return f"<{_up(_excess(float(ends.high), chance)):.2f}", None
    least = _down(_excess(float(ends.low), chance))
    return f">{least:.2f}", least


def _excess(own: float, by_chance: float) -> float:
    """Return how far a share exceeds chance, as a part of the largest possible excess."""
    return (own - by_chance) / max(1 - by_chance, 1e-9)


def _in_a_word(own: float, by_chance: float) -> str:
    """Return how far a share exceeds chance (see `_excess`), in a word: 'clear', 'weak' or 'none'."""
    return _word_of(_excess(own, by_chance))


def _word_of(excess: float) -> str:
    return "none" if excess < NONE_BELOW else "weak" if excess < WEAK_BELOW else "clear"


def _shown_word(word: str, least: float | None) -> str:
    """Return the word for an excess whose interval is shown to begin at `least`: evidence needs an interval above 0."""
    return "too few" if word != "none" and least is not None and least <= 0 else word


def usable(card: Mapping[str, Any]) -> bool:
    """Return whether a cluster can be relied on: other samples of patients find it, and its evidence is clear."""
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
    """What is counted: 'clusters' if each is a separate group, otherwise 'groups of clusters'."""

    @property
    def colour(self) -> str:
        """The colour of the verdict: 'clear' if most clusters can be relied on, otherwise 'weak'."""
        return "clear" if 2 * self.usable > self.total else "weak"


SHORT = {
    "none": (
        "says little or nothing of a patient beyond disease, age, sex and amount of record",
        "say little or nothing of a patient beyond disease, age, sex and amount of record",
    ),
    "weak": ("has only weak evidence", "have only weak evidence"),
    "clear": ("is not the same in other samples of the patients", "are not the same in other samples of the patients"),
    "too few": (
        "is left open by small numbers",
        "are left open by small numbers",
    ),
}
"""Why clusters cannot be relied on, by their evidence: words for one cluster, and for several."""


def standing(
    described: Sequence[dict[str, Any]],
    patients: Sequence[int],
    disclosure: Disclosure,
    groups: Sequence[Sequence[int]] | None = None,
) -> Standing:
    """Return how many `groups` of the `described` clusters can be relied on, the share of `patients` in them, and why other groups
    cannot.

    A group can be relied on if one of its parts can. If none can, the reason given is that of the largest part. `groups` hold
    numbers of clusters; without them, each cluster counts as a group.
    """
    parts = [[place] for place in range(len(described))]
    if groups is not None:
        places = {card["number"]: place for place, card in enumerate(described)}
        parts = [[places[number] for number in group] for group in groups]
    good = [any(usable(described[place]) for place in group) for group in parts]
    first = [described[max(group, key=lambda place: patients[place])]["evidence"] for group in parts]
    short = Counter(word if word in SHORT else "too few" for word, fine in zip(first, good, strict=True) if not fine)
    shown = [size for card, size in zip(described, patients, strict=True) if not card["hidden"]]
    inside = sum(patients[place] for group, fine in zip(parts, good, strict=True) if fine for place in group)
    others = [f"{short[word]} {SHORT[word][short[word] > 1]}" for word in SHORT if short[word]]
    kind = "clusters" if len(parts) == len(described) else "groups of clusters"
    return Standing(sum(good), len(good), disclosure.share(inside, sum(shown)), "; ".join(others), kind)


def limits(unstable_below: float) -> str:
    """Return the limits from which a cluster is called stable and below which it is called unstable, in words."""
    return f"stable at {max(STABLE, unstable_below):.2f} or more, unstable below {unstable_below:.2f}, doubtful between"


def counted(described: Sequence[Mapping[str, Any]], patients: Sequence[int], disclosure: Disclosure) -> str:
    """Count the `described` clusters by stability, with the share of the `patients` in those whose size is shown: '5 stable
    (26.0 % of the patients), 2 unstable (74.0 %)'."""
    numbers = Counter(card["stability"]["words"] for card in described)
    inside: Counter[str] = Counter()
    for card, size in zip(described, patients, strict=True):
        inside[card["stability"]["words"]] += 0 if card["hidden"] else size
    parts: list[str] = []
    total = sum(inside.values())
    for word in (word for word in (*STABILITY, "untested") if numbers[word]):
        share = disclosure.share(inside[word], total)
        of_patients = "" if parts else " of the patients"
        parts.append(f"{numbers[word]} {word}" + (f" ({share}{of_patients})" if share != "–" else ""))
    return ", ".join(parts)
