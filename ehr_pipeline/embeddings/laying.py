"""What a job that embeds reads, written down where it will look for it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT, PATIENT_DATASET, VOCABULARY
from ehr_pipeline.work import jobs


def lay_out(
    artifacts: Mapping[str, Artifact], members: pa.Table, weights: NDArray[np.floating], work: Path
) -> jobs.Job:
    """Write who is embedded and the weight (V,) of each token id into `work`. Returns the places that the job has to know."""
    work.mkdir(parents=True, exist_ok=True)
    schemas.write(work / "cohort.arrow", members)
    np.save(work / "weights.npy", weights)
    return {
        "checkpoint": str(artifacts[ENCODER_CHECKPOINT].file("checkpoint")),
        "vocabulary": str(artifacts[VOCABULARY].path),
        "dataset": str(artifacts[PATIENT_DATASET].file("patients")),
        "cohort": str(work / "cohort.arrow"),
        "weights": str(work / "weights.npy"),
        "work": str(work),
    }
