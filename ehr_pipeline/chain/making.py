"""How any asset of a study is made: the gate before what it reads, its recipe, and what becomes of the settings meanwhile.

`DataAssets` (data_assets.py) and `Pipeline` (pipeline.py) say of each asset what it reads and what makes it; this they share.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.chain import incremental
from ehr_pipeline.chain.passed_checks import Passed
from ehr_pipeline.checks import presence
from ehr_pipeline.checks.model import Outcome
from ehr_pipeline.disclosure import governance
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.engines import engine_for
from ehr_pipeline.errors import GateFailed, InputError, UserError
from ehr_pipeline.patients import learned
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Artifact, Decided, Recipe, Store
from ehr_pipeline.store.watched_inputs import Watched
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import DATA_SPLIT, EXTRACT_CATALOG, RAW_RECORDS


class Maker:
    """Makes the artifacts of one study, and lets nothing be built on one that failed a blocking check.

    `versions` are the code versions that the assets must have when they are made: where a list that the settings name was edited
    since, nothing is made. `overrides` says in which values the study is not that of the settings file.
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
        """Which names that come from the data are shown, by the key of the study's split."""
        split = self.store.current(DATA_SPLIT) if self.store.has(DATA_SPLIT) else None
        return Naming(self.study.reports.suppress_below, split.manifest["settings"]["key"] if split else "")

    def code_version(self, asset: str) -> str:
        """What Dagster compares to say that an asset is stale."""
        return ASSETS[asset].code_version(self.study)

    def require(self, asset: str, partition: str | None = None) -> Artifact:
        """An artifact that is intact and passed its blocking checks.

        Raises MissingArtifact, Damaged, GateFailed, and UserError after expiry.
        """
        governance.refuse_if_expired(self.study.governance)
        artifact = self.store.intact(asset, partition)
        failed = [outcome for outcome in self._outcomes(artifact) if outcome.blocking and not outcome.passed]
        if failed:
            told = "; ".join(f"{outcome.name}: {outcome.message}" for outcome in failed)
            raise GateFailed(f"{asset} failed its checks, so nothing is built on it. {told}")
        return artifact

    def read(self, asset: str) -> dict[str, Artifact]:
        """The artifacts that an asset is declared to read, by name; raises what `require` raises."""
        declared = ASSETS[asset]
        for_sides = declared.reads_for_sides if self.study.patients.split.leaves_out else ()
        return {name: self.require(name) for name in (*declared.reads, *for_sides)}

    def check(self, asset: str, partition: str | None = None) -> list[Outcome]:
        """The outcomes of an asset's checks. Raises Damaged for an artifact that cannot be checked."""
        return self._outcomes(self.store.intact(asset, partition))

    def _outcomes(self, artifact: Artifact) -> list[Outcome]:
        asset = artifact.manifest["asset"]
        # The manifest of the catalog names every extract: it is not read again for each of them.
        key = (
            str(artifact.path),
            f"{self.store.fingerprint(EXTRACT_CATALOG)}/{presence.list_of_withdrawals(self.study)}",
        )
        if key not in self._gates:
            passed = Passed(self.study) if asset == RAW_RECORDS else None
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
        own: str = "",
        machine: Decided | None = None,
        links: Mapping[str, str] | None = None,
    ) -> Artifact:
        governance.refuse_if_expired(self.study.governance)
        lists = Watched.of(ASSETS[asset].list_files(self.study), lambda: ASSETS[asset].list_files(self.study))
        if self._versions_meant.get(asset, self.code_version(asset)) != self.code_version(asset):
            raise UserError(
                f"A list that the settings of {asset} name was edited after this run began, so {asset} was not made with it."
                " Start the run again."
            )
        recipe = replace(self._recipe(asset, inputs, partition, own), links=dict(links or {}))
        return self.store.make(recipe, lists.guard(build), machine)

    def _recipe(self, asset: str, inputs: Mapping[str, str], partition: str | None = None, own: str = "") -> Recipe:
        """The recipe of an asset with these inputs; `own` is its origin."""
        declared, population = ASSETS[asset], presence.population_made(asset, self.store, self.study)
        settings, governed = (
            declared.own_settings(self.study),
            governance.label(declared.released, self.study.governance),
        )
        return Recipe(asset, declared.version, settings, dict(inputs), partition, population, own, governed)

    def _note_learned(self, out: Path, patients: Iterable[NDArray[np.uint64]], earlier: Path | None = None) -> None:
        """Write down whom an artifact learned from, by plain hashes, and whom the `earlier` one did that it begins with."""
        learned.write(out, secret_key.of(self.store.root), patients, earlier)

    def _work(self, name: str, asset: str, inputs: Mapping[str, str]) -> Path:
        """Where a job leaves what the next one of the same recipe goes on from."""
        return self.store.folder(asset) / f"{name}-{self._recipe(asset, inputs).fingerprint}"

    def _method(self, asset: str) -> tuple[str, dict[str, Any]]:
        """How an asset is made, whatever it is made of."""
        own = ASSETS[asset].own_settings(self.study)
        return ASSETS[asset].version, incremental.method_of(own) if asset == RAW_RECORDS else own

    def _case(self, asset: str, inputs: dict[str, str], own: str) -> incremental.Case:
        """An asset that is about to be made, to be asked what it goes on from."""
        return incremental.Case(self.store, self.study, ASSETS[asset], inputs, own)


def versions_of(artifacts: Mapping[str, Artifact]) -> dict[str, str]:
    """Data versions of the artifacts that are read: these very ones, whatever has become current since."""
    return {asset: artifact.data_version for asset, artifact in artifacts.items()}


def watched_files(files: list[Path], where: str, find: Callable[[], list[Path]] | None = None) -> Watched:
    """Files that the settings name, from now on. Raises InputError when one is not there."""
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: there is no such file. It is named {where}.")
    return Watched.of(files, find)
