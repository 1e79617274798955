"""Initialise the vectors of unknown concepts from their names: similar names get similar vectors, as far as names predict vectors.

Names become vectors without a network: TF-IDF of their pieces of three to five characters, then a truncated SVD (latent semantic
analysis: Deerwester 1990). A ridge regression learns to predict, from the name vectors of known concepts, the vectors that an
encoder has learned for them. It then predicts the vectors of unknown concepts. Its penalty is chosen by leaving out each known
concept once. If names predict nothing, this penalty shrinks every prediction to the mean. Kirchler 2026 (GRASP) also transfers an
encoder between health systems by the names of codes, but with a language model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PIECES, WIDTH = (3, 5), 256
"""Shortest and longest piece of a name, in characters; and largest number of directions of the SVD."""
PENALTIES = tuple(10.0**power for power in range(-3, 6))
FEWEST = 20
"""Smallest number of learned concepts for a regression on names."""


@dataclass(frozen=True)
class Predicted:
    """Vectors predicted from names."""

    rows: NDArray[np.float64]
    """Predicted rows (n, D) of the unknown concepts."""
    explained: float
    """Share of the variance of learned rows that names predict for left-out concepts, from 0 to 1; negative values count as 0."""


def vectors(names: Sequence[str]) -> NDArray[np.float64]:
    """Return vectors (n, d) of names, d at most WIDTH: names that share pieces are near, and equal names have equal vectors."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=PIECES, sublinear_tf=True).fit_transform(
        [f" {name} " for name in names]
    )
    width = min(WIDTH, min(pieces.shape) - 1)
    if width < 1:
        return np.asarray(pieces.toarray())
    reduced: NDArray[np.float64] = TruncatedSVD(width, random_state=0).fit_transform(pieces)
    return reduced


def predict(learned: Sequence[str], rows: NDArray[np.float64], unknown: Sequence[str]) -> Predicted:
    """Predict the rows of concepts with the names `unknown`, from the names `learned` of other concepts and their rows (m, D)."""
    from sklearn.linear_model import RidgeCV

    mean = rows.mean(0)
    if len(learned) < FEWEST or not unknown:
        return Predicted(np.tile(mean, (len(unknown), 1)), 0.0)
    vectors_of_names = vectors([*learned, *unknown])
    known, queries = vectors_of_names[: len(learned)], vectors_of_names[len(learned) :]
    ridge = RidgeCV(PENALTIES).fit(known, rows)
    error = -ridge.best_score_  # mean squared error of each value, for left-out concepts
    explained = max(1 - error / max(float(((rows - mean) ** 2).mean()), 1e-30), 0.0)
    return Predicted(np.asarray(ridge.predict(queries)), explained)
