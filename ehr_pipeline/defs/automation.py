"""Run automatically: extracts are read once they are complete; downstream assets are rebuilt when the data have changed.

The sensor and the schedule only start the reading, in one run for each extract. Once the last new extract has been read, Dagster's
automation conditions request everything downstream in a single run.
"""

import json
import time
from pathlib import Path
from typing import Any

import dagster as dg

from ehr_pipeline.defs import dagster_jobs
from ehr_pipeline.defs.dagster_jobs import EXTRACTS
from ehr_pipeline.errors import printable
from ehr_pipeline.records.landing_folder import ExtractFolder, check_folders
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import EXTRACT_CATALOG, RAW_RECORDS

MOST_RUNS = 50  # requested per evaluation: Dagster allows one evaluation 60 s, and each request takes about 0.1 s
LOOKS = "Reads names, sizes and times only."
CONDITION = "new input data"


def follows_its_inputs(asset: str) -> dg.AutomationCondition[dg.AssetKey | dg.AssetCheckKey]:
    """Return a condition that is true once after the data of an input changed, when all inputs exist and none is being made.

    Making an input again with the same data does not count as a change. For a partitioned input, the condition waits for every
    partition: ten extracts that land together start one run of everything downstream, after the tenth. The catalog, which reads the
    extracts, also waits for their checks. Later assets need not wait for checks: checks and assets are then in one run, in which
    Dagster itself stops at a failed check.
    """
    changed = dg.AutomationCondition.data_version_changed() | dg.AutomationCondition.will_be_requested()
    condition = (
        dg.AutomationCondition.any_deps_match(changed).since_last_handled()
        & ~dg.AutomationCondition.in_progress()
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
    )
    if asset == EXTRACT_CATALOG:
        condition &= dg.AutomationCondition.all_deps_blocking_checks_passed()
    return condition.with_label(CONDITION)


def build_automation(study: Study) -> dg.Definitions:
    """Return the jobs, sensors and schedule that register extracts, read them, and make everything downstream.

    Registering is always on. `operation.watch` decides which of the others are on from the start.
    """
    job = dagster_jobs.reading(run_tags(study))
    following = dg.AutomationConditionSensorDefinition(
        "remake_what_follows",
        target=dg.AssetSelection.all(),
        default_status=_sensor_status(study.operation.watch != "off"),
        run_tags=run_tags(study),
        description="When the last new extract has been read and has passed its checks, rebuilds everything that depends on changed"
        " data, in one run. encoder.on_new_extract decides whether the model is retrained.",
    )
    return dg.Definitions(
        jobs=[job, dagster_jobs.whole_study(study), dagster_jobs.new_extract(study)],
        sensors=[_registering(study), _reading(study, job), following],
        schedules=[_reading_on_schedule(study, job)],
    )


def _registering(study: Study) -> dg.SensorDefinition:
    @dg.sensor(
        name="register_new_extracts",
        minimum_interval_seconds=study.operation.watch_seconds,
        default_status=_sensor_status(True),
        description="Lists new extracts in the landing folder (records.landing) as partitions of raw_records; starts nothing."
        f" {LOOKS}",
    )
    def register_new_extracts(
        context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.SensorResult:
        result = sensor_result(context.instance, pipeline, None, time.time())
        new = result.dynamic_partitions_requests
        return dg.SensorResult(
            skip_reason=dg.SkipReason("extracts were registered" if new else "no extract is new"),
            dynamic_partitions_requests=new,
        )

    return register_new_extracts


def _reading(study: Study, job: Any) -> dg.SensorDefinition:
    @dg.sensor(
        name="read_new_extracts",
        job=job,
        minimum_interval_seconds=study.operation.watch_seconds,
        default_status=_sensor_status(study.operation.watch == "sensor"),
        description="Looks for new and corrected extracts in the landing folder (records.landing), registers their partitions, and"
        f" starts {dagster_jobs.READING} for each. {LOOKS} Switched on from the start if operation.watch = 'sensor'.",
    )
    def read_new_extracts(context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]) -> dg.SensorResult:
        return sensor_result(context.instance, pipeline, context.cursor, time.time())

    return read_new_extracts


def _reading_on_schedule(study: Study, job: Any) -> dg.ScheduleDefinition:
    running = dg.DefaultScheduleStatus.RUNNING, dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name="read_new_extracts_on_schedule",
        job=job,
        cron_schedule=study.operation.cron,
        execution_timezone=study.operation.timezone,
        default_status=running[study.operation.watch != "schedule"],
        description="Does the same as the sensor read_new_extracts, at the times of operation.cron; use one of the two. Switched on"
        " from the start if operation.watch = 'schedule'.",
    )
    def on_schedule(
        context: dg.ScheduleEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        return _without_run_keys(context.instance, pipeline)

    return on_schedule


def _without_run_keys(instance: dg.DagsterInstance, pipeline: Pipeline) -> list[dg.RunRequest] | dg.SkipReason:
    """Return the runs that the schedule starts, without run keys, so that an extract whose reading failed is tried again."""
    result = sensor_result(instance, pipeline, None, time.time())
    for change in result.dynamic_partitions_requests or ():
        names = list(change.partition_keys)
        if isinstance(change, dg.AddDynamicPartitionsRequest):
            instance.add_dynamic_partitions(change.partitions_def_name, names)
        else:
            for name in names:
                instance.delete_dynamic_partition(change.partitions_def_name, name)
    requests = [dg.RunRequest(partition_key=request.partition_key) for request in result.run_requests or ()]
    return requests or result.skip_reason or dg.SkipReason("nothing to read")


def run_tags(study: Study) -> dict[str, str]:
    """Return the tags that limit the time and the retries of an automatic run."""
    settings = study.operation
    return {
        "dagster/max_runtime": str(int(settings.max_runtime_hours * 3600)),
        "dagster/max_retries": str(settings.retries),
        "dagster/retry_on_asset_or_op_failure": "false",
        "dagster/retry_strategy": "FROM_FAILURE",
    }


def _sensor_status(running: bool) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED


# For each extract: the state of its files when its reading was last requested, and the number of requests so far.
Requested = dict[str, tuple[str, int]]


def sensor_result(instance: dg.DagsterInstance, pipeline: Pipeline, cursor: str | None, now: float) -> dg.SensorResult:
    """Check the landing folder once: returns partitions to register and runs to start, or the reason why nothing starts.

    `now` is the time in seconds since 1970; `cursor` is that of the previous check, or None.

    A run key holds the hash of the extract's files and the number of requests so far. So an extract that lands twice
    unchanged is read once, and an extract is read again when it is corrected, or when its correction is undone.
    """
    landing, snapshot = Path(pipeline.study.records.landing), pipeline.study.records.mode == "snapshot"
    landed = check_folders(landing, pipeline.study.operation, now)
    complete = [folder for folder in landed if not folder.waits_for]
    counting = complete[-1:] if snapshot else complete
    before: Requested = {name: (state, number) for name, (state, number) in json.loads(cursor or "{}").items()}
    there = {folder.extract for folder in landed}
    after: Requested = {name: seen for name, seen in before.items() if name in there}
    requests: list[dg.RunRequest] = []
    read = pipeline.store.partitions(RAW_RECORDS)  # listed once, since there may be thousands of extracts
    for folder in counting:
        state, number = before.get(folder.extract, ("", 0))
        if state == folder.state or len(requests) == MOST_RUNS:
            continue
        if not number and pipeline.is_read(folder.extract, read):
            after[folder.extract] = (folder.state, 0)  # the extract was read before the sensor ran
            continue
        after[folder.extract] = (folder.state, number + 1)
        key = f"{folder.extract}:{folder.state}:{number + 1}"
        requests.append(dg.RunRequest(run_key=key, partition_key=folder.extract))
    return dg.SensorResult(
        run_requests=requests or None,
        skip_reason=None if requests else dg.SkipReason(_why_quiet(landing, landed)),
        cursor=json.dumps(after, sort_keys=True),
        dynamic_partitions_requests=_partitions(instance, [folder.extract for folder in counting], snapshot),
    )


def _partitions(
    instance: dg.DagsterInstance, counting: list[str], snapshot: bool
) -> list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest]:
    known = set(instance.get_dynamic_partitions(str(EXTRACTS.name)))
    requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    new = sorted(set(counting) - known)
    if new:
        requests.append(EXTRACTS.build_add_request(new))
    replaced = sorted(known - set(counting)) if snapshot and counting else []
    if replaced:
        requests.append(EXTRACTS.build_delete_request(replaced))
    return requests


def _why_quiet(landing: Path, landed: list[ExtractFolder]) -> str:
    """Return the reason why nothing is started, with the names of incomplete extracts."""
    waiting = [printable(f"{folder.extract}: {folder.waits_for}") for folder in landed if folder.waits_for]
    if not landing.is_dir():
        return f"{landing} (records.landing) is not a folder"
    if not landed:
        return f"{landing} contains no extract"
    if not waiting:
        return f"none of the {len(landed)} extracts has changed since it was read or queued"
    more = f"; and {len(waiting) - 5} others" if len(waiting) > 5 else ""
    return f"waiting for {len(waiting)} of {len(landed)} extracts to be complete: {'; '.join(waiting[:5])}{more}"
