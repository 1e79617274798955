"""Provide the study that a run uses: the settings as Dagster loaded them, plus any overrides of this run.

The server requests a run, and another process executes it and reads the settings file again. Both record a hash of the file. If the
hashes differ, somebody edited the file in between, and the run refuses to start.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import dagster as dg

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.defs import liveness
from ehr_pipeline.defs import overrides as launchpad
from ehr_pipeline.defs.quick_commits import quick_commits
from ehr_pipeline.errors import SettingsError, UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study

RESOURCE = "pipeline"
TAG = "ehr_pipeline/settings"
OVERRIDDEN = "ehr_pipeline/overridden"
_SETTINGS_ARE = "Settings "


def build_study(study: Study) -> dg.ResourceDefinition:
    """Return the resource `pipeline`. Its one configuration field, in the launchpad, is `overrides`."""
    loaded = settings.digest(study)

    # The description becomes part of the job's snapshot, which a run keeps from the time of its request.
    @dg.resource(
        config_schema={"overrides": launchpad.field()},
        description=f"{_SETTINGS_ARE}{loaded}: settings of the study {study.study.name!r}. To change settings for this run only,"
        " use `overrides`, for example {clusters: {n: 6}}.",
    )
    def pipeline(context: dg.InitResourceContext) -> Iterator[Pipeline]:
        run, instance = context.run, context.instance
        overrides = context.resource_config["overrides"]
        with ExitStack() as stack:
            if run is not None and instance is not None:
                stack.enter_context(quick_commits())
                stack.enter_context(liveness.running(instance, run.run_id))
                asked = _hash_when_requested(instance, run)
                if asked != loaded:
                    raise UserError(
                        f"The settings were edited after this run was queued (settings {asked} then, {loaded} now), so nothing"
                        " was run. Reload the code location in the UI (Deployment, Reload), then start the run again."
                    )
                instance.add_run_tags(run.run_id, {TAG: loaded} | ({OVERRIDDEN: "true"} if overrides else {}))
            chosen = overridden(study, overrides) if overrides else study
            yield Pipeline(chosen, {name: asset.code_version(chosen) for name, asset in ASSETS.items()}, overrides)

    return pipeline


def overridden(study: Study, overrides: Mapping[str, Any]) -> Study:
    """Return the study with overridden values. Raises SettingsError for a setting in `overrides.FIXED` or an invalid value."""
    fixed = launchpad.fixed_in(overrides)
    if fixed:
        raise SettingsError(
            "overrides",
            [
                f"{name if '.' in name else f'[{name}]'} cannot be overridden for a single run. Change it in the settings file."
                for name in fixed
            ],
        )
    return settings.with_overrides(study, overrides)


def _hash_when_requested(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return the hash of the settings that had been loaded by the process that requested the run."""
    snapshot = instance.get_job_snapshot(str(run.job_snapshot_id))
    for mode in snapshot.mode_def_snaps:
        for resource in mode.resource_def_snaps:
            if resource.name == RESOURCE and (resource.description or "").startswith(_SETTINGS_ARE):
                return str(resource.description).removeprefix(_SETTINGS_ARE).split(":", 1)[0]
    return "unknown"
