"""Problems with settings of different sections that do not fit each other."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ehr_pipeline.encoder.settings import BIRTH_DECADE

if TYPE_CHECKING:
    from ehr_pipeline.study.settings import Study


def problems(study: "Study") -> Iterator[str]:
    """Yield the problems of a study."""
    yield from _deaths(study)
    yield from _fine_tuning(study)
    if study.study.shifted_dates:
        yield from _by_the_calendar(study)


def _by_the_calendar(study: "Study") -> Iterator[str]:
    """Yield problems with settings that need the calendar, although each patient's dates are shifted."""
    shifted = "study.shifted_dates says that each patient's dates are shifted by a random number of days"
    if study.tasks.observed_until == "extract":
        yield (
            f"tasks.observed_until is 'extract', but {shifted}, so the day of the extract is no end of observation. Set"
            " 'last_event'."
        )
    for task in study.tasks.task:
        if task.index == "calendar":
            yield f"tasks: {task.name!r} has index = 'calendar', but {shifted}. Choose another index, such as 'landmark'."
    if BIRTH_DECADE in study.encoder.metadata.attributes:
        yield f"encoder.metadata.attributes has {BIRTH_DECADE!r}, but {shifted}. Remove it."
    if study.trajectories.windows == "calendar":
        yield f"trajectories.windows is 'calendar', but {shifted}. Set 'record' or 'age'."


def _deaths(study: "Study") -> Iterator[str]:
    """Yield problems with tasks that predict death in a study without any record of deaths."""
    if not study.records_deaths:
        for task in study.tasks.task:
            if task.outcome_kind == "death":
                yield (
                    f"tasks: {task.name!r} predicts a death, but nothing says how deaths are recorded: tasks.death,"
                    " tasks.death_attribute, or columns.death of the patient files."
                )


def _fine_tuning(study: "Study") -> Iterator[str]:
    """Yield problems with fine-tuning: there is no task, or more layers are to be frozen than the encoder has."""
    asked, layers = study.predictions.fine_tuning, study.encoder.layers
    if asked.heads and not study.tasks.any:
        yield "predictions.fine_tuning.heads: there is no task to fine-tune the encoder for. Add tasks, or remove the heads."
    if asked.frozen_layers > layers:
        yield (
            f"predictions.fine_tuning.frozen_layers is {asked.frozen_layers}, but the encoder has {layers} layers (encoder.layers)."
        )
