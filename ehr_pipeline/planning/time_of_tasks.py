"""Estimate how long it takes to compare the models of the tasks, and to fine-tune the encoder for them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ehr_pipeline.planning import rates
from ehr_pipeline.planning.rates import BACKENDS, Basis, Seconds
from ehr_pipeline.predictions.settings import replicates
from ehr_pipeline.predictions.tuning_files import FEWEST_TO_CHOOSE, effort
from ehr_pipeline.study.settings import Study

TEST_SHARE = 0.1
"""Assumed share of the patients in the test set, if a column defines the split."""


@dataclass(frozen=True)
class TimeOfTasks:
    """The time that all tasks take, and what it was computed from."""

    tasks: int
    rows: float
    """Predictions of a task, in all sets."""
    seconds: float
    """Time to fit and judge all models but the fine-tuned ones."""
    histories: float
    """Fine-tuning: histories that the encoder reads, where training on one counts as reading three."""
    tokens: float
    """Tokens of these histories."""

    def by_backend(self, scoring: Callable[[float], Seconds], speed: float) -> Seconds:
        """Return the seconds by backend. `scoring` returns the seconds in which the encoder reads a number of tokens."""
        tuning = scoring(self.tokens) if self.tokens else dict.fromkeys(BACKENDS, 0.0)
        return {name: None if own is None else self.seconds / speed + own for name, own in tuning.items()}

    def assumptions(self, study: Study) -> Iterator[tuple[Basis, str]]:
        """Yield the assumptions behind the time."""
        if not self.tasks:
            return
        yield (
            Basis.MEASURED,
            f"tasks: {rates.TASKS_SECONDS:g} s for {rates.TASKS} tasks of {rates.TASKS_PATIENTS:,} patients, with all models"
            " except fine-tuned ones (demo.py)",
        )
        yield (
            Basis.RECKONED,
            f"{self.tasks:,} tasks of {self.rows:,.0f} predictions, as if every patient had a label (at most"
            f" predictions.patients = {study.predictions.patients:,} in each set); time grows in proportion to both",
        )
        if self.histories:
            yield (
                Basis.RECKONED,
                f"fine-tuning ({', '.join(study.predictions.fine_tuning.heads)}): the encoder reads {self.histories:,.0f}"
                f" histories of {self.tokens / self.histories:,.0f} tokens, at the rate of embedding; training on a history costs"
                " three times as much",
            )


def of(study: Study, patients: float, tokens_of_patient: float) -> TimeOfTasks:
    """Estimate the time for the tasks of a study, as if every patient had a label in each."""
    settings, split, named = study.predictions, study.patients.split, study.tasks
    test = split.test_share or TEST_SHARE
    shares = (1 - test - split.validation_share, split.validation_share, test)
    fitted, *judged = (min(settings.patients, share * patients) for share in shares)
    tasks = named.screen + len(named.task)
    landmarks = named.screen * named.screen_landmarks + sum(task.per_patient for task in named.task)
    rows = (fitted + sum(judged)) * landmarks / max(tasks, 1)
    seconds = rates.TASKS_SECONDS * tasks / rates.TASKS * rows / rates.TASKS_PATIENTS
    sizes = [min(size, fitted) for size in settings.labels for _ in range(replicates(size))] + [fitted]
    of_head = sum(
        effort(sum(judged), size, settings.fine_tuning.epochs, chooses=size >= 2 * FEWEST_TO_CHOOSE) for size in sizes
    )
    deaths = sum(task.outcome_kind == "death" for task in named.task)
    heads = dict.fromkeys(settings.fine_tuning.heads)
    histories = of_head * sum(tasks if head == "classifier" else tasks - deaths for head in heads)
    length = min(settings.tokens_before or study.encoder.context, study.encoder.context, tokens_of_patient)
    return TimeOfTasks(tasks, rows, seconds, histories, histories * length)
