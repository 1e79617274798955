"""Describe jobs that run the encoder, and among them the embedding job (run by `embeddings.embed`)."""

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
    """How the encoder is run. The first three values, and the `precision` 'auto', are those with which it was trained."""

    context: int
    age_unit: Literal["year", "quarter"]
    max_positions: int
    batch_tokens: int
    precision: str


@dataclass(frozen=True, kw_only=True)
class EncoderJob(Job):
    """The fields of every job that runs the encoder on patients of a data set."""

    checkpoint: Path
    vocabulary: Path
    dataset: Path
    work: Path
    """Folder with the job's further inputs and its results."""
    settings: Inference
    seed: int


AnyEncoderJob = TypeVar("AnyEncoderJob", bound=EncoderJob)


@dataclass(frozen=True, kw_only=True)
class EmbeddingJob(EncoderJob):
    """A job that writes chunk vectors of patients to the folder `work`, in which `lay_out` has listed the patients."""

    module: ClassVar[str] = "ehr_pipeline.embeddings.embed"
    windows: Division | None = None
    """How to divide records into windows that are embedded; if None, whole records and both halves are embedded."""

    @property
    def cohort(self) -> Cohort:
        """Return the patients to embed."""
        return Cohort.read(self.work)

    @property
    def weights(self) -> Path:
        """Return the path of the file with the weight (V,) of each token id."""
        return self.work / "weights.npy"

    def lay_out(self, members: Cohort, weights: NDArray[np.floating]) -> None:
        """Write the patients to embed, and the weight (V,) of each token id."""
        self.work.mkdir(parents=True, exist_ok=True)
        members.write(self.work)
        np.save(self.weights, weights)
