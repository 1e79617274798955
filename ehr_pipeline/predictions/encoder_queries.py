"""What the encoder is asked for all tasks at once, each history and day once, since tasks share index days; and its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.predictions.answers_job import ASKED, TRAINED, UNTRAINED, AnswersJob
from ehr_pipeline.predictions.rows import Rows
from ehr_pipeline.tables import schemas
from ehr_pipeline.work.jobs import Launch


@dataclass(frozen=True)
class Answers:
    """What the encoder said of the rows of a task (n,)."""

    vectors: NDArray[np.float32]
    """Mean over all tokens, and state at the mask, one after the other (n, 2 D)."""
    odds: NDArray[np.float64]
    """Log-odds at the mask that a concept is one of the outcome's (n,)."""


@dataclass(frozen=True)
class Asked:
    """The questions of all tasks, laid out and answered."""

    job: AnswersJob
    names: tuple[str, ...]
    """The shards, by file name."""
    questions: dict[str, NDArray[np.int64]]
    """By shard, the distinct questions (q, 4), sorted."""

    @classmethod
    def ask(cls, job: AnswersJob, tasks: Sequence[tuple[Rows, NDArray[np.int64]]], launch: Launch) -> "Asked":
        """Have the job answer for the rows of all tasks, each given with the token ids of its outcome."""
        names = tuple(path.name for path in sorted(job.dataset.glob("[!.]*.arrow")))
        questions = {}
        for number, name in enumerate(names):
            parts = [_questions(rows.take(rows.shard == number)) for rows, _ in tasks]
            found = np.unique(np.concatenate(parts), axis=0) if parts else np.zeros((0, 4), np.int64)
            if len(found):
                questions[name] = found
        asked = {name: pa.table(list(found.T), schema=ASKED) for name, found in questions.items()}
        job.lay_out(asked, [tokens.tolist() for _, tokens in tasks])
        if questions:
            launch(job)
        return cls(job, names, questions)

    def answers(self, rows: Rows, task: int, *, untrained: bool = False) -> Answers:
        """The answers for the rows of a task, which is given by its number among those that were asked for."""
        ending = UNTRAINED if untrained else TRAINED
        vectors, odds = [], []
        for number, name in enumerate(self.names):
            own = rows.take(rows.shard == number)
            if not len(own):
                continue
            place = _places(self.questions[name], _questions(own))
            table = self.job.answers(name)
            mean, state, told = (schemas.matrix(table, f"{kind}{ending}") for kind in ("mean", "state", "odds"))
            vectors.append(np.hstack([mean[place], state[place]]))
            odds.append(told[place, task].astype(np.float64))
        if not vectors:
            return Answers(np.zeros((0, 2), np.float32), np.zeros(0))
        return Answers(np.concatenate(vectors), np.concatenate(odds))


def _questions(rows: Rows) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.stack([getattr(rows, name) for name in ASKED.names], axis=1).astype(np.int64)
    return found


def _places(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each wanted row (n, 4) among known ones (q, 4), which are distinct and hold all of them."""
    _, inverse = np.unique(np.concatenate([known, wanted]), axis=0, return_inverse=True)
    place = np.empty(len(known), np.int64)
    place[inverse.ravel()[: len(known)]] = np.arange(len(known))
    found: NDArray[np.int64] = place[inverse.ravel()[len(known) :]]
    return found


def work_of(out: Path) -> Path:
    """The folder where the job works, below that of the artifact; it is removed before the artifact is published."""
    return out / ".work"
