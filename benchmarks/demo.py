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

from ehr_pipeline.cli.run import DEMO_PATIENTS, DEMO_PLANS, DEMO_SEED
from ehr_pipeline.terminology.shipped import shipped


def main() -> None:
    """Run the demo, watch it, and write the section."""
    with tempfile.TemporaryDirectory() as scratch:
        for folder in ("demo", "lists", "tasks"):
            shutil.copytree(shipped(folder), Path(scratch) / "data" / folder)
        command = Path(sys.executable).with_name("ehr-pipeline")
        steps = (
            f"{command} synth {scratch}/data/studies/demo --patients {DEMO_PATIENTS} --seed {DEMO_SEED}"
            f" {' '.join(f'--plan {plan}' for plan in DEMO_PLANS)}",
            f"{command} run --settings {scratch}/data/demo/settings.toml",
        )
        busy = os.getloadavg()[0]
        seconds, peak = watched(["/bin/sh", "-c", " && ".join(steps)], env={"EHR_STATE_DIR": f"{scratch}/state"})
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        summary = json.loads(next(Path(scratch).glob("**/summary.json")).read_text(encoding="utf-8"))
    rows = [
        (stage["asset"], f"{stage['kept']:,}" if stage["kept"] else "–", f"{stage['seconds']:.1f}")
        for stage in summary["stages"]
    ]
    text = (
        f"From no file to the report in **{seconds:.0f} s**, {spent.ru_utime + spent.ru_stime:.0f} s of processor time; all"
        f" processes together at most **{peak / 1e9:.2f} GB** (proportional set size). Processes that ran or waited to run on the"
        f" machine before: {busy:.1f} (average of a minute).\n\n" + results.table(("stage", "rows", "seconds"), rows)
    )
    results.write("demo.py", "The demo", text)


if __name__ == "__main__":
    main()
