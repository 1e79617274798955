"""Find clusters that may be one kind of patient, and clusters of one disease with the marks of another cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ALIKE = 0.5  # smallest share of common marks (Jaccard) at which two clusters are alike
COMPARED = 6
"""Number of a cluster's marks, most important first, that are compared. In a cluster that mixes patients of two groups,
the few marks in its title may all come from one group; those of the other group follow."""
OWN = 3  # marks, at least two and without its disease, by which a cluster is recognised in others


@dataclass(frozen=True)
class Carried:
    """A cluster of patients of one disease who also have the marks of another cluster."""

    disease: str
    other: int
    """Number of the other cluster."""
    marks: tuple[str, ...]


def alike(marked: Mapping[int, Sequence[str]]) -> list[tuple[list[int], list[str]]]:
    """Group clusters with nearly the same marks (`marked`: names by cluster number); return groups and common marks.

    Nearly the same means that they share at least half of all their marks (Jaccard), and at least two. Such clusters
    are often one kind of patient, divided by something else.
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
    """Group described clusters with nearly the same marks (see `alike`), the same main disease and the same `carried`."""
    kinds: dict[tuple[str, int], dict[int, Sequence[str]]] = {}
    for card in described:
        if not card["hidden"] and card["diseases"]:
            kind = (card["diseases"][0][0], card["carried"].other if card["carried"] else 0)
            kinds.setdefault(kind, {})[card["number"]] = card["marks"][:COMPARED]
    return sorted(group for marked in kinds.values() for group in alike(marked))


def carried(card: dict[str, Any], known: Sequence[dict[str, Any]]) -> Carried | None:
    """Find the `known` cluster of another disease whose marks a cluster has; None if none, or no disease dominates.

    `known` are clusters that can be relied on; each is recognised by its first marks, without its own disease.
    """
    if card["hidden"] or not card["dominant"]:
        return None
    for other in known:
        disease = other["diseases"][0][0] if other["diseases"] else ""
        own = tuple(name for name in other["marks"] if name != disease)[:OWN]
        if disease != card["dominant"] and len(own) > 1 and set(own) <= set(card["marks"]):
            return Carried(card["dominant"], other["number"], own)
    return None
