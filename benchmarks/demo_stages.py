"""Processor seconds of single stages of the demo, beside those of another checkout of this project, in turn.

Both checkouts hold a demo that was made (`make demo`). A stage is made again from what it reads there, in a process of its own; its
seconds are those of that process and of the jobs that it starts, imports included. They vary with what else runs on the machine, so
compare them only within a run.

Usage: python benchmarks/demo_stages.py --against CHECKOUT --stages task_results patient_embeddings [--rounds 2]
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import results

HERE = Path(__file__).parents[1]
MAKE = """
import os, resource, shutil, sys
from pathlib import Path
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings

pipeline = Pipeline(settings.load(Path("data/demo/settings.toml")))
for made in Path(pipeline.study.study.store).glob(f"*/{sys.argv[1]}"):
    shutil.rmtree(made)
pipeline.asset(sys.argv[1])
print(*(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


def seconds(checkout: Path, stage: str) -> float:
    """Make a stage again in a checkout, and return its processor seconds."""
    command = [sys.executable, "-c", MAKE, stage]
    made = subprocess.run(
        command,
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return sum(map(float, made.stdout.split("\n")[-2].split()))


def main() -> None:
    """Measure the stages, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, help="another checkout of this project, with its demo")
    parser.add_argument("--stages", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    taken = {
        stage: [
            [seconds(checkout.resolve(), stage) for checkout in (options.against, HERE)] for _ in range(options.rounds)
        ]
        for stage in options.stages
    }
    rows = []
    for stage, rounds in taken.items():
        other, own = (statistics.median(each) for each in zip(*rounds, strict=True))
        share = statistics.median(b / a for a, b in rounds)
        rows.append((stage, f"{other:.1f}", f"{own:.1f}", f"{share:.2f}"))
    text = (
        f"Processor seconds of a stage made again; rounds in turn: {options.rounds}. Processes that ran or waited to run on the"
        f" machine: {os.getloadavg()[0]:.1f} (average of a minute).\n\n"
        + results.table(("stage", "another checkout", "this one", "share, turn by turn"), rows)
    )
    results.write("demo_stages.py", "Stages of the demo, beside another checkout", text)


if __name__ == "__main__":
    main()
