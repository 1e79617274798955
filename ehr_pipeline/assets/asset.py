"""The declaration of an asset: everything that the chain, Dagster, the mirror and the plan need to know about it."""

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
"""Makes an artifact in a folder from the artifacts that it reads; returns its counts."""
Sources = tuple[tuple[str, str], ...]
"""The source columns of a column, each as (asset, column)."""


@dataclass(frozen=True)
class Rate:
    """The measured time of an asset."""

    seconds: float
    """Time for `rows` rows with `workers` workers."""
    rows: float
    workers: int
    source: str
    """Section of benchmarks/RESULTS.md."""
    alone: float = 1.0
    """The share of the time during which only one process works; two workers do the rest (backends.py). Measured on an
    extract of 1.6 million rows. The share is smaller for larger extracts, since fixed costs do not grow with them."""


@dataclass(frozen=True, kw_only=True)
class Asset:
    """The declaration of one asset. Its stage's folder holds the code, the settings class and `COUNTED` (kinds of counts)."""

    name: str
    description: str
    """The text that Dagster shows."""
    reads: tuple[str, ...]
    """The assets that it depends on."""
    reads_for_sides: tuple[str, ...] = ()
    """Assets that it also reads if some patients may be left out of training."""
    version: str = "1"
    """Raise it when the same settings and inputs give another result: ehr_pipeline_tests/test_versions.py asks for it."""
    build: Build | None = None
    """Makes the asset from the assets that it `reads` and the settings alone. If None, the method of `Pipeline` with
    the asset's name makes it, because it needs more."""
    heavy: bool = False
    """Whether it starts a heavy job; Dagster makes one such asset at a time."""

    section: str
    """The part of the settings that decides the result, such as `patients.split`."""
    without: tuple[str, ...] = ()
    """The values of `section` that do not decide the result."""
    also: tuple[Callable[[Study], dict[str, Any]], ...] = ()
    """Functions that return further values that decide the result; these may replace values of `section`."""

    checks: tuple[Check, ...] = ()
    """Its checks, in addition to `patients_present`."""
    sound: tuple[str, ...] = ()
    """Names of the checks that an artifact must pass before a later artifact may continue it."""

    columns: Callable[[Study], pa.Schema] | None = None
    """The columns of its table; None if it has none."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """The meaning of columns that only this asset has."""
    lineage: Callable[[Study], dict[str, Sources]] = lambda study: {}
    """Source columns in other assets, by column. The sources of a value from the encoder are the columns of its training
    records, since a checkpoint has no columns."""
    counts_rows: bool = True
    """Whether `kept` counts the rows of this asset, not those of its inputs."""

    group: str
    """Group in Dagster's graph: data, encoder, patients, predictions or reports, whose names sort in flow order."""
    kinds: tuple[str, ...]
    """Technology labels in Dagster's graph."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Paths of pictures in the artifact, by name; if a pattern matches several files, the first is used."""
    draw: Callable[[Artifact, Naming, Path], str] | None = None
    """Draws a picture of an artifact into a file, and returns its name; '' and no file if there is nothing to draw."""
    released: tuple[str, ...] = ()
    """Files that may leave the place where the data are kept, since small counts are suppressed in them. All others are
    restricted: patient-level data, embeddings and checkpoints (they have learned from single patients), and tables with
    exact counts, including those next to the report."""
    rate: Rate | None = None
    """The basis of the plan's estimate; None if the asset takes under a minute, or is estimated in another way."""

    def deciding_settings(self, study: Study) -> dict[str, Any]:
        """The settings that, with the inputs, decide the result. The asset becomes stale if one of these settings is changed, but
        not if any other setting is."""
        part = identity(attrgetter(self.section)(study))
        values = part if isinstance(part, dict) else {self.section.rpartition(".")[2]: part}
        found = {name: value for name, value in values.items() if name not in self.without}
        for more in self.also:
            found |= more(study)
        return found

    def list_files(self, study: Study) -> list[Path]:
        """The existing small files whose content counts as part of its settings."""
        return [path for path in lists(attrgetter(self.section)(study), self.without) if path.is_file()]

    def code_version(self, study: Study) -> str:
        """The version by which Dagster decides whether the asset is stale, made from `version` and the settings.

        For the model and the assets made with it, this includes `encoder.on_new_extract`. The fingerprint includes the
        continued artifact instead.
        """
        settings = self.deciding_settings(study)
        if self.sound:
            settings |= {"on_new_extract": study.encoder.on_new_extract}
        return f"{self.version}-{hash_of(settings)}"

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """All its checks. For the encoder, the first one only warns: the encoder holds no patient, and stays in use until
        it is trained again."""
        present = Check(
            "patients_present",
            "Nobody who withdrew, or is absent from the newest snapshot, is in it.",
            partial(withdrawn_patients.of_present_patients, reads=(*self.reads, *self.reads_for_sides)),
            blocking=self.name not in KEPT_WITHOUT_CONSENT,
        )
        return present, *self.checks

    def passes(self, name: str, artifact: Artifact, store: Store, study: Study) -> bool:
        """Whether an artifact, which need not be the current one, passes one check."""
        return next(check(artifact, store, study)[0] for check in self.all_checks if check.name == name)

    def evaluate(
        self, artifact: Artifact, store: Store, study: Study, only: Collection[str] | None = None
    ) -> list[Outcome]:
        """Run all checks on an artifact, or `only` the named ones."""
        outcomes = []
        for check in self.all_checks:
            if check.applies(study) and (only is None or check.name in only):
                passed, message, figures = check(artifact, store, study)
                blocking = check.blocking and (passed or not check.only_warns(artifact, study))
                outcomes.append(Outcome(check.name, passed, message, blocking, figures))
        return outcomes
