"""What every backend does: run a job on some processes, stream its log, raise if it fails, end every child when cancelled."""

from typing import Any

import dagster as dg

from ehr_pipeline.chain.pipeline import Launch, Pipeline
from ehr_pipeline.work import jobs


class Launcher(dg.ConfigurableResource[Any]):
    """A place where jobs run. `launch` returns when the job is done."""

    store: str
    """Folder of the artifacts, where jobs that need one get a scratch folder."""
    processes: int = 1
    restarts: int = 2

    def launch(self, context: dg.AssetExecutionContext, module: str, job: jobs.Job) -> None:
        """Run `module.run(job)`. Raises UserError with the job's own message where it has one."""
        raise NotImplementedError

    def for_run(self, context: dg.AssetExecutionContext, pipeline: Pipeline) -> Launch:
        """`launch` within a Dagster run, as the library calls it."""
        return lambda module, job: self.launch(context, module, job)
