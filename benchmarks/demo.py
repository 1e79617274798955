"""Does the demo fit a laptop? The time of what `make demo` runs, from no file to the report, and the memory of all processes.

Memory is the sum of the proportional set sizes of the process tree (pages shared by several processes count once), sampled twice a
second. Linux only.

Usage: python benchmarks/demo.py
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import results

from ehr_pipeline.cli import DEMO_PATIENTS, DEMO_SEED
from ehr_pipeline.shipped import shipped

SAMPLE_SECONDS = 0.5


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, new = [root], [root]
    while new:
        new = [child for parent in new for child in children.get(parent, [])]
        found += new
    return found


def memory(processes: list[int]) -> int:
    """Bytes that the processes hold together."""
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def main() -> None:
    """Run the demo, watch it, and write the section."""
    with tempfile.TemporaryDirectory() as scratch:
        for folder in ("demo", "lists"):
            shutil.copytree(shipped(folder), Path(scratch) / "data" / folder)
        command = Path(sys.executable).with_name("ehr-pipeline")
        steps = (
            f"{command} synth {scratch}/data/studies/demo --patients {DEMO_PATIENTS} --seed {DEMO_SEED}",
            f"{command} run --settings {scratch}/data/demo/settings.toml",
        )
        started = time.monotonic()
        process = subprocess.Popen(
            ["/bin/sh", "-c", " && ".join(steps)],
            env=os.environ | {"EHR_STATE_DIR": f"{scratch}/state"},
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(tree(process.pid)))
            time.sleep(SAMPLE_SECONDS)
        seconds = time.monotonic() - started
        if process.returncode:
            raise SystemExit(f"the demo failed with exit status {process.returncode}")
        summary = json.loads(next(Path(scratch).glob("**/summary.json")).read_text(encoding="utf-8"))
    rows = [(stage["asset"], f"{stage['rows']:,}", f"{stage['seconds']:.1f}") for stage in summary["stages"]]
    text = (
        f"From no file to the report in **{seconds:.0f} s**, all processes together at most **{peak / 1e9:.2f} GB**"
        " (proportional set size).\n\n" + results.table(("stage", "rows", "seconds"), rows)
    )
    results.write("demo.py", "The demo", text)


if __name__ == "__main__":
    main()
