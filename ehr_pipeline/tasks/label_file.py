"""Read a user's file of index dates, in the MEDS label schema, and find its patients in the data set."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tables import align, schemas
from ehr_pipeline.tasks import prediction_times
from ehr_pipeline.tasks.prediction_times import PredictionTimes


def locate(path: Path, dataset: Artifact, key: Key, out: Path) -> int:
    """Write the rows of a label file for the patients in the data set: patient_id, last_day, label (false if the file has none).

    Returns the number of rows in the file. Raises InputError as `read` does.
    """
    requests, parts = read(path), []
    label = requests.label if requests.label is not None else np.zeros(len(requests.ids), bool)
    for shard in dataset.files("patients"):
        ids = align.one_chunk(schemas.read(shard, ["patient_id"]).column("patient_id"))
        row = requests.rows(ids, key)
        here = np.flatnonzero(row >= 0)
        columns = {
            "patient_id": ids.take(pa.array(row[here])),
            "last_day": requests.last_day[here],
            "label": label[here],
        }
        parts.append(pa.table(columns))
    schemas.write(out, pa.concat_tables(parts))
    return len(requests.ids)


def read(path: Path) -> PredictionTimes:
    """Read a file in the MEDS label schema: subject_id or patient_id, prediction_time, and boolean_value if it has one.

    Raises InputError as `prediction_times.read` does, and for a file that has a patient and time twice.
    """
    return prediction_times.read(path, once=True)
