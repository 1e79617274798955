"""What the model has to predict: 15 % of the tokens; of those 80 % masked, 10 % replaced, 10 % left (Devlin 2019, section 3.1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, MASK

MASKED, REPLACED = 0.8, 0.1


@dataclass(frozen=True)
class Masked:
    """Tokens as the model sees them, and where it is asked what."""

    inputs_RT: NDArray[np.int64]
    chosen_RT: NDArray[np.bool_]
    targets: NDArray[np.int64]
    """The true tokens (M,) at the chosen places, in their order."""


def mask(tokens_RT: NDArray[np.int64], share: float, vocabulary_size: int, rng: np.random.Generator) -> Masked:
    """Choose and hide tokens. Special tokens and padding are never chosen; the input is not changed.

    Where chance chooses nothing at all, one token is chosen, so that every batch has a loss.
    """
    concepts = tokens_RT >= FIRST_CONCEPT
    chosen = (rng.random(tokens_RT.shape) < share) & concepts
    if not chosen.any() and concepts.any():
        chosen.reshape(-1)[rng.choice(np.flatnonzero(concepts))] = True
    fate = rng.random(tokens_RT.shape)
    inputs = tokens_RT.copy()
    inputs[chosen & (fate < MASKED)] = MASK
    replaced = chosen & (fate >= MASKED) & (fate < MASKED + REPLACED)
    inputs[replaced] = rng.integers(FIRST_CONCEPT, vocabulary_size, int(replaced.sum()))
    return Masked(inputs, chosen, tokens_RT[chosen])
