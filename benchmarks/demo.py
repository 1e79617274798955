"""Does the demo fit a laptop? The time of what `make demo` runs, from no file to the report, and the memory of all processes.

Memory is the sum of the proportional set sizes of the process tree (pages shared by several processes count once), sampled twice a
second. Processor seconds are those of all processes: they say more than seconds where other work runs on the machine. Linux only.

Usage: python benchmarks/demo.py
"""

import json
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import results
from time_and_memory import watched

from ehr_pipeline.terminology.shipped import shipped

TRIED = """Tried in November 2026, and not kept:

- Six epochs instead of eight with `output_bias = "frequency"`: a quarter of the updates less. The validation loss after the
  training was 5.1938 instead of 5.1934 on seed 0 (5.1925 at a learning rate of 0.003), but 5.1746 instead of 5.1552 on seed 1.
  So the first two epochs' lead does not last, and the demo keeps its updates.
- Attention by chunk instead of by row: the squared lengths of the demo's chunks are 72 % of the squared lengths of its rows, so
  that at most 28 % of the attention of one layer would go, for many small products. Reckoned, not built.
- Scores of an evaluation from the rank of the true concept instead of the ten best: the head is 0.1 s of the 0.7 s that an
  evaluation takes.
- One process that has loaded torch, from which jobs are forked: it would save the 1.6 s of processor time that each of four
  further jobs takes to start. Reckoned, not built: the ways in which a job ends or is ended would have to be written anew.
- Dagster's executor with a process for each step: some thirty steps (with checks), each with seconds of imports. Steps in threads:
  numbers of BLAS's and torch's threads, matplotlib's style and Python's lock belong to the process, so a step would change with
  what runs beside it.
- One process beside the run that makes relations of concepts, forecasts and predictions, while the run makes the clusters: 139 and
  140 s and 219 s of processor time instead of 147 and 193 s. Two branches on two cores slow one another down: each of their stages
  takes nearly twice as long (also with half of the threads for each). Not worth 170 lines."""


DEMO = """
import sys
from pathlib import Path
from ehr_pipeline import cli
from ehr_pipeline.cli import run
run._demo_settings = lambda: Path(sys.argv[1])
sys.exit(cli.main(["demo"]))
"""
"""`ehr-pipeline demo` with other settings: in a checkout it would work in the checkout."""


def main() -> None:
    """Run the demo, watch it, and write the section."""
    with tempfile.TemporaryDirectory() as scratch:
        for folder in ("demo", "lists", "tasks"):
            shutil.copytree(shipped(folder), Path(scratch) / "data" / folder)
        command = [sys.executable, "-c", DEMO, f"{scratch}/data/demo/settings.toml"]
        busy = os.getloadavg()[0]
        seconds, peak = watched(command, env={"EHR_STATE_DIR": f"{scratch}/state"})
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        summary = json.loads(next(Path(scratch).glob("**/summary.json")).read_text(encoding="utf-8"))
    rows = [
        (stage["asset"], f"{stage['kept']:,}" if stage["kept"] else "–", f"{stage['seconds']:.1f}")
        for stage in summary["stages"]
    ]
    text = (
        f"From no file to the report in **{seconds:.0f} s**, {spent.ru_utime + spent.ru_stime:.0f} s of processor time; all"
        f" processes together at most **{peak / 1e9:.2f} GB** (proportional set size). Processes that ran or waited to run on the"
        f" machine before: {busy:.1f} (average of a minute).\n\n"
        + results.table(("stage", "rows", "seconds"), rows)
        + f"\n\n{TRIED}"
    )
    results.write("demo.py", "The demo", text)


if __name__ == "__main__":
    main()
