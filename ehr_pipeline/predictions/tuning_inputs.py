"""Write the inputs of fine-tuning (samples of each task, initial logistic regressions of classifiers), and read its results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.predictions import learners, tuning_files
from ehr_pipeline.predictions.answers_job import AnswersJob
from ehr_pipeline.predictions.compare import Tuned, samples_of
from ehr_pipeline.predictions.encoder_queries import AnsweredQueries
from ehr_pipeline.predictions.learners import Sample, Table
from ehr_pipeline.predictions.rows import FIT, JUDGE, TUNE, Rows
from ehr_pipeline.predictions.settings import PredictionsSettings
from ehr_pipeline.predictions.tuning import TuningJob
from ehr_pipeline.predictions.tuning_files import Linear
from ehr_pipeline.work.jobs import Launch

Floats = NDArray[np.float64]
FOLDS = 5
"""One in this many of the sample's patients is held out to choose the number of epochs."""


@dataclass(frozen=True)
class TuningTask:
    """A task for which the encoder is fine-tuned."""

    name: str
    """Name of the task, as a file name."""
    rows: Rows
    tokens: NDArray[np.int64]
    """Token ids of the outcome; none for a death, which only the classifier can predict."""
    stops: bool


def tune(
    job: AnswersJob,
    tasks: Sequence[TuningTask],
    answered: AnsweredQueries,
    settings: PredictionsSettings,
    seed: int,
    *,
    launch: Launch,
) -> None:
    """Fine-tune the encoder for all tasks, in the folder of `job`. Read the results with `answers`."""
    for number, task in enumerate(tasks):
        vectors = answered.answers(task.rows, number).vectors
        write(job.work, task, vectors, settings, seed)
    launch(
        TuningJob(
            checkpoint=job.checkpoint,
            vocabulary=job.vocabulary,
            dataset=job.dataset,
            work=job.work,
            settings=job.settings,
            tokens_before=job.tokens_before,
            fine_tuning=settings.fine_tuning,
            seed=seed,
            threads=job.threads,
        )
    )


def answers(work: Path, task: str) -> Tuned:
    """Return a function that reads the log-odds of a task's rows, given model, number of labels and replicate."""

    def log_odds(model: str, labels: int | None, replicate: int) -> Floats:
        head, sample = model.removeprefix("tuned_"), tuning_files.name_of(labels, replicate)
        odds: Floats = np.load(tuning_files.answer_of(work / tuning_files.FOLDER, task, head, sample))
        return odds

    return log_odds


def write(work: Path, task: TuningTask, vectors: NDArray[np.float32], settings: PredictionsSettings, seed: int) -> None:
    """Write the rows and samples of a task. `vectors` (n, 2 D): each history's vector, then its state at the mask."""
    heads = [head for head in dict.fromkeys(settings.fine_tuning.heads) if len(task.tokens) or head == "classifier"]
    rows, samples = task.rows, samples_of(task.rows, settings, seed)
    columns: dict[str, NDArray[np.generic]] = {
        name: getattr(rows, name) for name in ("shard", "row", "first", "last", "query_day", "label", "weight")
    }
    columns["fitted"], columns["judged"] = rows.on(FIT), np.sort(np.concatenate([rows.on(TUNE), rows.on(JUDGE)]))
    table = Table.of([vectors], rows.on(FIT), free=False)
    for number, (_, _, sample) in enumerate(samples):
        kept = training_rows(rows, sample, seed)
        columns[f"rows{number}"] = sample.rows
        if kept is not None:
            columns[f"kept{number}"] = kept
        if "classifier" in heads:
            for of, each in (("", sample), *((("part", sample.take(kept)),) if kept is not None else ())):
                start = probe(table, each, vectors, seed)
                columns |= {f"{part}{number}{of}": getattr(start, part) for part in tuning_files.PARTS}
    facts = {
        "heads": heads,
        "names": [tuning_files.name_of(labels, replicate) for labels, replicate, _ in samples],
        "sizes": [len(sample.rows) for _, _, sample in samples],
        "choose": [f"kept{number}" in columns for number in range(len(samples))],
        "tokens": task.tokens.tolist(),
        "stops": task.stops,
        "shifts": [sample.shift for _, _, sample in samples],
    }
    tuning_files.write(work, task.name, facts, columns)


def probe(table: Table, sample: Sample, vectors: NDArray[np.float32], seed: int) -> Linear:
    """Fit a logistic regression on `vectors` (as in `write`) to a sample, without correcting for the prevalence among patients."""
    _, plain = learners.logistic(table, sample, seed)
    half = vectors.shape[1] // 2
    history = np.append(plain[:half], plain[-1] - sample.shift)
    return Linear(vectors[:, :half] @ history[:-1] + history[-1], plain[half:-1], history)


def training_rows(rows: Rows, sample: Sample, seed: int) -> NDArray[np.bool_] | None:
    """Return flags of the rows of a sample (m,) to train on while the number of epochs is chosen: the rows of four in five
    patients.

    None if either part has too few cases or non-cases.
    """
    if min(sample.label.sum(), (~sample.label).sum()) < tuning_files.FEWEST_TO_CHOOSE:
        return None
    patients, place = np.unique(rows.patient[sample.rows], return_inverse=True)
    order = np.random.default_rng([seed, 0xE]).permutation(len(patients))
    kept: NDArray[np.bool_] = (order % FOLDS != 0)[place]
    both = all(0 < sample.label[part].sum() < part.sum() for part in (kept, ~kept))
    return kept if both else None
