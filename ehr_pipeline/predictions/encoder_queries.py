"""Query the encoder for all tasks at once. Tasks share index dates, so each distinct history and day is queried once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.predictions.answers_job import QUERIES, TRAINED, UNTRAINED, AnswersJob
from ehr_pipeline.predictions.rows import Rows
from ehr_pipeline.tables import schemas
from ehr_pipeline.work.jobs import Launch


@dataclass(frozen=True)
class Answers:
    """The encoder's answers for the rows of a task (n,)."""

    vectors: NDArray[np.float32]
    """Mean over all tokens, and state at the mask, side by side (n, 2 D)."""
    odds: NDArray[np.float64]
    """Log-odds (n,) that the concept at the mask is one of the outcome."""


@dataclass(frozen=True)
class AnsweredQueries:
    """The queries of all tasks, which the job has answered."""

    job: AnswersJob
    names: tuple[str, ...]
    """File names of the shards."""
    questions: dict[str, NDArray[np.int64]]
    """The distinct queries (q, 4) of each shard, sorted; the columns are those of QUERIES."""

    @classmethod
    def run(cls, job: AnswersJob, tasks: Sequence[tuple[Rows, NDArray[np.int64]]], launch: Launch) -> "AnsweredQueries":
        """Write the queries of all tasks, and run the job that answers them. A task is given as its rows and its outcome's token
        ids."""
        names = tuple(path.name for path in sorted(job.dataset.glob("[!.]*.arrow")))
        questions = {}
        for number, name in enumerate(names):
            parts = [_questions(rows.take(rows.shard == number)) for rows, _ in tasks]
            queries = np.unique(np.concatenate(parts), axis=0) if parts else np.zeros((0, 4), np.int64)
            if len(queries):
                questions[name] = queries
        tables = {name: pa.table(list(queries.T), schema=QUERIES) for name, queries in questions.items()}
        job.lay_out(tables, [tokens.tolist() for _, tokens in tasks])
        if questions:
            launch(job)
        return cls(job, names, questions)

    def answers(self, rows: Rows, task: int, *, untrained: bool = False) -> Answers:
        """Return the answers for the rows of a task. `task` is the index of the task among those given to `run`."""
        ending = UNTRAINED if untrained else TRAINED
        vectors, odds = [], []
        for number, name in enumerate(self.names):
            shard_rows = rows.take(rows.shard == number)
            if not len(shard_rows):
                continue
            place = _places(self.questions[name], _questions(shard_rows))
            table = self.job.answers(name)
            mean, state, log_odds = (schemas.matrix(table, f"{kind}{ending}") for kind in ("mean", "state", "odds"))
            vectors.append(np.hstack([mean[place], state[place]]))
            odds.append(log_odds[place, task].astype(np.float64))
        if not vectors:
            return Answers(np.zeros((0, 2), np.float32), np.zeros(0))
        return Answers(np.concatenate(vectors), np.concatenate(odds))


def _questions(rows: Rows) -> NDArray[np.int64]:
    return np.stack([getattr(rows, name) for name in QUERIES.names], axis=1).astype(np.int64)


def _places(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of each row of `wanted` (n, 4) in `known` (q, 4), whose rows are distinct and include all wanted ones."""
    _, inverse = np.unique(np.concatenate([known, wanted]), axis=0, return_inverse=True)
    place = np.empty(len(known), np.int64)
    place[inverse.ravel()[: len(known)]] = np.arange(len(known))
    return place[inverse.ravel()[len(known) :]]


def work_of(out: Path) -> Path:
    """Return the job's work folder, inside the artifact's folder. It is removed before the artifact is published."""
    return out / ".work"
