"""What an asset is: all that the chain, Dagster, the mirror and the plan have to know of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from ehr_pipeline.checks import presence
from ehr_pipeline.checks.model import Check, Outcome
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.fields import identity, lists
from ehr_pipeline.store.artifacts import KEPT_WITHOUT_CONSENT, Artifact, Counts, Store, hash_of
from ehr_pipeline.study.settings import Study
from ehr_pipeline.work.jobs import Launch

Build = Callable[[Study, Mapping[str, Artifact], Launch, Path], Counts]
"""Fills the folder of an artifact with what follows from the artifacts that it reads; returns its counts."""
Sources = tuple[tuple[str, str], ...]
"""Asset and column of each column that decides one."""
PRESENT = Check(
    "patients_present",
    "Nobody who withdrew, or is absent from the newest snapshot, is in it.",
    presence.of_present_patients,
)


@dataclass(frozen=True)
class Rate:
    """How long an asset took when it was measured."""

    seconds: float
    """Measured, by `workers`."""
    rows: float
    workers: int
    source: str
    """Section of benchmarks/RESULTS.md."""
    alone: float = 1.0
    """The share that one process does alone, when two workers do the rest (backends.py). It comes from an extract of 1.6 million
    rows, where what does not grow with rows weighs more."""


@dataclass(frozen=True, kw_only=True)
class Asset:
    """The declaration of one asset. Its code, its settings class and what its counts are lie in the folder of its stage."""

    name: str
    description: str
    """As Dagster shows it."""
    reads: tuple[str, ...]
    """The assets that it depends on."""
    reads_for_sides: tuple[str, ...] = ()
    """The assets that it reads as well where there may be patients that nothing is learned from."""
    version: str = "1"
    """Raised when the same settings and inputs give another result: ehr_pipeline_tests/test_versions.py asks for it."""
    build: Build | None = None
    """Makes it of what it `reads` and its settings alone. An asset that needs more is made by the method of `Pipeline` with its
    name."""
    heavy: bool = False
    """Whether it starts a heavy job: of these Dagster makes one at a time."""

    section: str
    """The part of the settings that decides it, as in `patients.split`."""
    without: tuple[str, ...] = ()
    """The values of that part that do not."""
    also: tuple[Callable[[Study], dict[str, Any]], ...] = ()
    """What else decides it, or decides it in place of a value of that part."""

    checks: tuple[Check, ...] = ()
    """What must hold of it, beside that nobody is in it who left."""
    sound: tuple[str, ...] = ()
    """The checks that an artifact passed which the next one continues."""

    columns: Callable[[Study], pa.Schema] | None = None
    """The columns of its table."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """What columns hold that no other asset has."""
    lineage: Callable[[Study], dict[str, Sources]] = lambda study: {}
    """The columns that come from columns of other assets, each with these. What an encoder learnt counts as the records that it
    learnt from, since a checkpoint has no columns."""
    counts_rows: bool = True
    """Whether `kept` counts rows of its own, and not what went into it."""

    group: str
    """In Dagster's graph."""
    kinds: tuple[str, ...]
    """Marks in Dagster's graph."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """By name, where one lies in an artifact; of several files, the first."""
    draw: Callable[[Artifact, Naming, Path], str] | None = None
    """Draws a picture of an artifact into a file, and returns what it shows; empty, without a file, where there is none."""
    released: tuple[str, ...] = ()
    """Its files that may leave the place where the data lie, since small counts are suppressed in them. All else is restricted:
    what is at patient level, embeddings and checkpoints included, since they have learnt from single patients, and tables with
    exact counts, those beside the report too."""
    rate: Rate | None = None
    """From which the plan reckons; None where it takes under a minute, or is reckoned in another way."""

    def own_settings(self, study: Study) -> dict[str, Any]:
        """The settings that decide its result, apart from its inputs: their change makes it stale, and no other."""
        part = identity(attrgetter(self.section)(study))
        values = part if isinstance(part, dict) else {self.section.rpartition(".")[2]: part}
        own = {name: value for name, value in values.items() if name not in self.without}
        for more in self.also:
            own |= more(study)
        return own

    def list_files(self, study: Study) -> list[Path]:
        """The small files whose content is among its settings, those that are there."""
        return [path for path in lists(attrgetter(self.section)(study), self.without) if path.is_file()]

    def code_version(self, study: Study) -> str:
        """What Dagster compares to say that it is stale: its version and its settings.

        What new extracts do is one of them for the model and what is made with it. It is no part of the fingerprint, which names
        the artifact that is continued instead.
        """
        own = self.own_settings(study)
        if self.sound:
            own |= {"on_new_extract": study.encoder.on_new_extract}
        return f"{self.version}-{hash_of(own)}"

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """What must hold of it. What holds no patient may have learnt from those who left: it is flagged, and used until then."""
        test = partial(presence.of_present_patients, reads=(*self.reads, *self.reads_for_sides))
        return replace(PRESENT, test=test, blocking=self.name not in KEPT_WITHOUT_CONSENT), *self.checks

    def passes(self, name: str, artifact: Artifact, store: Store, study: Study) -> bool:
        """Whether an artifact, current or not, passes one check."""
        return next(check.test(artifact, store, study)[0] for check in self.all_checks if check.name == name)

    def evaluate(self, artifact: Artifact, store: Store, study: Study) -> list[Outcome]:
        """Run the checks on an artifact."""
        outcomes = []
        for check in self.all_checks:
            if check.applies(study):
                passed, message, figures = check.test(artifact, store, study)
                blocking = check.blocking and (passed or not check.only_warns(artifact, study))
                outcomes.append(Outcome(check.name, passed, message, blocking, figures))
        return outcomes
