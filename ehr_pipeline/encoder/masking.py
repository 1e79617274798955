"""What the model has to predict: 15 % of the tokens; of those 80 % masked, 10 % replaced, 10 % left (Devlin 2019, section 3.1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, MASK

MASKED, REPLACED = 0.8, 0.1


@dataclass(frozen=True)
class Draws:
    """What chance says about each of R × T places, whatever tokens stand there.

    So any part of an update (a process's rows, a micro-batch) gets the masks that it would get within the whole.
    """

    chosen_RT: NDArray[np.bool_]
    fate_RT: NDArray[np.float32]
    other_RT: NDArray[np.int32]
    """A token id to put in place of the true one."""

    @classmethod
    def draw(cls, shape: tuple[int, int], share: float, vocabulary_size: int, rng: np.random.Generator) -> "Draws":
        """Draw for `shape` places; `share` of them are chosen."""
        return cls(
            rng.random(shape, np.float32) < np.float32(share),
            rng.random(shape, np.float32),
            rng.integers(FIRST_CONCEPT, vocabulary_size, shape, np.int32),
        )

    def rows(self, rows: NDArray[np.int64] | slice) -> "Draws":
        """The draws of some rows."""
        return Draws(self.chosen_RT[rows], self.fate_RT[rows], self.other_RT[rows])


@dataclass(frozen=True)
class Masked:
    """Tokens as the model sees them, and where it is asked what."""

    inputs_RT: NDArray[np.int64]
    chosen_M: NDArray[np.int64]
    """The chosen places, as numbers in the flattened R × T."""
    targets_M: NDArray[np.int64]
    """The true tokens there."""


def mask(tokens_RT: NDArray[np.int64], draws: Draws) -> Masked:
    """Hide tokens. Special tokens and padding are never chosen; the input is not changed."""
    chosen_RT = draws.chosen_RT & (tokens_RT >= FIRST_CONCEPT)
    inputs = tokens_RT.copy()
    inputs[chosen_RT & (draws.fate_RT < MASKED)] = MASK
    replaced = chosen_RT & (draws.fate_RT >= MASKED) & (draws.fate_RT < MASKED + REPLACED)
    inputs[replaced] = draws.other_RT[replaced]
    return Masked(inputs, np.flatnonzero(chosen_RT), tokens_RT[chosen_RT])
