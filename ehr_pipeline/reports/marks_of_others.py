"""Find clusters whose patients have one disease but also carry the marks of another cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MARKS = 3  # most marks by which a cluster is recognised in others: at least two, not counting its disease


@dataclass(frozen=True)
class Carried:
    """A cluster of patients of one disease who also have the marks of another cluster."""

    disease: str
    other: int
    """Number of the other cluster."""
    marks: tuple[str, ...]


def carried(card: dict[str, Any], known: Sequence[dict[str, Any]]) -> Carried | None:
    """Find, among `known` clusters of other diseases, one whose marks the cluster of this card has too. None if there is none, or
    if most patients of the cluster have no disease in common.

    `known` are clusters that can be relied on. Each is recognised by its first marks, leaving out its own disease.
    """
    if card["hidden"] or not card["dominant"]:
        return None
    for other in known:
        disease = other["diseases"][0][0] if other["diseases"] else ""
        own = tuple(name for name in other["marks"] if name != disease)[:MARKS]
        if disease != card["dominant"] and len(own) > 1 and set(own) <= set(card["marks"]):
            return Carried(card["dominant"], other["number"], own)
    return None
