"""Compute the metric of the model Foresight (Kraljevic et al. 2024, `next_concept_prediction.py`), for our models and for
popularity alone.

For each concept of the next visit, take the ten most probable concepts *of the same semantic type and of the same status* (new or
recurring). The concept counts as found if any of these ten is recorded within a year. So the metric gives away type and status of
the answer, and rises with the length of the window without any skill. It is reported only to compare with published figures, and no
verdict depends on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.forecasts.metrics import NEW, RECURRING, TOP


@dataclass
class Foresight:
    """How many concepts next visits have, by status; and how many of them were forecast, by status and model. Filled by `add`."""

    labels: dict[str, int] = field(default_factory=lambda: {NEW: 0, RECURRING: 0})
    found: dict[tuple[str, str], int] = field(default_factory=dict)
    patients: dict[str, int] = field(default_factory=lambda: {NEW: 0, RECURRING: 0})

    def add(
        self,
        scores: Mapping[str, NDArray[np.float32]],
        had: NDArray[np.bool_],
        labels: NDArray[np.bool_],
        year: NDArray[np.bool_],
        of_type: NDArray[np.int64],
    ) -> None:
        """Add a block: scores (B, V) by model; flags (B, V) of concepts in the history (`had`), in the next visit (`labels`) and
        in the next year; and the type (V,) of each concept."""
        members = {each: np.flatnonzero(of_type == each) for each in np.unique(of_type).tolist()}
        for case in range(len(had)):
            recorded = np.flatnonzero(labels[case])
            for status, again in ((NEW, False), (RECURRING, True)):
                own = recorded[had[case, recorded] == again]
                self.patients[status] += bool(len(own))
                kinds, counts = np.unique(of_type[own], return_counts=True)
                for kind, number in zip(kinds.tolist(), counts.tolist(), strict=True):
                    same = members[kind]
                    same = same[had[case, same] == again]
                    self.labels[status] += number
                    for model, each in scores.items():
                        best = same[_highest(each[case, same])]
                        hit = number if year[case, best].any() else 0
                        self.found[status, model] = self.found.get((status, model), 0) + hit


def _highest(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the indices of the TOP highest scores (n,), in any order."""
    if len(scores) <= TOP:
        return np.arange(len(scores))
    return np.argpartition(-scores, TOP - 1)[:TOP]
