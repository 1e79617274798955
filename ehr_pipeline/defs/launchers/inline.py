"""A plain call in the process of the step: for tests and tiny jobs."""

import dagster as dg

from ehr_pipeline.chain.pipeline import launch_inprocess
from ehr_pipeline.defs.launchers.base import Launcher
from ehr_pipeline.work import jobs


class InlineLauncher(Launcher):
    """Runs a job where it is asked for; `processes` and `restarts` have no effect."""

    def launch(self, context: dg.AssetExecutionContext, module: str, job: jobs.Job) -> None:
        """Run the job."""
        launch_inprocess(module, job)
