"""The resource by which steps start heavy jobs: the engine of the library, bound to a Dagster run.

An engine logs to `ehr_pipeline`, which Dagster shows in the run (`python_logs` in dagster.yaml). It ends its work when an exception
passes it, as Dagster raises one in a step that is cancelled. So nothing else is needed here.
"""

import dagster as dg

from ehr_pipeline.engines.base import Engine


@dg.resource(
    required_resource_keys={"pipeline"},
    description="Where heavy jobs of a run go: `[launcher]` in the settings.",
)
def launcher(context: dg.InitResourceContext) -> Engine:
    """The resource `launcher`. It has no field of its own in the launchpad: what a run overrides is in the run's settings."""
    engine: Engine = context.resources.pipeline.engine
    return engine
