"""Many extracts that land at once, and a kill of everything while they are read: none is lost, none is read wrongly."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import results

from ehr_pipeline.defs.dagster_jobs import READING
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.defs.browser import Server
from ehr_pipeline_tests.processes import until
from operations.site import ENDED, Site, contents, different, parts, runs

WATCHED = {"watch": "sensor", "watch_seconds": 10, "complete": "marker", "retries": 3}
PATIENCE = 900.0  # seconds


def measured(folder: Path, source: Path, number: int) -> str:
    """The sensor asks for a run of each; everything is killed when a third have ended; the next server does the rest alone."""
    site = Site.made(folder, source, operation=WATCHED)
    names = [f"2018-01-{day:03}" for day in range(number)]
    with site.serving() as server:
        for name, events in zip(names, parts(source / "landing" / EXTRACT, number), strict=True):
            site.land_part(source / "landing" / EXTRACT, name, events)
        begun = time.monotonic()
        wait(lambda: len(runs(server)) >= number, server)
        asked = time.monotonic() - begun
        wait(lambda: statuses(server)["SUCCESS"] >= number // 3, server)
        before = statuses(server)
        processes = site.kill()
        killed = time.monotonic() - begun
    with site.serving() as server:
        wait(lambda: site.store.has(list(STAGES)[-1]), server)
        wait(lambda: all(run["status"] in ENDED for run in runs(server)), server)
        spent, ended = time.monotonic() - begun, runs(server)
    direct = site.pipeline(folder / "direct")
    direct.make(*names)
    wrong = different(contents(site.store), contents(direct.store))
    left = [*site.hidden(), *map(str, site.processes())]
    reading = [run for run in ended if run["jobName"] == READING]
    read = Counter(run["tags"]["dagster/partition"] for run in reading if run["status"] == "SUCCESS")
    lost = [name for name in names if read[name] != 1]
    chains = [run["status"] for run in ended if run["jobName"] != READING]
    retried = sum("dagster/parent_run_id" in run["tags"] for run in reading)
    if wrong or left or lost or chains != ["SUCCESS"]:
        raise SystemExit(f"wrong: {wrong}; left: {left}; not read once: {lost}; chains: {chains}")
    rows = [
        (f"{number} extracts landed, {number} runs asked for after", f"{asked:.0f} s"),
        (
            f"kill -9 of all {processes} processes after {killed:.0f} s",
            ", ".join(f"{count} {status.lower()}" for status, count in sorted(before.items())),
        ),
        (
            "runs that the kill ended, marked as failed by the next start",
            len([r for r in reading if r["status"] == "FAILURE"]),
        ),
        ("runs that took their place, by themselves", retried),
        (f"all {number} extracts read, and everything after them made by one run", f"{spent:.0f} s after they landed"),
        ("extracts without exactly one run that succeeded", len(lost)),
        (f"of the {len(contents(site.store))} artifacts, not as a direct run makes them, byte for byte", len(wrong)),
        ("processes, half artifacts and locks left", len(left)),
    ]
    return results.table(("What", "Figure"), rows)


def statuses(server: Server) -> Counter[str]:
    """How many runs have each status."""
    return Counter(run["status"] for run in runs(server))


def wait(condition: Any, server: Server) -> None:
    """Until something holds. Raises SystemExit with what the runs are at when it does not."""
    if not until(condition, PATIENCE):
        raise SystemExit(f"this took too long: {statuses(server)}")
