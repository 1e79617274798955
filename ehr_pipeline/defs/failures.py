"""Report failed runs, as a line of JSON in a file and a POST to an address. The report holds no patient data.

The report names the run, its job, the assets that failed and the kind of error. It includes messages only of errors that the user
can fix, because in such messages this project names only files, settings and numbers. Other messages may quote data; they stay in
Dagster's log.
"""

import json
import logging
import urllib.request
from pathlib import Path
from typing import Any

import dagster as dg

from ehr_pipeline.study.settings import Study

_log = logging.getLogger("ehr_pipeline")
TIMEOUT = 10.0  # seconds
USER_ERRORS = ("UserError", "SettingsError", "InputError", "MissingArtifact", "Damaged", "GateFailed", "Failure")
"""Names of error classes whose messages are reported. Dagster's own 'Failure' carries messages of failed blocking checks."""


def build_failure_hook(study: Study) -> dg.SensorDefinition:
    """Return a sensor that reports every failed run. It is on from the start if the settings name a file or an address."""
    settings = study.operation

    @dg.run_failure_sensor(
        name="report_failed_runs",
        description="Reports failed runs, without patient data: a line in operation.failure_log, a POST to operation.webhook.",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING
        if settings.failure_log or settings.webhook
        else dg.DefaultSensorStatus.STOPPED,
    )
    def report_failed_runs(context: dg.RunFailureSensorContext) -> None:
        send_report(study, described(study, context))

    return report_failed_runs


def described(study: Study, context: dg.RunFailureSensorContext) -> dict[str, Any]:
    """Return the report on a failed run."""
    steps = []
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        cause = (error.cause or error) if error else None
        kind = cause.cls_name if cause else None
        step = {"asset": event.step_key, "error": kind}
        if cause and kind in USER_ERRORS:
            step["message"] = cause.message.strip().split(": ", 1)[-1]
        steps.append(step)
    run = context.dagster_run
    return {
        "study": study.study.name,
        "run": run.run_id,
        "job": run.job_name,
        "extract": run.tags.get("dagster/partition"),
        "failed": steps,
    }


def send_report(study: Study, report: dict[str, Any]) -> None:
    """Write and send a report. If the address cannot be reached, log a warning: the file still has the report."""
    settings, line = study.operation, json.dumps(report, sort_keys=True)
    if settings.failure_log:
        path = Path(settings.failure_log)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    if settings.webhook:
        request = urllib.request.Request(  # noqa: S310 - the settings allow http and https only
            settings.webhook, data=line.encode(), headers={"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
                pass
        except OSError as error:
            _log.warning(
                "operation.webhook cannot be reached (%s): failed runs are not reported there. Check its address",
                type(error).__name__,
            )
