"""The concepts on a cluster's card: which ones, in which order, and by which test.

The tested ranking shows the concepts that pass the mark test (`clusters.marker_concepts`), so few of those shown are there
by chance. The published ranking shows the first concepts by the chi-square test of occurrences (`enrichment`), as in the published
run. It orders concepts but does not control the error rate: even a random division of the patients would fill its cards.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.clusters.marker_concepts import Marks
from ehr_pipeline.reports.enrichment import Enrichment, Table

STRONG = 2.0
"""Ratio of shares of occurrences from which a concept of the published ranking is one of a cluster's marks."""


@dataclass(frozen=True)
class Ranking:
    """Concepts of all clusters; arrays are (K clusters, V token ids)."""

    is_tested: bool
    tokens: list[list[int]]
    """Token ids on each card: more frequent ones and less frequent ones, each the smallest p first."""
    over: NDArray[np.bool_]
    log_p: Table
    log_q: Table
    marks: NDArray[np.bool_]
    """Whether a more frequent concept is a mark, by which clusters are named and compared."""


def published(found: Enrichment, count: int, max_p: float) -> Ranking:
    """Return, for each cluster, the `count` concepts with the smallest p, as far as it is below `max_p`."""
    tokens = [found.top(cluster, count, max_p) for cluster in range(len(found.cluster_patients))]
    return Ranking(False, tokens, found.over, found.log_p, found.log_q, found.over & (found.ratio >= STRONG))


def tested(marks: Marks, numbers: NDArray[np.int64], size: int, count: int) -> Ranking:
    """Return the concepts that pass the mark test: for each cluster, at most `count` more frequent and `count` less
    frequent ones.

    `numbers` (K,) are the cluster numbers, and `size` is the number of token ids, V.
    """
    shape = len(numbers), size
    log_p, log_q, over, more = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool), np.zeros(shape, bool)
    for place, number in enumerate(numbers.tolist()):
        for row in np.flatnonzero(marks.numbers == number).tolist():
            log_p[place, marks.tokens], log_q[place, marks.tokens] = marks.log_p[row], marks.log_q[row]
            over[place, marks.tokens], more[place, marks.tokens] = marks.deviate[row] > 0, marks.more[row]
    tokens = [
        [token for more_ in (True, False) for token in marks.ranked(number, more=more_)[:count]]
        for number in numbers.tolist()
    ]
    return Ranking(True, tokens, over, log_p, log_q, more)
