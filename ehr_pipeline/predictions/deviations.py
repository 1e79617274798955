"""How the AUROCs of all models and tasks vary together over other possible samples of test patients.

Tasks share patients, so the standard error of a mean over tasks does not follow from those of the tasks. Therefore the deviation of
each AUROC is computed in D bootstrap draws, which are the same for all tasks. In a draw, every patient counts either twice or not
at all, by one bit of a hash of the patient (a multiplier bootstrap with random signs, in first order; Mammen 1993). Deviations are
linear: that of a mean, or of a difference, is the mean or difference of deviations, and its mean square over the draws estimates
the variance.

Axes: n rows of the test set, P patients, R samples of labels, D draws.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.tables.hashing import hash_of_numbers

DRAWS = 256
"""Standard errors are within some 4 % of their values with all draws."""
SCHEMA = pa.schema(
    [
        pa.field("task", pa.string()),
        pa.field("model", pa.string()),
        pa.field("labels", pa.int64()),
        pa.field("replicate", pa.int64()),
        pa.field("deviations", pa.list_(pa.float32(), DRAWS)),
    ]
)
"""Columns of `deviations.arrow`: a row for each fitted model, with labels and replicate as in `results.csv`."""
_AT_ONCE = 8_192
"""Patients whose signs are held at once."""
Fitted = tuple[str, int | None, int]
"""A model, the number of labels it was fitted with (None: all), and the number of the sample of labels, from 0."""


def table(task: str, patient: NDArray[np.uint64], influences: Mapping[Fitted, NDArray[np.float64]]) -> pa.Table:
    """Return the deviations of a task's AUROCs.

    `patient` (n,) is a hash of each row's patient, the same in all tasks. `influences` holds the influence of each row (n,) on the
    AUROC of each fitted model (`metrics.influence`).
    """
    people, place = np.unique(patient, return_inverse=True)
    of_people = np.array([np.bincount(place, influence, len(people)) for influence in influences.values()])
    of_people = of_people.reshape(len(influences), len(people))
    sums = np.zeros((len(influences), DRAWS))
    for start in range(0, len(people), _AT_ONCE):
        sums += of_people[:, start : start + _AT_ONCE] @ _signs(people[start : start + _AT_ONCE])
    models, labels, replicates = zip(*influences, strict=True) if influences else ((), (), ())
    deviations = pa.FixedSizeListArray.from_arrays(pa.array(sums.astype(np.float32).ravel()), DRAWS)
    return pa.table([[task] * len(influences), models, labels, replicates, deviations], schema=SCHEMA)


def by_model(stored: pa.Table) -> dict[tuple[str, str, int | None], NDArray[np.float32]]:
    """Deviations (R, D) by task, model and number of labels: one row for each sample of labels."""
    names = ("task", "model", "labels")
    chunks = [chunk.flatten() for chunk in stored.column("deviations").chunks]
    values = pa.concat_arrays(chunks or [pa.array([], pa.float32())]).to_numpy().reshape(-1, DRAWS)
    places: dict[tuple[str, str, int | None], list[int]] = {}
    for place, key in enumerate(zip(*(stored.column(name).to_pylist() for name in names), strict=True)):
        places.setdefault(key, []).append(place)
    return {key: values[rows] for key, rows in places.items()}


def _signs(people: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return a sign for each patient and draw (P, D): bits of hashes of the patient's hash."""
    salts = hash_of_numbers(np.arange(DRAWS // 64, dtype=np.uint64))
    words = np.stack([hash_of_numbers(people ^ salt) for salt in salts], axis=1)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), axis=1)
    signs: NDArray[np.float64] = np.where(bits, 1.0, -1.0)
    return signs
