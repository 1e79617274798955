"""How a study is operated: when the landing folder is checked, how long runs may take, who is notified of failures."""

import re
from collections.abc import Iterator
from typing import Literal

from ehr_pipeline.typed_settings import option, settings

OWNER = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+|team:[\w-]+")
"""What Dagster takes for an owner."""


@settings
class OperationSettings:
    """Runs that start by themselves. Nothing here changes a result."""

    watch: Literal["off", "sensor", "schedule"] = option(
        "What reads new extracts by itself, and then makes anew what follows, as encoder.on_new_extract says: nothing, a sensor"
        " that looks at records.landing every watch_seconds, or a schedule (cron). Each can also be switched in the UI.",
        "off",
        role="operation",
    )
    complete: Literal["quiet", "marker"] = option(
        "When an extract counts as complete: 'quiet', when none of its files changed for quiet_minutes; 'marker', when its folder"
        " holds the file that marker names.",
        "quiet",
        role="operation",
    )
    quiet_minutes: float = option(
        "Minutes without a change after which a folder is complete.", 15.0, role="operation", ge=0
    )
    marker: str = option(
        "Name of the file that says that a folder is complete; written last.", "_COMPLETE", role="operation"
    )
    watch_seconds: int = option("Seconds between two looks of the sensor.", 60, role="operation", ge=10)
    cron: str = option("When the schedule looks, as a cron line of five fields.", "0 5 * * *", role="operation")
    timezone: str = option("Time zone of cron.", "UTC", role="operation")
    max_runtime_hours: float = option(
        "A run that started by itself is ended after so many hours; all others after max_runtime_seconds in dagster.yaml.",
        72.0,
        role="operation",
        gt=0,
    )
    retries: int = option(
        "How often a run that started by itself, and whose process died, is started again. What was finished is kept, and a"
        " training goes on from its last checkpoint. A failed check or stage is not tried again: it would fail again.",
        1,
        role="operation",
        ge=0,
        le=10,
    )
    owners: tuple[str, ...] = option(
        "Who answers for the study: e-mail addresses, or team:NAME. The UI shows them at each asset.",
        (),
        role="operation",
    )
    failure_log: str = option(
        "File to which each failed run adds a line of JSON: run, job, assets, kind of error, and no patient data. Empty: none.",
        "",
        role="input",
    )
    webhook: str = option(
        "Address to which the same JSON is sent by POST. Empty: none. It holds no patient data, but it leaves the machine.",
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
