"""Find events entered in bulk: many events of a patient, entered on the same day long after their dates, as at registration.

The dates of such events were remembered or copied. They can be recognised only if the files have dates of entry.
"""

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.records.dates import NEVER
from ehr_pipeline.typed_settings import option, settings


@settings
class BulkEntry:
    """Which events are treated as entered in bulk. Source: our choice; no published rule is in general use."""

    events: int = option("Minimum number of a patient's events that were entered on the same day.", 20, ge=2)
    days: int = option("Minimum number of days between an event and its entry.", 365, ge=1)


def entered_in_bulk(
    patient: NDArray[np.integer], day: NDArray[np.integer], entered: NDArray[np.integer], rule: BulkEntry
) -> NDArray[np.bool_]:
    """Return flags (n,) of the events entered in bulk. `patient` (n,) are numbers; `day` and `entered` (n,) are days or `NEVER`."""
    dated = entered != NEVER
    far = dated & (np.abs(day.astype(np.int64) - entered) >= rule.days)
    entries = (patient.astype(np.int64) << 32) | (entered.astype(np.int64) - int(NEVER))
    _, entry, size = np.unique(entries[far], return_inverse=True, return_counts=True)
    flagged = np.zeros(len(patient), bool)
    flagged[far] = size[entry] >= rule.events
    return flagged
