"""Jobs on both sides of a process: what a sender writes is what the module that does it reads."""

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from ehr_pipeline.embeddings.embedding_job import EmbeddingJob, Inference
from ehr_pipeline.embeddings.windows import Division
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.encoder.training_job import TrainingJob
from ehr_pipeline.work import jobs

PLACES: dict[str, Any] = {name: Path("/data") / name for name in ("dataset", "vocabulary")}
TRAINING = TrainingJob(
    **PLACES, split=Path("/data/split"), settings=EncoderSettings(layers=2, dropout=0.25), seed=7, out=Path("out")
)
EMBEDDING = EmbeddingJob(
    **PLACES,
    checkpoint=Path("/data/checkpoint"),
    work=Path("/data/work"),
    settings=Inference(256, "quarter", 514, 16384, "auto"),
    seed=7,
    threads=3,
)
WINDOWED = replace(EMBEDDING, windows=Division("age", 2.5), reports_to=Path("/data/reports"))


def reader(job: jobs.Job) -> Callable[[Any], None]:
    """The function that does a job."""
    run: Callable[[Any], None] = importlib.import_module(job.module).run
    return run


@pytest.mark.parametrize("job", [TRAINING, replace(TRAINING, start=Path("x")), EMBEDDING, WINDOWED])
def test_a_job_is_read_as_it_was_written(job: jobs.Job) -> None:
    assert jobs.from_json(reader(job), jobs.as_json(job)) == job


@pytest.mark.parametrize("job", [TRAINING, EMBEDDING])
def test_the_module_of_a_job_takes_it(job: jobs.Job) -> None:
    assert get_type_hints(reader(job))["job"] is type(job)


def test_a_misspelt_or_missing_field_fails_at_the_sender() -> None:
    with pytest.raises(TypeError, match="resumes"):
        TrainingJob(**vars(TRAINING), resumes=Path("x"))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="split"):
        TrainingJob(**PLACES, settings=EncoderSettings(), seed=7, out=Path("out"))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "job",
    [
        replace(TRAINING, seed="seven"),  # type: ignore[arg-type]
        replace(EMBEDDING, windows={"divided": "age"}),  # type: ignore[arg-type]
        replace(EMBEDDING, settings={"context": 256}),  # type: ignore[arg-type]
    ],
)
def test_a_field_of_another_type_fails_at_the_sender(job: jobs.Job) -> None:
    with pytest.raises(PydanticSerializationError):
        jobs.as_json(job)


@pytest.mark.parametrize("change", [{"resumes": "x"}, {"seed": None}, {"windows": {"divided": "never", "years": 1}}])
def test_what_other_software_wrote_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        jobs.from_json(reader(EMBEDDING), json.dumps(json.loads(jobs.as_json(EMBEDDING)) | change))
