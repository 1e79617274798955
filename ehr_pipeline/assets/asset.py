"""Define the declaration of an asset: everything that the runs, Dagster, the mirror and the plan need to know about it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from ehr_pipeline.checks import withdrawn_patients
from ehr_pipeline.checks.model import Check, Outcome
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.store.artifacts import KEPT_WITHOUT_CONSENT, Artifact, Counts, Store, hash_of
from ehr_pipeline.study.settings import Study
from ehr_pipeline.typed_settings import identity, lists
from ehr_pipeline.work.jobs import Launch

Build = Callable[[Study, Mapping[str, Artifact], Launch, Path], Counts]
"""Makes an artifact from those that it reads and writes it to the given folder; returns its counts."""
Sources = tuple[tuple[str, str], ...]
"""The source columns of a column, each as (asset, column)."""


@dataclass(frozen=True)
class Rate:
    """How long an asset took in a benchmark, as a basis for estimates."""

    seconds: float
    """Seconds for `rows` rows with `workers` workers."""
    rows: float
    workers: int
    source: str
    """Section of benchmarks/RESULTS.md."""
    alone: float = 1.0
    """The share of the time in which only one process works; two workers share the rest. Measured in benchmarks/backends.py on an
    extract of 1.6 million rows. It is smaller for larger extracts, since fixed costs do not grow with them."""


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One asset. Its stage's folder holds the code, the settings class and `COUNTED`, which describes its counts."""

    name: str
    description: str
    """The text that Dagster shows."""
    reads: tuple[str, ...]
    """The names of the assets that it is made from."""
    reads_for_sides: tuple[str, ...] = ()
    """Names of assets that it reads only if the study keeps some patients out of training."""
    version: str = "1"
    """Raise it when the same settings and inputs give another result; ehr_pipeline_tests/test_versions.py notices when this is
    due."""
    build: Build | None = None
    """The function that makes the asset from the settings and the assets in `reads`. If it needs more than these, this is None, and
    the method of `Pipeline` with the asset's name makes it."""
    heavy: bool = False
    """Whether it starts a heavy job; Dagster makes one such asset at a time."""

    section: str
    """The section of the settings that determines the result, such as `patients.split`."""
    without: tuple[str, ...] = ()
    """The values of `section` that do not affect the result."""
    also: tuple[Callable[[Study], dict[str, Any]], ...] = ()
    """Functions that return further values that determine the result; these may replace values of `section`."""

    checks: tuple[Check, ...] = ()
    """Its checks, in addition to `patients_present`."""
    sound: tuple[str, ...] = ()
    """Names of the checks that an artifact must pass before a later one may be built by updating it."""

    columns: Callable[[Study], pa.Schema] | None = None
    """The columns of its table; None if it has none."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """The meaning of columns that only this asset has."""
    lineage: Callable[[Study], dict[str, Sources]] = lambda study: {}
    """The source columns (in other assets) of each column. The sources of a value that the encoder computes are the columns of its
    training records, since a checkpoint has no columns."""
    counts_rows: bool = True
    """Whether its count `kept` is a number of its own rows, rather than of rows of its inputs."""

    group: str
    """Its group in Dagster's graph: data, encoder, patients, predictions or reports. Alphabetically, they follow the data flow."""
    kinds: tuple[str, ...]
    """Labels of the technologies used, shown in Dagster's graph."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Names of pictures, each with its path in the artifact; if a path is a pattern, the first matching file is shown."""
    draw: Callable[[Artifact, Naming, Path], str] | None = None
    """Draws a picture of an artifact into a file and returns the picture's name; '' and no file if there is nothing to draw."""
    released: tuple[str, ...] = ()
    """Files that may leave the place where the data are kept, because small counts are suppressed in them. All others are
    restricted: patient-level data, embeddings, checkpoints (a model can memorize single patients), and tables of exact counts,
    including those beside the report."""
    rate: Rate | None = None
    """The basis of the plan's estimate of time; None if the asset takes less than a minute or is estimated in another way."""

    def deciding_settings(self, study: Study) -> dict[str, Any]:
        """The settings that, together with the inputs, determine the result. Changing one makes the asset stale; changing another
        does not, except `encoder.on_new_extract` (see `code_version`)."""
        part = identity(attrgetter(self.section)(study))
        values = part if isinstance(part, dict) else {self.section.rpartition(".")[2]: part}
        found = {name: value for name, value in values.items() if name not in self.without}
        for more in self.also:
            found |= more(study)
        return found

    def list_files(self, study: Study) -> list[Path]:
        """Return those list files named in the settings that exist; their content counts as a setting."""
        return [path for path in lists(attrgetter(self.section)(study), self.without) if path.is_file()]

    def code_version(self, study: Study) -> str:
        """Return the version by which Dagster decides whether the asset is stale, made from `version` and the settings.

        For the encoder and the assets made with it, this includes `encoder.on_new_extract`. An artifact's fingerprint instead
        includes the artifact that it was updated from.
        """
        settings = self.deciding_settings(study)
        if self.sound:
            settings |= {"on_new_extract": study.encoder.on_new_extract}
        return f"{self.version}-{hash_of(settings)}"

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """Return all its checks. The first, that no removed patient is in it, only warns for the encoder: the encoder holds no
        patient rows, and stays in use until it is trained again."""
        present = Check(
            "patients_present",
            "No patient is in it who opted out or is missing from the newest snapshot.",
            partial(withdrawn_patients.of_present_patients, reads=(*self.reads, *self.reads_for_sides)),
            blocking=self.name not in KEPT_WITHOUT_CONSENT,
        )
        return present, *self.checks

    def passes(self, name: str, artifact: Artifact, store: Store, study: Study) -> bool:
        """Return whether an artifact, not necessarily the current one, passes the named check."""
        return next(check(artifact, store, study)[0] for check in self.all_checks if check.name == name)

    def evaluate(
        self, artifact: Artifact, store: Store, study: Study, only: Collection[str] | None = None
    ) -> list[Outcome]:
        """Run the checks named in `only`, or all, on an artifact."""
        outcomes = []
        for check in self.all_checks:
            if check.applies(study) and (only is None or check.name in only):
                passed, message, figures = check(artifact, store, study)
                blocking = check.blocking and (passed or not check.only_warns(artifact, study))
                outcomes.append(Outcome(check.name, passed, message, blocking, figures))
        return outcomes
