"""Clusters: the library's own engine, whose log lines Dagster shows in the run."""

import dagster as dg

from ehr_pipeline.chain.pipeline import Launch, Pipeline
from ehr_pipeline.defs.launchers.base import Launcher


class ClusterLauncher(Launcher):
    """Runs jobs where the engine of the pipeline runs its work on buckets, too."""

    def for_run(self, context: dg.AssetExecutionContext, pipeline: Pipeline) -> Launch:
        """The engine's own `launch`."""
        return pipeline.engine.launch
