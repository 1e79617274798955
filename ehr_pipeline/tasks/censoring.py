"""Inverse-probability-of-censoring weights (Kaplan-Meier): patients who stayed represent those who left."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
WARNING_SHARE = 0.1
"""The report warns if at least this share of the patients who would have a label left within the window."""


def left_in_window(counts: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many patients left within the window without the outcome, and how many would have a label had they stayed.

    `counts` are those of a task (`tasks.build`).
    """
    gone = int(counts["dropped"].get("left_in_window", 0))
    return gone, int(counts["kept"]) + gone


def is_excessive(gone: int, of: int) -> bool:
    """Return whether so many left that the report warns."""
    return gone > 0 and gone >= WARNING_SHARE * of


def weights(left: Counts, others: Counts) -> NDArray[np.float64]:
    """Return the weights (w,) of labels by days of follow-up. Of the patients whose follow-up ended on each day, `count_left`
    (w,) is the number who left, and `others` (w,) that of all others.

    A patient who had the outcome on day t has the weight 1 / P(not having left before day t) (Uno, Cai, Tian and Wei 2007, J Am
    Stat Assoc 102:527). On the same day, outcomes count as earlier than leaving.
    """
    remaining = (left + others)[::-1].cumsum()[::-1] - others
    with np.errstate(invalid="ignore", divide="ignore"):
        stays = np.where(remaining > 0, 1 - left / np.maximum(remaining, 1), 1.0)
    before = np.concatenate([[1.0], np.cumprod(stays)[:-1]])
    return np.where(before > 0, 1 / np.maximum(before, 1e-12), 0.0)
