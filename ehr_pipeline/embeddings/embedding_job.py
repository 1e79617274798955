"""Descriptions of jobs that run the encoder, and of an embedding job (run by `embeddings.embed`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings.windows import Division
from ehr_pipeline.work.jobs import Job


@dataclass(frozen=True)
class Inference:
    """How the encoder is run. The first three values are those with which it was trained. If `precision` is 'auto', it is that of
    the training, too."""

    context: int
    age_unit: Literal["year", "quarter"]
    max_positions: int
    batch_tokens: int
    precision: str


@dataclass(frozen=True, kw_only=True)
class EncoderJob(Job):
    """Fields of every job that runs the encoder on the patients of a data set."""

    checkpoint: Path
    vocabulary: Path
    dataset: Path
    work: Path
    """Folder with what the job needs besides these fields, and with its results."""
    settings: Inference
    seed: int


AnyEncoderJob = TypeVar("AnyEncoderJob", bound=EncoderJob)


@dataclass(frozen=True, kw_only=True)
class EmbeddingJob(EncoderJob):
    """Job that writes chunk vectors of patients to the folder `work`, where `lay_out` has listed the patients."""

    module: ClassVar[str] = "ehr_pipeline.embeddings.embed"
    windows: Division | None = None
    """Embed windows of the patients' records; if None, whole records and both halves."""

    @property
    def cohort(self) -> Cohort:
        """The patients to embed."""
        return Cohort.read(self.work)

    @property
    def weights(self) -> Path:
        """File with the weight (V,) of each token id."""
        return self.work / "weights.npy"

    def lay_out(self, members: Cohort, weights: NDArray[np.floating]) -> None:
        """Write the patients to embed, and the weight (V,) of each token id."""
        self.work.mkdir(parents=True, exist_ok=True)
        members.write(self.work)
        np.save(self.weights, weights)
