"""How a study is run automatically: when the landing folder is checked, how long runs may take, who is notified of failures."""

import re
from collections.abc import Iterator
from typing import Literal

from ehr_pipeline.typed_settings import option, settings

OWNER = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+|team:[\w-]+")
"""What Dagster accepts as an owner."""


@settings
class OperationSettings:
    """Runs that start automatically. No setting here changes a result."""

    watch: Literal["off", "sensor", "schedule"] = option(
        "What reads new extracts automatically and then updates all later assets (see encoder.on_new_extract). 'off': nothing;"
        " 'sensor': a sensor that checks records.landing every watch_seconds; 'schedule': a schedule (cron). Sensor and"
        " schedule can also be switched in the UI.",
        "off",
        role="operation",
    )
    complete: Literal["quiet", "marker"] = option(
        "When an extract is treated as complete. 'quiet': when none of its files has changed for quiet_minutes; 'marker': when"
        " its folder contains the file given in `marker`.",
        "quiet",
        role="operation",
    )
    quiet_minutes: float = option(
        "Minutes without a change after which a folder is complete.", 15.0, role="operation", ge=0
    )
    marker: str = option(
        "Name of the file, written last, that marks a folder as complete.", "_COMPLETE", role="operation"
    )
    watch_seconds: int = option("Seconds between two checks by the sensor.", 60, role="operation", ge=10)
    cron: str = option("When the schedule checks, as a cron line of five fields.", "0 5 * * *", role="operation")
    timezone: str = option("Time zone of cron.", "UTC", role="operation")
    max_runtime_hours: float = option(
        "A run that started automatically is ended after this many hours; all other runs after max_runtime_seconds in"
        " dagster.yaml.",
        72.0,
        role="operation",
        gt=0,
    )
    retries: int = option(
        "How often an automatic run whose process died is started again. Finished work is kept, and a training run resumes from"
        " its last checkpoint. A failed check or stage is not retried, since it would fail again.",
        1,
        role="operation",
        ge=0,
        le=10,
    )
    owners: tuple[str, ...] = option(
        "Who is responsible for the study: e-mail addresses, or team:NAME. The UI shows them at each asset.",
        (),
        role="operation",
    )
    failure_log: str = option(
        "File to which each failed run adds a line of JSON: run, job, assets and kind of error, but no patient data. Empty: no"
        " file.",
        "",
        role="input",
    )
    webhook: str = option(
        "Address to which the same JSON is sent by POST. The JSON contains no patient data, but leaves the machine. Empty:"
        " nothing is sent.",
        "",
        role="operation",
    )

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        if not self.marker or "/" in self.marker or self.marker in (".", ".."):
            yield "marker is the name of a file in the extract's folder, without a path"
        for owner in self.owners:
            if not OWNER.fullmatch(owner):
                yield f"owners are e-mail addresses, or team:NAME, not {owner!r}"
        if self.webhook and not self.webhook.startswith(("https://", "http://")):
            yield "webhook is an address that begins with https:// or http://"
