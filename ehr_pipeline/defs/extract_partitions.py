"""Register extracts as partitions in Dagster's state."""

import logging
import os
import time
from pathlib import Path

import dagster as dg

from ehr_pipeline.defs.dagster_jobs import EXTRACTS
from ehr_pipeline.errors import UserError
from ehr_pipeline.records.landing_folder import check_folders
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import RAW_RECORDS

_log = logging.getLogger("ehr_pipeline")


def register_watched(instance: dg.DagsterInstance, pipeline: Pipeline) -> None:
    """Register extracts. If extracts are watched, register only those that are complete or already read."""
    if pipeline.study.operation.watch == "off":
        register_extracts(instance, pipeline)
        return
    landed = check_folders(Path(pipeline.study.records.landing), pipeline.study.operation, time.time())
    complete = {found.extract for found in landed if not found.waits_for}
    extracts = sorted(complete | set(pipeline.store.partitions(RAW_RECORDS)))
    counting = extracts[-1:] if pipeline.study.records.mode == "snapshot" else extracts
    instance.add_dynamic_partitions(str(EXTRACTS.name), counting)


def register_when_loaded(study: Study) -> None:
    """Register extracts when the definitions are loaded: when a server starts, and on `Reload definitions` in the UI.

    Does nothing if Dagster's state has no folder. If the extracts cannot be listed, logs why: some may land later.
    """
    if not {"DAGSTER_HOME", "EHR_STATE_DIR"} <= os.environ.keys():
        return
    try:
        with dg.DagsterInstance.get() as instance:
            register_watched(instance, Pipeline(study))
    except (UserError, OSError) as error:
        _log.warning("no extract is registered: %s", error)


def register_extracts(instance: dg.DagsterInstance, pipeline: Pipeline) -> list[str]:
    """Register a partition for every extract that the study uses, and no other. Returns their names."""
    extracts = pipeline.extracts()
    name = str(EXTRACTS.name)
    if pipeline.study.records.mode == "snapshot":
        for replaced in set(instance.get_dynamic_partitions(name)) - set(extracts):
            instance.delete_dynamic_partition(name, replaced)
    instance.add_dynamic_partitions(name, extracts)
    return extracts
