"""Build the Dagster definitions of a study: assets, checks, resources, and the sensors and schedules that start its runs."""

from collections.abc import Mapping

import dagster as dg

from ehr_pipeline.defs.automation import build_automation
from ehr_pipeline.defs.dagster_assets import build_assets
from ehr_pipeline.defs.dagster_checks import build_checks
from ehr_pipeline.defs.failures import build_failure_hook
from ehr_pipeline.defs.study import build_study
from ehr_pipeline.engines.base import Engine
from ehr_pipeline.study import settings


class NoValues(dg.IOManager):
    """An IO manager that passes no values, because our assets neither return nor take any. Dagster's own would pickle them."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Do nothing for None. Raises TypeError for a value."""
        if obj is not None:
            raise TypeError("assets write their artifacts to the store, and return no value")

    def load_input(self, context: dg.InputContext) -> object:
        """Raise TypeError: there are no values to load."""
        raise TypeError("assets read their inputs from the store")


@dg.io_manager(description="Not used: artifacts are in the study's store, with their hashes.")
def no_io_manager(_: dg.InitResourceContext) -> dg.IOManager:
    """Return the resource `io_manager`, by which Dagster would pass values between assets."""
    return NoValues()


@dg.resource(
    required_resource_keys={"pipeline"},
    description="Where heavy jobs of a run are executed: `[launcher]` in the settings.",
)
def launcher(context: dg.InitResourceContext) -> Engine:
    """Return the library's engine, which starts heavy jobs. It has no field in Dagster's launchpad: a run's overrides are in its
    settings.

    An engine logs to `ehr_pipeline`, which Dagster shows in the run, and stops its work when a cancelled step raises an exception.
    """
    engine: Engine = context.resources.pipeline.engine
    return engine


def build(study: settings.Study, loggers: Mapping[str, dg.LoggerDefinition] | None = None) -> dg.Definitions:
    """Return the definitions of a study. Each asset's settings are part of its code version: changing them makes it stale.

    `loggers` replace Dagster's own console output.
    """
    parts = dg.Definitions(
        assets=build_assets(study),
        asset_checks=build_checks(study),
        resources={"pipeline": build_study(study), "launcher": launcher, "io_manager": no_io_manager},
        # One process for all steps of a run: a step costs 0.1 s instead of 4 s, and a killed run leaves no orphans behind.
        executor=dg.in_process_executor,
        loggers=loggers,
    )
    return dg.Definitions.merge(parts, build_automation(study), dg.Definitions(sensors=[build_failure_hook(study)]))
