"""The steps common to all assets: check an asset's inputs, form its recipe, and detect lists that are edited during the run.

The subclasses `DataAssets` (data_stages.py) and `Pipeline` (pipeline.py) define how each asset is made.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.checks import withdrawn_patients
from ehr_pipeline.checks.model import Outcome
from ehr_pipeline.disclosure import governance
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.engines import engine_for
from ehr_pipeline.errors import GateFailed, InputError, UserError
from ehr_pipeline.patients import training_patients
from ehr_pipeline.runs import previous_artifact
from ehr_pipeline.runs.passed_checks import PassedNotes
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Artifact, Counts, Decided, Recipe, Store
from ehr_pipeline.store.watched_inputs import Watched
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import DATA_SPLIT, EXTRACT_CATALOG, RAW_RECORDS


class Maker:
    """Makes the artifacts of one study, and builds nothing on an artifact that failed a blocking check.

    `versions` are the code versions that the assets must have when they are made. Making an asset raises UserError if its
    version has changed, because somebody edited a list that the settings name. `overrides` are the values in which
    `study` differs from the settings file.
    """

    def __init__(
        self, study: Study, versions: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
    ):
        self.study = study
        self.overrides = dict(overrides or {})
        self._versions_meant = versions or {}
        self.store = Store(study.study.store)
        self.engine = engine_for(study.launcher, self.store.root)
        self._gates: dict[tuple[str, str], list[Outcome]] = {}

    @property
    def naming(self) -> Naming:
        """The rule for which names from the data may be shown; it uses the key of the study's split."""
        split = self.store.current(DATA_SPLIT) if self.store.has(DATA_SPLIT) else None
        return Naming(self.study.reports.suppress_below, split.manifest["settings"]["key"] if split else "")

    def code_version(self, asset: str) -> str:
        """Return the version of an asset that Dagster compares to decide whether it is stale."""
        return ASSETS[asset].code_version(self.study)

    def require(self, asset: str, partition: str | None = None) -> Artifact:
        """Return the current artifact of an asset, after verifying its files and its blocking checks.

        Raises MissingArtifact, Damaged, GateFailed, and UserError if the data licence has expired.
        """
        governance.refuse_if_expired(self.study.governance)
        artifact = self.store.intact(asset, partition)
        failed = [outcome for outcome in self._outcomes(artifact) if outcome.blocking and not outcome.passed]
        if failed:
            reasons = "; ".join(f"{outcome.name}: {outcome.message}" for outcome in failed)
            raise GateFailed(f"{asset} failed its checks, so nothing is built on it. {reasons}")
        return artifact

    def read(self, asset: str) -> dict[str, Artifact]:
        """Return the artifacts that an asset is declared to read, by name. Raises the errors of `require`."""
        return {name: self.require(name) for name in self.names_read(asset)}

    def names_read(self, asset: str) -> tuple[str, ...]:
        """Return the names of the assets that an asset is declared to read in this study."""
        declared = ASSETS[asset]
        return (*declared.reads, *(declared.reads_for_sides if self.study.patients.split.leaves_out else ()))

    def check(self, asset: str, partition: str | None = None, *, only: Collection[str] | None = None) -> list[Outcome]:
        """Run an asset's checks, or `only` the named ones. Raises Damaged for an artifact that cannot be checked."""
        artifact = self.store.intact(asset, partition)
        declared = {check.name for check in ASSETS[asset].all_checks if check.applies(self.study)}
        if only is None or declared <= {*only}:
            return self._outcomes(artifact)
        return ASSETS[asset].evaluate(artifact, self.store, self.study, only)

    def _outcomes(self, artifact: Artifact) -> list[Outcome]:
        asset = artifact.manifest["asset"]
        # Only the catalog's fingerprint: its manifest lists every extract, and must not be read again for each of them.
        key = (
            str(artifact.path),
            f"{self.store.fingerprint(EXTRACT_CATALOG)}/{withdrawn_patients.list_of_withdrawals(self.study)}",
        )
        if key not in self._gates:
            passed = PassedNotes(self.study) if asset == RAW_RECORDS else None
            state = passed.state(artifact) if passed else ""
            self._gates[key] = ASSETS[asset].evaluate(artifact, self.store, self.study)
            if passed and all(outcome.passed for outcome in self._gates[key]):
                passed.note(artifact, state)
        return self._gates[key]

    def _make(
        self,
        asset: str,
        inputs: Mapping[str, str],
        build: Callable[[Path], dict[str, Any]],
        *,
        partition: str | None = None,
        origin: str = "",
        machine: Decided | None = None,
        links: Mapping[str, str] | None = None,
    ) -> Artifact:
        governance.refuse_if_expired(self.study.governance)
        lists = Watched.of(ASSETS[asset].list_files(self.study), lambda: ASSETS[asset].list_files(self.study))
        now = self.code_version(asset)
        if self._versions_meant.get(asset, now) != now:
            raise UserError(
                f"A list in the settings of {asset} was edited after this run started, so {asset} was not built."
                " Start the run again."
            )
        recipe = replace(self._recipe(asset, inputs, partition, origin), links=dict(links or {}))
        return self._publish(recipe, lists.guard(build), machine)

    def _publish(self, recipe: Recipe, build: Callable[[Path], Counts], machine: Decided | None) -> Artifact:
        """Make the artifact of a recipe. Pipelines that only report what a run would make override this method."""
        return self.store.make(recipe, build, machine)

    def _recipe(self, asset: str, inputs: Mapping[str, str], partition: str | None = None, origin: str = "") -> Recipe:
        """Return the recipe of an asset with these inputs; `origin` is the hash of how its data were made."""
        declared, population = ASSETS[asset], withdrawn_patients.population_made(asset, self.store, self.study)
        settings, governed = (
            declared.deciding_settings(self.study),
            governance.label(declared.released, self.study.governance),
        )
        return Recipe(asset, declared.version, settings, dict(inputs), partition, population, origin, governed)

    def _note_learned(self, out: Path, patients: Iterable[NDArray[np.uint64]], earlier: Path | None = None) -> None:
        """Record the training patients of an artifact: `patients` (unkeyed hashes), and those of the `earlier` artifact."""
        training_patients.write(out, secret_key.of(self.store.root), patients, earlier)

    def _work(self, name: str, asset: str, inputs: Mapping[str, str]) -> Path:
        """Return the folder where a job saves its progress, so the next job with the same recipe can resume it."""
        return self.store.folder(asset) / f"{name}-{self._recipe(asset, inputs).fingerprint}"

    def _method(self, asset: str) -> tuple[str, dict[str, Any]]:
        """Return what determines an artifact apart from its inputs: its version and settings."""
        settings = ASSETS[asset].deciding_settings(self.study)
        return ASSETS[asset].version, previous_artifact.method_of(settings) if asset == RAW_RECORDS else settings

    def _case(self, asset: str, inputs: dict[str, str], origin: str) -> previous_artifact.Case:
        """Return the asset about to be made, as the `Case` from which `previous_artifact` chooses what to continue."""
        return previous_artifact.Case(self.store, self.study, ASSETS[asset], inputs, origin)


def versions_of(artifacts: Mapping[str, Artifact]) -> dict[str, str]:
    """Return the data versions of these artifacts, even if newer artifacts have become current meanwhile."""
    return {asset: artifact.data_version for asset, artifact in artifacts.items()}


def watched_files(files: list[Path], where: str, find: Callable[[], list[Path]] | None = None) -> Watched:
    """Watch files that the settings name for changes, from now on. Raises InputError if one is missing."""
    for path in files:
        if not path.is_file():
            raise InputError(
                f"{path}: there is no such file. It is set {where}. Correct the setting, or put the file there."
            )
    return Watched.of(files, find)


def watched_ontology(study: Study, further: Sequence[Path] = ()) -> tuple[Watched, dict[str, str]]:
    """Watch the files of concepts.ontology, and `further` ones. Returns the watch, and the files' states by name of the input.

    Raises InputError if one is missing.
    """
    files = watched_files([*map(Path, study.concepts.ontology), *further], "in concepts.ontology")
    names = [f"ontology {number}" for number in range(len(study.concepts.ontology))]
    return files, dict(zip([*names, *(path.name for path in further)], files.hashes(), strict=True))
