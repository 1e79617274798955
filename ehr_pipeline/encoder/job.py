"""What a training is to do (see `encoder.train`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.work.jobs import Job

PATIENTS = ".patients.npy"
"""File in `out` that says which patients were read: shard and row (2, P)."""


@dataclass(frozen=True, kw_only=True)
class TrainingJob(Job):
    """A training into the folder `out`, which gets `checkpoint/`, `metrics.json` and `notes/`."""

    module: ClassVar[str] = "ehr_pipeline.encoder.train"
    dataset: Path
    split: Path
    vocabulary: Path
    settings: EncoderSettings
    seed: int
    out: Path
    resume: Path | None = None
    """Folder of the checkpoints; inside `out` where it is not given."""
    start: Path | None = None
    """Folder of a checkpoint to begin with (see `encoder.start`); without it the weights are random."""
    notes_patients: bool = False
    """Whether to write `PATIENTS`."""
