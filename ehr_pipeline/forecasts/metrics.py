"""Measure lists of ten forecast concepts, with intervals over patients. Axes: P cases, B cases of a block, V token ids, G groups.

There are three lists: concepts that the patient never had (new), concepts that the patient had before (recurring), and all
concepts. Recall at ten is |top ten ∩ recorded| / |recorded|, precision at ten is |top ten ∩ recorded| / 10, and nDCG at ten
(Järvelin & Kekäläinen 2002) has gain 1 for a recorded concept. A case without a recorded concept of the list does not count.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
NEW, RECURRING, ANY = "new", "recurring", "any"
LISTS = (NEW, RECURRING, ANY)
RECURRING_BY, NEW_TIMES = 0.02, 1.15
"""For 'better', recall at ten must also be higher by this difference (recurring), or by this factor (new)."""
TOP = 10
MEASURES = ("recall", "precision", "ndcg")
_DISCOUNT = 1 / np.log2(np.arange(TOP) + 2)
EDGES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Edges between bins of probabilities, for calibration."""


def top(scores: NDArray[np.float32], allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return token ids (B, TOP) of the highest allowed scores, highest first; and flags (B, TOP) of the places filled."""
    shown = np.where(allowed, scores, -np.inf)
    width = min(TOP, shown.shape[1])
    best = np.argpartition(-shown, width - 1, axis=1)[:, :width]
    best = np.take_along_axis(best, np.lexsort((best, -np.take_along_axis(shown, best, 1)), axis=1), 1)
    return best, np.isfinite(np.take_along_axis(shown, best, 1))


def allowed_of(name: str, had: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return flags (B, V) of the concepts that a list may name."""
    return {NEW: ~had, RECURRING: had, ANY: np.ones_like(had)}[name]


@dataclass
class Tally:
    """Measures of one horizon and list, by model (P, 3), and hits by group (P, G); filled block by block."""

    measures: dict[str, list[Floats]] = field(default_factory=dict)
    hits: dict[str, list[NDArray[np.int32]]] = field(default_factory=dict)
    recorded: list[NDArray[np.int32]] = field(default_factory=list)
    by_group: list[NDArray[np.int32]] = field(default_factory=list)

    def add(
        self,
        scores: dict[str, NDArray[np.float32]],
        allowed: NDArray[np.bool_],
        truth: NDArray[np.bool_],
        groups: "csr_array",
    ) -> None:
        """Add a block: scores (B, V) by model, flags (B, V) of allowed and of recorded concepts, and groups of concepts (V, G)."""
        wanted = truth & allowed
        many = wanted.sum(1)
        self.recorded.append(many.astype(np.int32))
        row, concept = np.nonzero(wanted)
        self.by_group.append(_by_group(row, concept, len(wanted), groups))
        ideal = np.cumsum(_DISCOUNT)[np.clip(many, 1, TOP) - 1]
        for name, each in scores.items():
            best, usable = top(each, allowed)
            hit = np.take_along_axis(wanted, best, 1) & usable
            found = hit.sum(1)
            gain = hit @ _DISCOUNT[: hit.shape[1]]
            parts = [found / np.maximum(many, 1), found / TOP, gain / ideal]
            self.measures.setdefault(name, []).append(np.column_stack(parts))
            row, place = np.nonzero(hit)
            self.hits.setdefault(name, []).append(_by_group(row, best[row, place], len(hit), groups))

    def done(self) -> "Judged":
        """Join all blocks, for the cases with a concept to find."""
        recorded = np.concatenate(self.recorded) if self.recorded else np.zeros(0, np.int32)
        some = recorded > 0
        return Judged(
            {name: np.concatenate(parts)[some] for name, parts in self.measures.items()},
            {name: np.concatenate(parts)[some] for name, parts in self.hits.items()},
            recorded[some],
            np.concatenate(self.by_group)[some] if self.by_group else np.zeros((0, 0), np.int32),
        )


@dataclass(frozen=True)
class Judged:
    """Measures of the cases (P,) that have a concept to find."""

    measures: dict[str, Floats]
    """Recall, precision and nDCG at ten, by model (P, 3)."""
    hits: dict[str, NDArray[np.int32]]
    """By model: the number of concepts found in each group (P, G)."""
    recorded: NDArray[np.int32]
    by_group: NDArray[np.int32]
    """Number of recorded concepts in each group (P, G)."""

    def __len__(self) -> int:
        return len(self.recorded)


def averages(values: Floats, times: NDArray[np.uint8], of: Floats | None = None) -> Floats:
    """Return means (B,) of values (P,) in B bootstrap draws, or with `of` (P,) the sum of values over its sum; NaN for 0/0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate(
            [
                (part @ values) / (part.sum(1) if of is None else part @ of)
                for start in range(0, len(times), 100)
                for part in [times[start : start + 100].astype(np.float64)]
            ]
        )


@dataclass
class Calibration:
    """Forecast probabilities against observed shares, in bins between EDGES."""

    pairs: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EDGES) + 1, np.int64))
    recorded: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EDGES) + 1, np.int64))
    predicted: Floats = field(default_factory=lambda: np.zeros(len(EDGES) + 1))

    def add(self, probability: NDArray[np.float32], allowed: NDArray[np.bool_], truth: NDArray[np.bool_]) -> None:
        """Add a block (B, V)."""
        values, case = probability[allowed], truth[allowed]
        place, size = np.digitize(values, EDGES), len(self.pairs)
        self.pairs += np.bincount(place, minlength=size)
        self.recorded += np.bincount(place[case], minlength=size)
        self.predicted += np.bincount(place, values, size)


def _by_group(
    row: NDArray[np.integer], concept: NDArray[np.integer], cases: int, groups: "csr_array"
) -> NDArray[np.int32]:
    """Return how many of the pairs (n,) of a case and a concept are in each group (B, G)."""
    from scipy.sparse import csr_array

    pairs = csr_array((np.ones(len(row), np.int32), (row, concept)), shape=(cases, groups.shape[0]))
    return np.asarray((pairs @ groups).toarray(), np.int32)
