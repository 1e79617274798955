"""Which clusters may be one kind of patient, and which are patients of one disease with the marks of another cluster on top."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ALIKE = 0.5  # of all marks of two clusters: from here on they have nearly the same
COMPARED = 6
"""Marks of a cluster that are compared, the most important ones. The few that name it may all be of one group where patients of
two meet: those of the other group come next."""
OWN = 3  # marks of a cluster by which it is known in others, its disease left out; two at least


@dataclass(frozen=True)
class Carried:
    """A disease's patients in one cluster, who also have the marks of another one."""

    disease: str
    other: int
    """Number of the other cluster."""
    marks: tuple[str, ...]


def alike(marked: Mapping[int, Sequence[str]]) -> list[tuple[list[int], list[str]]]:
    """Which clusters have nearly the same `marks` (names by number of the cluster): them, and what all of them share.

    Nearly the same: at least half of what either has (Jaccard), and two marks. Such clusters are often one kind of patient, divided
    by something else.
    """
    groups: list[list[int]] = []
    for number, names in marked.items():
        near = [group for group in groups if any(_overlap(names, marked[other]) >= ALIKE for other in group)]
        groups = [group for group in groups if group not in near] + [sorted({number}.union(*near))]
    shared = [
        (group, [name for name in marked[group[0]] if all(name in marked[other] for other in group)])
        for group in groups
    ]
    return sorted((group, names) for group, names in shared if len(group) > 1 and names)


def _overlap(one: Sequence[str], other: Sequence[str]) -> float:
    both = set(one) & set(other)
    return len(both) / len({*one, *other}) if len(both) > 1 else 0.0


def alike_of_one_disease(described: Sequence[dict[str, Any]]) -> list[tuple[list[int], list[str]]]:
    """Which described clusters have nearly the same marks (see `alike`), the same most frequent disease, and `carried` the same."""
    kinds: dict[tuple[str, int], dict[int, Sequence[str]]] = {}
    for card in described:
        if not card["hidden"] and card["diseases"]:
            kind = (card["diseases"][0][0], card["carried"].other if card["carried"] else 0)
            kinds.setdefault(kind, {})[card["number"]] = card["marks"][:COMPARED]
    return sorted(group for marked in kinds.values() for group in alike(marked))


def carried(card: dict[str, Any], known: Sequence[dict[str, Any]]) -> Carried | None:
    """Of which `known` cluster of another disease a cluster of one disease has the marks; None of none, or where none dominates.

    A known cluster is one that can be relied on: it is told by the first of its marks, its own disease left out.
    """
    if card["hidden"] or not card["dominant"]:
        return None
    for other in known:
        disease = other["diseases"][0][0] if other["diseases"] else ""
        own = tuple(name for name in other["marks"] if name != disease)[:OWN]
        if disease != card["dominant"] and len(own) > 1 and set(own) <= set(card["marks"]):
            return Carried(card["dominant"], other["number"], own)
    return None
