"""Same files on every backend, and what each costs: 1, 2 and 4 workers, and the overhead of sending work.

A synthetic extract goes through the three stages that work on buckets. "Outside" is what one process does before or after them
(reading text, summing counts), "buckets" what is spread. Starts a Ray cluster and a Slurm of its own on this machine, where their
packages are there, and stops them.

Usage: python benchmarks/backends.py [--patients 3000]
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import results

from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT, generate
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.engines import slurm_site
from ehr_pipeline_tests.engines.work import nothing

STAGES = ("raw_records", "mapped_events", "patient_dataset")
BUCKETS, TASKS = 32, 8
TOP = Path(__file__).parents[1]


class Timed:
    """An engine whose work on buckets is timed."""

    def __init__(self, engine: Any):
        self.engine, self.seconds = engine, 0.0

    def spread(self, function: Callable[[Any], Any], jobs: Sequence[Any], workers: int, what: str) -> list[Any]:
        begun = time.perf_counter()
        found: list[Any] = self.engine.spread(function, jobs, workers, what)
        self.seconds += time.perf_counter() - begun
        return found


def measure(extract: Path, workers: int, launcher: dict[str, Any]) -> tuple[dict[str, float], str]:
    """Run the three stages. Returns seconds by stage, in and outside of buckets, and of 64 empty buckets; and the data version."""
    with tempfile.TemporaryDirectory() as store:
        own = {name: {"workers": workers} for name in ("records", "events", "patients")}
        own["records"]["buckets"] = BUCKETS
        changes = settings.merged(places(extract), own, {"study": {"store": store}, "launcher": launcher})
        pipeline = Pipeline(settings.load(shipped("demo/settings.toml"), changes))
        timed = Timed(pipeline.engine)
        pipeline.engine = timed  # type: ignore[assignment]
        found: dict[str, float] = {}
        for stage in ("raw_records", "extract_catalog", "mapped_events", "vocabulary", "patient_dataset"):
            timed.seconds, begun = 0.0, time.perf_counter()
            made = pipeline.raw_records(EXTRACT) if stage == "raw_records" else getattr(pipeline, stage)()
            if stage == "raw_records":
                found["rows"] = made.counts["rows_in"]
            if stage in STAGES:
                found[f"{stage} outside"] = time.perf_counter() - begun - timed.seconds
                found[stage] = timed.seconds
        begun = time.perf_counter()
        timed.engine.spread(nothing, list(range(64)), workers, "nothing")
        found["nothing"] = time.perf_counter() - begun
        return found, made.data_version


@contextmanager
def ray_cluster(cpus: int) -> Iterator[str]:
    """A cluster of one node; its address."""
    command = [sys.executable, "-m", "ehr_pipeline_tests.engines.ray_site", str(cpus)]
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        yield json.loads(process.stdout.readline())["address"]
        process.communicate()


def runs(extract: Path) -> Iterator[tuple[str, int, dict[str, float], str]]:
    """Every backend that is there, with 1, 2 and 4 workers."""
    yield "inline", 1, *measure(extract, 1, {"backend": "inline"})
    for workers in (2, 4):
        yield "processes", workers, *measure(extract, workers, {"backend": "processes"})
    for workers in (1, 2, 4) if importlib.util.find_spec("ray") else ():
        with ray_cluster(workers) as address:
            yield "ray", workers, *measure(extract, 1, {"backend": "ray", "ray": {"address": address}})
    for workers in (1, 2, 4) if not slurm_site.absent() else ():
        with slurm_site.running(cpus=workers) as site:
            os.environ |= {name: site.environment[name] for name in ("SLURM_CONF", "PATH")} | {"PYTHONPATH": str(TOP)}
            own = {"poll_seconds": 0.2, "array_tasks": TASKS}
            yield "slurm", workers, *measure(extract, 1, {"backend": "slurm", "slurm": own})


def main() -> None:
    """Run all, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=3000)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is stopped
    with tempfile.TemporaryDirectory() as scratch:
        extract = Path(scratch)
        generate(extract, options.patients, 0)
        measured = []
        for run in runs(extract):
            print(run, flush=True)
            measured.append(run)
    columns = [f"{stage}{part}" for stage in STAGES for part in (" outside", "")]
    table = [
        (backend, workers, *(f"{found[column]:.2f}" for column in columns), f"{found['nothing']:.2f}", version)
        for backend, workers, found, version in measured
    ]
    header = (
        "backend",
        "workers",
        *(c if "outside" in c else f"{c} buckets" for c in columns),
        "64 empty buckets",
        "data version",
    )
    same = len({version for *_, version in measured}) == 1
    text = (
        f"{measured[0][2]['rows']:,} rows, {BUCKETS} buckets, {os.cpu_count()} cores; seconds, each run once."
        f" Slurm: array jobs of {TASKS} tasks, asked every 0.2 s."
        " Four workers share two cores.\n\n"
        + results.table(header, table)
        + f"\n\nThe same data version of the patient data set in all runs: **{'yes' if same else 'NO'}**."
    )
    results.write("backends.py", "Backends", text)


if __name__ == "__main__":
    main()
