"""Describe a training run (see `encoder.train`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.work.jobs import Job

PATIENTS = ".patients.npy"
"""File in `out` that lists the patients that were read: index of the shard, and row in it (2, P)."""


@dataclass(frozen=True, kw_only=True)
class TrainingJob(Job):
    """A training run that writes `checkpoint/`, `metrics.json` and `notes/` into the folder `out`."""

    module: ClassVar[str] = "ehr_pipeline.encoder.train"
    dataset: Path
    split: Path
    vocabulary: Path
    settings: EncoderSettings
    seed: int
    out: Path
    resume: Path | None = None
    """Folder of the checkpoints for resuming; by default inside `out`."""
    start: Path | None = None
    """Folder of a checkpoint to begin with (see `encoder.initial_weights`); without it the weights are random."""
    notes_patients: bool = False
    """Whether to write the file `PATIENTS`."""
