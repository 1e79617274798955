"""Inputs that the sections of the page share: tables of results, definitions of labels, and the rules by which counts are shown."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.disclosure.kinds import below_for_events
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.forecasts.table import Forecasts
from ehr_pipeline.forecasts.table import empty as no_forecasts
from ehr_pipeline.prediction_report import curves
from ehr_pipeline.prediction_report.curves import Curves, LabelsSaved
from ehr_pipeline.predictions.table import FEWEST_TO_CHOOSE, TaskResults
from ehr_pipeline.tasks import censoring
from ehr_pipeline.tasks.meds import DEATH
from ehr_pipeline.tasks.table import Definition


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that the page is made from."""

    results: TaskResults
    definitions: tuple[Definition, ...]
    counts: Mapping[str, Any]
    """Counts of `task_labels`, by task."""
    naming: Naming
    study: str
    terms: Mapping[str, str]
    pictures: Path
    """The folder that pictures are drawn into."""
    forecasts: Forecasts = field(default_factory=no_forecasts)
    observed_until: str = "last_event"
    """Until when patients without a known end of observation are followed, as in the settings."""
    draws: int = 1_000
    """Bootstrap draws of the intervals, as in the settings."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of the concepts that may be shown, the most frequent first."""
    shifted_dates: bool = False
    """Whether each patient's dates are shifted, so that the calendar means nothing."""

    @cached_property
    def disclosure(self) -> Disclosure:
        """The rules by which counts are shown."""
        return Disclosure(self.naming.below)

    def of_index_dates(self, slug: str) -> Disclosure:
        """Return the rules by which numbers of a task's index dates are shown."""
        return Disclosure(below_for_events(self.naming.below, self.counts[slug].get("most_per_patient", 1)))

    @cached_property
    def curves(self) -> Curves | None:
        """Learning curves over tasks; None if no task was scored."""
        return curves.curves(self.results)

    @cached_property
    def labels_saved(self) -> LabelsSaved | None:
        """How many labels the encoder saves at the usual number of labels (`curves.labels_saved`)."""
        return curves.labels_saved(self.curves, curves.usual(self.curves)) if self.curves else None

    @cached_property
    def named(self) -> dict[str, str]:
        """The name of each task, by its file name."""
        return {row["task"]: row["name"] for row in self.results.verdicts}

    @property
    def unchosen(self) -> list[str]:
        """Names of the scored tasks with too few cases in the validation set to choose model and baseline by."""
        return [
            row["name"]
            for row in self.results.verdicts
            if row["model"] and self.counts[row["task"]]["by_side"]["validation"]["cases"] < FEWEST_TO_CHOOSE
        ]

    @cached_property
    def tests(self) -> dict[str, int]:
        """For each model that was chosen for a task, in how many tasks it was compared with the best baseline."""
        chosen = {row["model"] for row in self.results.verdicts}
        return dict(Counter(row["model"] for row in self.results.differences if row["model"] in chosen))

    @property
    def weighted(self) -> list[str]:
        """Names of the tasks in which weights make up for patients who left within the window."""
        return [
            self.named[each.slug] for each in self.definitions if each.slug in self.named and each.rule.get("censor")
        ]

    def died(self, slug: str) -> str:
        """Return in words for how many index dates the patient died in the window without the outcome; empty if there are none."""
        (died, of), shown = self._died(slug), self.of_index_dates(slug)
        return f"{shown.about(died, of)} of {shown.about(of)} index dates" if died else ""

    def on_one_day(self, slug: str) -> str:
        """Return in words for how many index dates with the outcome it is recorded on one day only; empty if there are none."""
        single, of = self.counts[slug].get("on_one_day", 0), self.counts[slug]["cases"]
        shown = self.of_index_dates(slug)
        return f"{shown.about(single, of)} of {shown.about(of)} index dates with it" if single else ""

    def _died(self, slug: str) -> tuple[int, int]:
        return self.counts[slug].get("died", 0), self.counts[slug]["kept"]

    @cached_property
    def deaths(self) -> list[tuple[str, str]]:
        """The tasks in which many patients died within the window without the outcome: name, and share of the index dates."""
        return self._excessive(
            {each.slug: self._died(each.slug) for each in self.definitions if each.outcome != (DEATH,)}
        )

    @cached_property
    def leavers(self) -> list[tuple[str, str]]:
        """The tasks that leave out many patients who left within the window, without weighting others in their place: name, and
        share left out."""
        unweighted = [each.slug for each in self.definitions if not each.rule.get("censor")]
        return self._excessive({slug: censoring.left_in_window(self.counts[slug]) for slug in unweighted})

    def _excessive(self, parts: Mapping[str, tuple[int, int]]) -> list[tuple[str, str]]:
        """Return the tasks with an excessive part, and the share of it that may be shown. `parts`: part and whole, by task."""
        return [
            (self.named[slug], self.of_index_dates(slug).coarse(part, of))
            for slug, (part, of) in parts.items()
            if slug in self.named and censoring.is_excessive(part, of)
        ]
