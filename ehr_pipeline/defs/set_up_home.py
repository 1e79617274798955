"""Set up the folder where Dagster keeps its state, and register extracts as its partitions."""

import os
import time
from contextlib import suppress
from pathlib import Path

import dagster as dg

from ehr_pipeline.defs.dagster_jobs import EXTRACTS
from ehr_pipeline.errors import UserError
from ehr_pipeline.records.landing_folder import look
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.durable import write_atomically
from ehr_pipeline.study import dagster_home
from ehr_pipeline.study.dagster_home import CONFIGURATION
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import RAW_RECORDS


def ensure_home() -> Path:
    """Set DAGSTER_HOME and EHR_STATE_DIR if they are not set, and return the home. Its dagster.yaml keeps telemetry off.

    The default home is the top of a checkout; without a checkout, it is the folder `ehr_pipeline_home` in the working
    directory, created if missing. Raises UserError if the home holds no dagster.yaml, or if SQLite would be on a network
    file system.
    """
    named = os.environ.get("DAGSTER_HOME")
    home = Path(named) if named else default_home()
    if not (home / CONFIGURATION).is_file():
        raise UserError(
            f"DAGSTER_HOME is {home}, but it holds no {CONFIGURATION}. Copy ours there:"
            " without it, telemetry is on and state lies elsewhere."
        )
    os.environ["DAGSTER_HOME"] = str(home)
    folder = dagster_home.state_folder()
    os.environ.setdefault("EHR_STATE_DIR", str(folder))
    dagster_home.refuse_network_disk()
    folder.mkdir(parents=True, exist_ok=True)
    return home


def default_home() -> Path:
    """The folder of our dagster.yaml: the top of a checkout, else a folder in the working directory, created if missing."""
    home = dagster_home.our_home()
    home.mkdir(exist_ok=True)
    for name in (CONFIGURATION, "workspace.yaml"):
        if not (home / name).is_file():
            ours = Path(__file__).parents[1] / "data" / name
            write_atomically(home / name, ours.read_text(encoding="utf-8"))
    return home


def register_watched(instance: dg.DagsterInstance, pipeline: Pipeline) -> None:
    """Register extracts when a server starts. If extracts are watched, register only those that are complete or already read."""
    if pipeline.study.operation.watch == "off":
        register_extracts(instance, pipeline)
        return
    landed = look(Path(pipeline.study.records.landing), pipeline.study.operation, time.time())
    complete = {found.extract for found in landed if not found.waits_for}
    extracts = sorted(complete | set(pipeline.store.partitions(RAW_RECORDS)))
    counting = extracts[-1:] if pipeline.study.records.mode == "snapshot" else extracts
    instance.add_dynamic_partitions(str(EXTRACTS.name), counting)


def register_when_loaded(study: Study) -> None:
    """Register extracts when the definitions are loaded, so that `Reload definitions` in the UI shows new extracts.

    Does nothing if Dagster's state has no folder, or if the extracts cannot be listed: a run reports the reason.
    """
    if not {"DAGSTER_HOME", "EHR_STATE_DIR"} <= os.environ.keys():
        return
    with dg.DagsterInstance.get() as instance, suppress(UserError, OSError):
        register_watched(instance, Pipeline(study))


def register_extracts(instance: dg.DagsterInstance, pipeline: Pipeline) -> list[str]:
    """Register a partition for every extract that the study uses, and no other. Returns their names."""
    extracts = pipeline.extracts()
    name = str(EXTRACTS.name)
    if pipeline.study.records.mode == "snapshot":
        for replaced in set(instance.get_dynamic_partitions(name)) - set(extracts):
            instance.delete_dynamic_partition(name, replaced)
    instance.add_dynamic_partitions(name, extracts)
    return extracts
