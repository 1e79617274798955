"""What a job that embeds reads, written down where it will look for it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.work import jobs


def lay_out(
    artifacts: Mapping[str, Artifact], members: pa.Table, weights: NDArray[np.floating], work: Path
) -> jobs.Job:
    """Write who is embedded and the weight (V,) of each token id into `work`. Returns the places that the job has to know."""
    work.mkdir(parents=True, exist_ok=True)
    schemas.write(work / "cohort.arrow", members)
    np.save(work / "weights.npy", weights)
    return {
        "checkpoint": str(artifacts["encoder_checkpoint"].file("checkpoint")),
        "vocabulary": str(artifacts["vocabulary"].path),
        "dataset": str(artifacts["patient_dataset"].file("patients")),
        "cohort": str(work / "cohort.arrow"),
        "weights": str(work / "weights.npy"),
        "work": str(work),
    }
