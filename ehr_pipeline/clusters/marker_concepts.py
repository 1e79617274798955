"""Find the concepts that distinguish a cluster beyond disease, age, sex and number of recorded concepts, by the mark test
(`mark_test`).

Every pair of a cluster and a concept is a test, if enough patients have the concept. (This choice of concepts does not depend on
the clusters: Bourgon, Gentleman & Huber 2010, PNAS 107.) A concept is called less frequent only if, in addition, a smaller share of
the cluster's patients than of other patients have it at all, because the shares of concepts in a record add up to one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ehr_pipeline.clusters.evidence import FEWEST_PATIENTS
from ehr_pipeline.clusters.many_tests import benjamini_hochberg
from ehr_pipeline.clusters.mark_test import Halves, Table, deviates, log_p_of
from ehr_pipeline.clusters.methods import Labels
from ehr_pipeline.tables import schemas

MAX_Q = 0.05
"""A concept distinguishes ('marks') a cluster if its Benjamini-Hochberg value is below this."""
FEWEST = 10
"""Concepts that fewer patients have are not tested."""
_FILE = "marks.arrow"


@dataclass(frozen=True)
class Marks:
    """Results of the test. Axes: K clusters, T concepts that enough patients have."""

    numbers: NDArray[np.int64]
    """Numbers of the clusters (K,), ascending."""
    tokens: NDArray[np.int64]
    """Token ids (T,) of the concepts tested, ascending."""
    deviate: Table
    """Normal deviates (K, T), positive where the cluster's patients have more of the concept."""
    patients_agree: NDArray[np.bool_]
    """Flags (K, T): whether the share of the cluster's patients who have the concept at all differs in the same direction."""

    @cached_property
    def log_p(self) -> Table:
        """Natural logarithms (K, T) of two-sided p values."""
        return log_p_of(self.deviate)

    @cached_property
    def log_q(self) -> Table:
        """Natural logarithms (K, T) of Benjamini-Hochberg values over all pairs."""
        return benjamini_hochberg(self.log_p)

    @property
    def more(self) -> NDArray[np.bool_]:
        """Flags (K, T) of the concepts that mark a cluster by being more frequent."""
        return np.asarray((self.log_q < np.log(MAX_Q)) & (self.deviate > 0))

    @property
    def less(self) -> NDArray[np.bool_]:
        """Flags (K, T) of the concepts that mark a cluster by being less frequent, both in records and by the share of patients."""
        return np.asarray((self.log_q < np.log(MAX_Q)) & (self.deviate < 0) & self.patients_agree)

    def ranked(self, number: int, *, more: bool) -> list[int]:
        """Return token ids of concepts that are `more` frequent in the cluster `number`, or less if it is False; smallest p
        first."""
        flags, rows = (self.more if more else self.less), np.flatnonzero(self.numbers == number)
        passed = np.flatnonzero(flags[rows].any(axis=0))
        order = np.argsort(-np.abs(self.deviate[rows][:, passed]).max(axis=0, initial=0), kind="stable")
        return [int(token) for token in self.tokens[passed[order]]]

    def not_in(self, number: int, other: int) -> list[int]:
        """Return the token ids of concepts that are more frequent in the cluster `number` and less frequent in `other` (where they
        need not be significant), smallest p first."""
        less = self.tokens[(self.deviate[self.numbers == other] < 0).any(axis=0)]
        return [token for token in self.ranked(number, more=True) if token in less]

    def write(self, folder: Path) -> None:
        """Write `marks.arrow`, one row for each pair of cluster and concept, to a folder that `read` can read."""
        pairs = {
            "cluster": pa.array(np.repeat(self.numbers, len(self.tokens)), pa.int32()),
            "token": pa.array(np.tile(self.tokens, len(self.numbers)), pa.int32()),
            "deviate": pa.array(self.deviate.ravel(), pa.float64()),
            "ln_p": pa.array(self.log_p.ravel(), pa.float64()),
            "ln_q": pa.array(self.log_q.ravel(), pa.float64()),
            "patients_agree": pa.array(self.patients_agree.ravel(), pa.bool_()),
        }
        schemas.write(folder / _FILE, pa.table(pairs, schema=schemas.MARKS))

    @classmethod
    def read(cls, folder: Path) -> "Marks":
        """Read the folder of a `clusters` artifact. Raises Damaged when the table is not valid."""
        table = schemas.read_as(folder / _FILE, schemas.MARKS)
        columns = {name: table.column(name).to_numpy() for name in ("cluster", "token", "deviate", "patients_agree")}
        numbers, tokens = (np.unique(columns[name]).astype(np.int64) for name in ("cluster", "token"))
        shape = len(numbers), len(tokens)
        return cls(
            numbers, tokens, columns["deviate"].reshape(shape), columns["patients_agree"].astype(bool).reshape(shape)
        )


def test(
    halves: Halves, blockings: Sequence[Labels], counts: csr_array, labels: Labels, numbers: NDArray[np.int64]
) -> Marks:
    """Find the concepts that mark clusters with `numbers` (K,), by `counts` (n, V) and `labels` (n,) of whole records."""
    has = (counts > 0).astype(np.float64)
    enough = len(halves.votes[0]) >= FEWEST_PATIENTS
    tokens = np.flatnonzero((np.asarray(has.sum(axis=0)).ravel() >= FEWEST) & enough)
    if not len(tokens):
        nothing = np.zeros((len(numbers), 0))
        return Marks(numbers, tokens, nothing, nothing.astype(bool))
    deviate = deviates(halves.columns(tokens), blockings, len(numbers))
    member = csr_array((np.ones(len(labels)), (labels, np.arange(len(labels)))), shape=(len(numbers), len(labels)))
    inside, size = (member @ has[:, tokens]).toarray(), np.bincount(labels, minlength=len(numbers))[:, None]
    share = inside / np.maximum(size, 1)
    elsewhere = (inside.sum(axis=0) - inside) / np.maximum(size.sum() - size, 1)
    return Marks(numbers, tokens, deviate, np.sign(share - elsewhere) == np.sign(deviate))
