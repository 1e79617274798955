"""Subjects, codes and label schema of MEDS (Medical Event Data Standard 0.4).

The prediction time of a label is the end of the last day of the history. MEDS lets a model read "up to and including" the
prediction time, and our events are at midnight of their day. So a time on the index date would let a model read that whole day.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.store.secret_key import Key

DEATH = "MEDS_DEATH"
LABELS = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("prediction_time", pa.timestamp("us"), nullable=False),
        pa.field("boolean_value", pa.bool_(), nullable=False),
    ]
)
_DAY = 86_400_000_000
"""Microseconds of a day."""


def subject_id(patient_id: str, key: Key) -> int:
    """Return a patient's subject id: 63 bits of the BLAKE2b hash (RFC 7693) of the patient id, keyed with the store's key.

    It is the same in every export of the store, and cannot be computed from a patient id without the key. This is not
    anonymisation: the events of a subject are still those of one person.
    """
    return key.number("meds subject", patient_id) >> 1


def code(concept: str) -> str:
    """Return the MEDS code of a concept of the vocabulary."""
    system, colon, name = concept.partition(":")
    if not colon:
        return f"UMLS//{concept}"
    return f"{'SNOMED' if system == 'SCT' else system}//{name}"


def prediction_time(last_day: NDArray[np.int32]) -> pa.Array:
    """Return the prediction times (n,) of histories that end with these days (n,), given as days from 1970-01-01."""
    return pa.array((last_day.astype(np.int64) + 1) * _DAY - 1).cast(pa.timestamp("us"))


def last_day(times: pa.ChunkedArray | pa.Array) -> NDArray[np.int32]:
    """Return the last day (n,) that has ended by each time (n,), so all its events are known, whatever their hour."""
    microseconds = times.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    days: NDArray[np.int32] = ((microseconds + 1) // _DAY - 1).astype(np.int32)
    return days
