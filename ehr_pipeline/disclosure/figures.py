"""Figures as they may be shown outside the data: in Dagster, in `summary.json`, in released files.

A figure says what it counts where it is made, and is rendered here alone. Counts of patients, and of their rows, from 1 to
`below` - 1 are left out, others rounded to a multiple of `to`: otherwise what came in less what was kept would tell the few that
were left out, here or at the next stage. A share of people is rounded until each of its values stands for `below` of them: all
digits of 0.9123376623376623 are those of 281/308 alone. How many codes, concepts or clusters there are tells of nobody.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

FEWEST = 10
"""From how many on rows and patients are told where no setting reaches: in messages, and in what is made before the report."""
DIGITS = 3
"""So many decimals scores have, and shares at most."""


@dataclass(frozen=True)
class People:
    """A number of patients, or of rows and events, which are theirs."""

    count: int


@dataclass(frozen=True)
class Things:
    """A number of codes, concepts, clusters, files, or another one that says nothing of anybody."""

    count: float


@dataclass(frozen=True)
class Share:
    """A share (0 to 1) of so many patients, rows or events, or a difference of two such shares."""

    value: float
    of: int


@dataclass(frozen=True)
class Score:
    """A loss, a correlation, an agreement: no ratio of two counts of people."""

    value: float


Figure = People | Things | Share | Score

# What the counts in manifests are of, by name; every other whole number is of people, every other fraction a share of them.
THINGS = frozenset(
    {
        "bytes",
        "clusters",
        "codes",
        "concepts",
        "concepts_of_few",
        "concepts_shown",
        "concepts_tested",
        "converged",
        "dimensions",
        "epochs",
        "numbers_kept",
        "megabytes",
        "parameters",
        "parts",
        "selected_concepts",
        "shards",
        "substitutes",
        "tokens_added",
        "vectors",
        "wanted",
    }
)
OF_CLUSTERS = frozenset({"stability"})
"""Counts by name that are of clusters."""
SCORES = frozenset(
    {
        "age",
        "alignment",
        "baseline_loss",
        "concepts",
        "coverage_of_codes",
        "inverse_frequency",
        "largest_residual",
        "spread",
        "uniformity",
        "validation_loss",
        "years",
    }
)
OF_CONCEPTS = ("vocabulary", "concept_embeddings")
"""Assets whose rows are concepts."""


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
    """Renders figures: leaves out small counts, and rounds the others, and shares and scores."""

    def __init__(self, below: int, to: int):
        self.below, self.to = below, to

    def count(self, value: int) -> int | None:
        """A count of people that may be shown, or None."""
        if 0 < abs(value) < self.below:
            return None
        return self.to * math.floor(
            value / self.to + 0.5
        )  # half up, as on the page: two rules together would tell some counts

    def figure(self, figure: Figure) -> float | None:
        """A figure as it may be shown, or None."""
        match figure:
            case People(count):
                return self.count(count)
            case Things(count):
                return count
            case Share(value, of):
                return round(value, self.decimals(of))
            case Score(value):
                return round(value, DIGITS)

    def decimals(self, of: int) -> int:
        """How many decimals a share of so many people may have: so few that one step of it is `below` of them or more."""
        steps = of / max(self.below, 1)
        return min(max(math.floor(math.log10(steps)), 0), DIGITS) if steps >= 1 else 0

    def numbers(self, counts: Any, of: int, name: str = "", parent: str = "") -> Any:
        """Nested counts as they may be shown, texts as they are; shares are of `of` people."""
        if isinstance(counts, dict):
            return {key: self.numbers(value, of, key, name) for key, value in counts.items()}
        if isinstance(counts, list):
            return [self.numbers(value, of) for value in counts]
        if isinstance(counts, bool) or not isinstance(counts, int | float):
            return counts
        return self.figure(_of_name(counts, of, name, parent))

    def artifact(self, asset: str, counts: dict[str, Any]) -> dict[str, Any]:
        """The counts of an artifact. Those of concepts stay as they are, those of events with them do not."""
        of = counts.get("kept")
        if asset not in OF_CONCEPTS:
            return dict(self.numbers(counts, of if isinstance(of, int) else 0))
        return {
            name: self.numbers(value, value["kept"], name) if name == "events" else value
            for name, value in counts.items()
        }


def _of_name(value: float, of: int, name: str, parent: str) -> Figure:
    """What a number in a manifest is of. Agreements of two divisions of patients are scores."""
    if isinstance(value, float):
        return Score(value) if name in SCORES or "agreement" in name or "rand_index" in name else Share(value, of)
    return Things(value) if name in THINGS or parent in OF_CLUSTERS else People(value)
