"""If nothing has changed since the last run, report the run from the manifests, without starting Dagster.

Dagster must already have recorded the current artifacts. So each whole run writes a note, next to Dagster's state, of the recorded
artifacts. If there is no note, or artifacts, code versions or check results differ from it, the run goes through Dagster.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ehr_pipeline.assets import of_study
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.runs.run_outcome import Row, RunOutcome
from ehr_pipeline.store.artifacts import Artifact, Counts, Decided, Recipe, hash_of
from ehr_pipeline.store.durable import write_atomically
from ehr_pipeline.study import dagster_home
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import RAW_RECORDS


class _Changed(Exception):
    """Raised where a run would have to make an artifact."""


class _Existing(Pipeline):
    """A pipeline that makes nothing: it raises _Changed if the store has no artifact with an asset's present recipe."""

    def _publish(self, recipe: Recipe, build: Callable[[Path], Counts], machine: Decided | None) -> Artifact:
        def refuse(_: Path) -> NoReturn:
            raise _Changed(recipe.asset)

        return super()._publish(recipe, refuse, machine)


def outcome(study: Study) -> RunOutcome | None:
    """Return the outcome of a whole run that makes nothing; None if it would make or record something, or a blocking check
    fails."""
    if not _note(study).is_file():
        return None
    pipeline, found = _Existing(study), RunOutcome()
    try:
        extracts = [(RAW_RECORDS, extract, pipeline.raw_records(extract)) for extract in pipeline.extracts()]
        others = [(asset, None, pipeline.asset(asset)) for asset in of_study(study) if asset != RAW_RECORDS]
        for asset, extract, artifact in (*extracts, *others):
            found.rows.append(Row.of(artifact, extract, skipped=True))
            for check in pipeline.check(asset, extract):
                found.add(asset, extract, check)
    except (_Changed, UserError):
        return None
    known = json.loads(_note(study).read_text(encoding="utf-8"))
    return found if not found.problems and known == _recorded(pipeline, found) else None


def note(study: Study, made: RunOutcome) -> None:
    """Write the note of what Dagster recorded during a whole run that succeeded."""
    write_atomically(_note(study), json.dumps(_recorded(Pipeline(study), made)) + "\n")


def _note(study: Study) -> Path:
    return dagster_home.state_folder() / f"recorded-{hash_of(str(Path(study.study.store).resolve()))}.json"


def _recorded(pipeline: Pipeline, made: RunOutcome) -> dict[str, Any]:
    versions = {
        f"{row.asset} {row.partition}": f"{row.version} {pipeline.code_version(row.asset)}" for row in made.rows
    }
    return {"versions": versions, "checks": dict(sorted(made.checks.items()))}
