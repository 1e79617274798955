"""Start of the server, its memory when idle, whether it loads torch, and what a step costs in which nothing changed."""

import contextlib
import time
from pathlib import Path

import results
import time_and_memory

from ehr_pipeline.defs.dagster_jobs import READING
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.defs.browser import Server
from ehr_pipeline_tests.processes import until
from operations.site import ENDED, Site, launch, runs

IDLE_SECONDS = 30
STEPS = "query($run: ID!) {runOrError(runId: $run) {... on Run {stepStats {stepKey}}}}"


def measured(folder: Path, source: Path) -> str:
    """A study that is complete; its server; and runs that find everything made."""
    site = Site.made(folder, source)
    site.land(source / "landing" / EXTRACT, EXTRACT)
    site.pipeline().make(EXTRACT)
    begun = time.monotonic()
    with site.serving() as server:
        started = time.monotonic() - begun
        time.sleep(IDLE_SECONDS)
        processes = site.processes()
        memory, torch = time_and_memory.memory(processes), loads_torch(processes)
        whole(server, launch(server, READING, partition=EXTRACT))
        after = [asset for asset in STAGES if asset != "raw_records"]
        spent = [whole(server, launch(server, "__ASSET_JOB", after)) for _ in range(2)][-1]
        until(lambda: len(site.processes()) <= len(processes), 60)  # the process of the run ends a moment after the run
        again = loads_torch(site.processes())
    asked, ran, steps = spent
    rows = [
        ("start of the server until it answers with the graph", f"{started:.1f} s"),
        (f"memory of its {len(processes)} processes together, idle, daemon included (PSS)", f"{memory / 1e6:.0f} MB"),
        ("processes of them that have loaded torch: idle; after runs", f"{torch}; {again}"),
        (f"a run of {len(after)} assets and their checks in which nothing changed", f"{ran:.1f} s in its process"),
        (f"of it for each of its {steps} steps", f"{ran / steps:.2f} s"),
        ("the same run, from asking to its end (queue, start of its process)", f"{asked:.1f} s"),
    ]
    return results.table(("What", "Figure"), rows)


def whole(server: Server, run: str) -> tuple[float, float, int]:
    """Wait for the end of a run. Returns seconds since it was asked for, seconds within its process, and its steps."""
    asked = time.monotonic()
    if not until(lambda: next(found for found in runs(server) if found["runId"] == run)["status"] in ENDED, 300):
        raise SystemExit(f"the run {run} did not end")
    spent, found = time.monotonic() - asked, next(found for found in runs(server) if found["runId"] == run)
    if found["status"] != "SUCCESS":
        raise SystemExit(f"the run {run} ended with {found['status']}")
    steps = server.query(STEPS, run=run)["runOrError"]["stepStats"]
    return spent, found["endTime"] - found["startTime"], len(steps)


def loads_torch(processes: list[int]) -> int:
    """How many of the processes have torch's library in memory."""
    number = 0
    for pid in processes:
        with contextlib.suppress(OSError):
            number += "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    return number
