"""Counts as they may be told outside the data: in Dagster, in `summary.json`, in released files.

Counts from 1 to `below` - 1 are left out, others rounded to a multiple of `to`: otherwise what came in less what was kept would
tell the few that were left out, here or at the next stage. How many codes, concepts or clusters there are tells of nobody.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

THINGS = frozenset(
    {
        "bytes",
        "clusters",
        "codes",
        "concepts",
        "concepts_of_few",
        "concepts_shown",
        "concepts_tested",
        "dimensions",
        "epochs",
        "megabytes",
        "not_converged",
        "parameters",
        "selected_concepts",
        "shards",
        "substitutes",
        "tokens_added",
        "unknown_concepts",
        "vectors",
    }
)
OF_CONCEPTS = ("vocabulary", "concept_embeddings")
"""Assets whose rows are concepts."""

FEWEST = 10
"""From how many on rows and patients are told where no setting reaches: in messages, and in what is made before the report."""


def told(count: int, below: int = FEWEST) -> str:
    """A count of rows or patients in a message, since logs get about more easily than reports: '1,234', or 'fewer than 10'."""
    return f"fewer than {below}" if 0 < count < below else f"{count:,}"


@dataclass(frozen=True)
class Naming:
    """From how many patients on a name that comes from the data is shown: of each name another number, above the threshold.

    Were it the threshold for all, a name that is gone from the next page, after one patient withdrew, would tell that one fewer
    than the threshold have it now. A keyed hash draws the number for each name once and for all (as cell keys do: Fraser & Wooton
    2005, 'A proposed method for confidentialising tabular output to protect against differencing'), so that what is gone leaves
    open how many there are, and is not below the threshold where one has left.
    """

    below: int
    key: str
    """A secret of the study, the same for all that is made of it."""

    def needed(self, name: str) -> int:
        """How many patients a name needs: from `below` + 1 to twice `below`; 1 where nothing is suppressed."""
        if self.below == 1:
            return 1
        key = hashlib.sha256(self.key.encode()).digest()
        digest = hashlib.blake2b(name.encode(), digest_size=8, key=key, person=b"names shown").digest()
        return self.below + 1 + int.from_bytes(digest, "little") % self.below

    def shows(self, name: str, patients: int) -> bool:
        """Whether a name may be shown that so many patients bear now."""
        return patients >= self.needed(name)


class Guard:
    """Leaves out small counts, and rounds the others; scores and shares are told to three digits."""

    def __init__(self, below: int, to: int):
        self.below, self.to = below, to

    def count(self, value: int) -> int | None:
        """A count that may be shown, or None."""
        return None if 0 < abs(value) < self.below else self.to * round(value / self.to)

    def numbers(self, counts: Any, name: str = "") -> Any:
        """Nested counts with every whole number guarded but those of things; scores to three digits, texts as they are."""
        if isinstance(counts, dict):
            return {key: self.numbers(value, key) for key, value in counts.items()}
        if isinstance(counts, list):
            return [self.numbers(value) for value in counts]
        if name in THINGS or isinstance(counts, bool) or not isinstance(counts, int | float):
            return counts
        return self.count(counts) if isinstance(counts, int) else round(counts, 3)

    def artifact(self, asset: str, counts: dict[str, Any]) -> dict[str, Any]:
        """The counts of an artifact. Those of concepts stay as they are, those of events with them do not."""
        if asset not in OF_CONCEPTS:
            return dict(self.numbers(counts))
        return {name: self.numbers(value, name) if name == "events" else value for name, value in counts.items()}
