"""Build `encoder_checkpoint`: launch the training run, and return its counts."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.drawing.plots import learning_curves
from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.encoder.training_job import PATIENTS, TrainingJob
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.hashing import hash_of_column
from ehr_pipeline.work.jobs import Launch


def build(job: TrainingJob, launch: Launch) -> Counts:
    """Train, draw the learning curves, and return the counts."""
    launch(job)
    out = job.out
    metrics = read_metrics(out)
    learning_curves(out / "notes" / "curves.png", metrics)
    tokens = metrics["training_tokens"] + metrics["validation_tokens"]
    baseline = {name: value for name, value in metrics["baseline"].items() if isinstance(value, float)}
    return {
        "rows_in": tokens,
        "kept": tokens,
        "parameters": metrics["parameters"],
        "epochs": metrics["epochs"][-1]["epoch"],
        **{name: metrics[name] for name in ("tokens_added", "transfer") if name in metrics},
        **{f"validation_{name}": metrics["best"][f"validation_{name}"] for name in baseline},
        **{f"baseline_{name}": value for name, value in baseline.items()},
        "clipped_ages": metrics["clipped_ages"],
        "padding_share": metrics["padding_share"],
    }


def patients(dataset: Artifact, out: Path) -> Iterator[NDArray[np.uint64]]:
    """Yield hashes of the patients that the training run read, by shard. Removes the job's list of these patients from `out`."""
    shard, row = np.load(out / PATIENTS)
    (out / PATIENTS).unlink()
    for number, path in enumerate(dataset.files("patients")):
        ids = schemas.read(path, ["patient_id"]).column("patient_id").take(pa.array(row[shard == number]))
        yield hash_of_column(ids)


def machine(out: Path) -> Mapping[str, str]:
    """Return the choices made on the machine that trained into `out` (`encoder.hardware_choices`)."""
    decided: Mapping[str, str] = read_metrics(out)["machine"]
    return decided
