"""The definitions of a study: its assets, checks, resources and what starts its runs."""

from collections.abc import Mapping

import dagster as dg

from ehr_pipeline.defs.assets import build_assets
from ehr_pipeline.defs.automation import build_automation
from ehr_pipeline.defs.checks import build_checks
from ehr_pipeline.defs.failures import build_failure_hook
from ehr_pipeline.defs.launcher import launcher
from ehr_pipeline.defs.study import build_study
from ehr_pipeline.study import settings


def build(study: settings.Study, loggers: Mapping[str, dg.LoggerDefinition] | None = None) -> dg.Definitions:
    """The definitions of a study. The settings of each asset are part of its code version: a change of them makes it stale.

    `loggers` replace Dagster's own console output.
    """
    own = dg.Definitions(
        assets=build_assets(study),
        asset_checks=build_checks(study),
        resources={"pipeline": build_study(study), "launcher": launcher},
        # One process for all steps of a run: a step costs 0.1 s in place of 4 s, and a killed run leaves no orphans behind.
        executor=dg.in_process_executor,
        loggers=loggers,
    )
    return dg.Definitions.merge(own, build_automation(study), dg.Definitions(sensors=[build_failure_hook(study)]))
