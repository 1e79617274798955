"""Counts as they may be told outside the data: in Dagster, in `summary.json`, in released files.

Counts from 1 to `below` - 1 are left out, others rounded to a multiple of `to`: otherwise what came in less what was kept would
tell the few that were left out, here or at the next stage. How many codes, concepts or clusters there are tells of nobody.
"""

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


class Guard:
    """Leaves out small counts, and rounds the others; scores and shares are told to three digits."""

    def __init__(self, below: int, to: int):
        self.below, self.to = below, to

    def named(self, patients: int) -> bool:
        """Whether a name that comes from the data may be shown, by how many patients bear it (see `Disclosure.named`)."""
        return patients >= self.below

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
