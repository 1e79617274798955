"""Weight tokens in the mean by the frequency of their concept. One function per choice, registered in WEIGHTINGS."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.embeddings.settings import VectorSettings
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT

Weights = NDArray[np.float32]
Frequencies = NDArray[np.float64]
Weighting = Callable[[VectorSettings, Frequencies, Frequencies], Weights]


def equal(settings: VectorSettings, share_of_tokens: Frequencies, share_of_patients: Frequencies) -> Weights:
    """Return weight 1 for every token: the plain mean."""
    return np.ones(len(share_of_tokens), np.float32)


def sif(settings: VectorSettings, share_of_tokens: Frequencies, share_of_patients: Frequencies) -> Weights:
    """Return the smooth inverse frequency, a / (a + p) (Arora, Liang & Ma 2017)."""
    return (settings.sif_constant / (settings.sif_constant + share_of_tokens)).astype(np.float32)


def log(settings: VectorSettings, share_of_tokens: Frequencies, share_of_patients: Frequencies) -> Weights:
    """Return the inverse document frequency (Spärck Jones 1972), the log of 1 + 1 / share of patients: always above zero."""
    return np.log1p(1 / share_of_patients).astype(np.float32)


def root(settings: VectorSettings, share_of_tokens: Frequencies, share_of_patients: Frequencies) -> Weights:
    """Return 1 / √p, scaled to 1 for the most frequent concept."""
    weights: Weights = np.sqrt(share_of_tokens.max() / share_of_tokens).astype(np.float32)
    return weights


WEIGHTINGS: dict[str, Weighting] = {"equal": equal, "sif": sif, "log": log, "root": root}


def token_weights(
    settings: VectorSettings, chosen: NDArray[np.bool_], tokens: NDArray[np.integer], patients: NDArray[np.integer]
) -> Weights:
    """Return the weight of each token id (V,); 0 if it is not `chosen`.

    `tokens` (V,) counts occurrences of each concept, `patients` (V,) the patients who have it. A count of 0 is treated as 1.
    """
    frequencies = [np.maximum(counts[FIRST_CONCEPT:], 1).astype(float) for counts in (tokens, patients)]
    most = max(float(frequencies[1].max(initial=1)), 1.0)
    weights = np.zeros(len(chosen), np.float32)
    weights[FIRST_CONCEPT:] = WEIGHTINGS[settings.weighting](
        settings, frequencies[0] / frequencies[0].sum(), frequencies[1] / (most + 1)
    )
    return np.where(chosen, weights, np.float32(0))
