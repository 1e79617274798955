"""Names in MEDS (Medical Event Data Standard 0.4): of subjects and codes, and the schema of labels.

A label's prediction time is the end of the last day of the history: MEDS lets a model read "up to and including" that time, and
events of our days are at midnight, so a time on the index day itself would let it read that whole day.
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
"""Microseconds."""


def subject_id(patient_id: str, key: Key) -> int:
    """The subject id of a patient: 63 bits of a BLAKE2b hash (RFC 7693) of the patient id, keyed with the store's key.

    It is the same in every export of the store. Without the key nobody can compute it from a patient id. This is not
    anonymisation: the events of a subject are still those of one person.
    """
    return key.number("meds subject", patient_id) >> 1


def code(concept: str) -> str:
    """The MEDS code of one of our concepts."""
    system, colon, name = concept.partition(":")
    if not colon:
        return f"UMLS//{concept}"
    return f"{'SNOMED' if system == 'SCT' else system}//{name}"


def prediction_time(last_day: NDArray[np.int32]) -> pa.Array:
    """The prediction times (n,) of histories that end with these days (n,), given as days from 1970-01-01."""
    return pa.array((last_day.astype(np.int64) + 1) * _DAY - 1).cast(pa.timestamp("us"))


def last_day(times: pa.ChunkedArray | pa.Array) -> NDArray[np.int32]:
    """The last days (n,) that have ended by the given times (n,): their events are known then, whatever the hour."""
    microseconds = times.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    days: NDArray[np.int32] = ((microseconds + 1) // _DAY - 1).astype(np.int32)
    return days
