"""The resource with which steps start heavy jobs: the library's engine, bound to a Dagster run.

An engine logs to `ehr_pipeline`, which Dagster shows in the run (`python_logs` in dagster.yaml). Dagster raises an
exception in a cancelled step, and an engine stops its work when an exception propagates through it. So nothing else is
needed here.
"""

import dagster as dg

from ehr_pipeline.engines.base import Engine


@dg.resource(
    required_resource_keys={"pipeline"}, description="Where heavy jobs of a run go: `[launcher]` in the settings."
)
def launcher(context: dg.InitResourceContext) -> Engine:
    """The resource `launcher`. It has no launchpad field: overrides of a run are already in the run's settings."""
    engine: Engine = context.resources.pipeline.engine
    return engine
