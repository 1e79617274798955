"""Read all extracts within one run without partitions, for the job `whole_study`."""

import dagster as dg

from ehr_pipeline.defs.dagster_checks import in_dagster, outcomes
from ehr_pipeline.defs.extract_partitions import register_extracts
from ehr_pipeline.defs.metadata import published
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables.asset_names import RAW_RECORDS


def read_all(context: dg.AssetExecutionContext, pipeline: Pipeline) -> None:
    """Read and check every extract in the landing folder, and report each to Dagster as a run of its partition would.

    A failed blocking check is only reported here; the run stops later, when it comes to the catalog.
    """
    key = dg.AssetKey(RAW_RECORDS)
    for extract in register_extracts(context.instance, pipeline):
        result = published(pipeline, pipeline.raw_records(extract))
        tags = {"dagster/code_version": pipeline.code_version(RAW_RECORDS)}
        if result.data_version:
            tags["dagster/data_version"] = result.data_version.value
        context.log_event(dg.AssetMaterialization(key, partition=extract, metadata=result.metadata, tags=tags))
    for outcome in outcomes(RAW_RECORDS, pipeline, None):
        evaluation = dg.AssetCheckEvaluation(asset_key=key, blocking=outcome.blocking, **in_dagster(outcome, pipeline))
        context.instance.report_runless_asset_event(evaluation)
    # Dagster recorded the versions of the catalog's inputs before the extracts were read; without this, the catalog would be stale
    # from the start.
    context.op_execution_context.get_step_execution_context().fetch_external_input_asset_version_info()
