"""Synthetic worlds: the table of diagnoses in docs/worlds.md (planted beside drawn); time and memory that they take.

.venv/bin/python benchmarks/worlds.py --table            # docs/worlds.md, 100,000 patients without events: about half a minute
.venv/bin/python benchmarks/worlds.py --speed            # RESULTS.md: the first generator and the base world, each in a process
.venv/bin/python benchmarks/worlds.py --speed --rows 3e7 # the same with 30 million rows: some minutes
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import results

from ehr_pipeline.synthetic.worlds.block import YEAR, Block
from ehr_pipeline.synthetic.worlds.plan import World, make

DOCS = Path(__file__).parents[1] / "docs/worlds.md"
BEGIN, END = "<!-- table of diagnoses: benchmarks/worlds.py --table -->", "<!-- end of the table -->"
SEED = 0
TITLE = "Synthetic worlds"
ROWS_A_PATIENT = {"first": 535, "base": 515}


def drawn(blocks: int) -> pl.DataFrame:
    """Everybody registered at the end of a population that is not chosen for any disease: one row a person and diagnosis."""
    world = World.of(SEED, 0.0)
    mechanisms = make(world, ["base"])
    parts = []
    for number in range(blocks):
        block = Block(world.seed, number, world.diagnoses)
        for mechanism in mechanisms:
            mechanism.people(block)
        for mechanism in mechanisms:
            mechanism.onsets(block)
        there = block.days("status") == 0
        age = (block.days("end") - block.days("birth")) / YEAR
        onset = (block.onset - block.days("birth")[:, None]) / YEAR
        has = block.onset <= block.days("end")[:, None]
        for column, row in enumerate(world.diagnoses.rows):
            kept = there & ((age >= row.of_age) | (age < 18))
            parts.append(
                pl.DataFrame(
                    {
                        "name": row.name,
                        "counts": (age >= row.of_age)[kept],
                        "age": age[kept],
                        "female": block.people["female"].astype(bool)[kept],
                        "has": has[kept, column],
                        "onset": np.where(has[kept, column], onset[kept, column], np.nan),
                        "known": np.isfinite(block.known[kept, column]),
                    }
                )
            )
    return pl.concat(parts)


def table(blocks: int) -> str:
    """Markdown: prevalence, sex and age of each diagnosis, planted and drawn."""
    people = drawn(blocks)
    of_age, having = pl.col("counts"), pl.col("has") & pl.col("counts")
    found = {
        row["name"]: row
        for row in people.group_by("name")
        .agg(
            prevalence=having.sum() / of_age.sum(),
            recorded=(pl.col("known") & pl.col("counts")).sum() / of_age.sum(),
            women=(having & pl.col("female")).sum() / having.sum(),
            median=pl.col("onset").filter(pl.col("has")).median(),
            young=pl.col("has").filter(pl.col("age") < 18).mean(),
            middle=pl.col("has").filter(pl.col("age") < 50).mean(),
        )
        .iter_rows(named=True)
    }
    rows = []
    for row in World.of(SEED, 0.0).diagnoses.rows:
        one = found[row.name]
        quartiles = " / ".join(f"{age:g}" for age in row.onset_ages[1:4])
        rows.append(
            (
                row.name,
                f"{100 * row.prevalence:.3g}" + (f" ({row.of_age}+)" if row.of_age else ""),
                f"{100 * one['prevalence']:.3g}",
                f"{100 * one['recorded']:.3g}",
                f"{100 * row.women_to_men / (1 + row.women_to_men):.0f}",
                f"{100 * (one['women'] or 0):.0f}",
                quartiles,
                f"{one['median'] or float('nan'):.0f}",
                f"{100 * one['young']:.2g}",
                f"{100 * one['middle']:.2g}",
                f"{row.source}. Ages: {row.source_of_ages}",
            )
        )
    header = (
        "Diagnosis", "Planted, %", "Drawn, %", "Recorded, %", "Women among as many of both sexes, planted, %",
        "Women, drawn, %", "Planted age at onset, quartiles", "Drawn median, of those registered", "Under 18, %", "Under 50, %",
        "Source",
    )  # fmt: skip
    there = people.filter(pl.col("name") == "asthma").height
    told = f"{there:,} people registered at the end (of {blocks * 1000:,} drawn, seed {SEED}); nobody is chosen for a disease."
    return f"{told}\n\n{results.table(header, rows)}"


def write_table(blocks: int) -> None:
    """Put the table into docs/worlds.md."""
    text = DOCS.read_text(encoding="utf-8")
    made = f"{BEGIN}\n\n{table(blocks)}\n\n{END}"
    DOCS.write_text(re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: made, text, flags=re.DOTALL), "utf-8")


def one(plan: str, patients: int) -> None:
    """Write one extract in this process; print rows, seconds of the processor, and the most memory."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        begun = time.process_time()
        if plan == "first":
            from ehr_pipeline.synthetic.generate import generate

            generate(out, patients, SEED)
        else:
            from ehr_pipeline.synthetic.worlds.write import write

            write(out, plan.split("+"), patients, SEED)
        seconds = time.process_time() - begun
        rows = json.loads((out / "truth/dirt.json").read_text())["rows"]["rows"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "memory": memory}))


def speed(rows: float, plans: list[str]) -> None:
    """Compare plans, each at a tenth of the rows and at all of them."""
    lines = []
    for plan in plans:
        for share in (0.1, 1.0):
            patients = max(int(rows * share / ROWS_A_PATIENT.get(plan, 515)), 1000)
            command = [sys.executable, __file__, "--one", plan, "--patients", str(patients)]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            lines.append(
                (
                    plan,
                    f"{patients:,}",
                    f"{told['rows']:,}",
                    f"{told['seconds']:.0f} s",
                    f"{1e6 * told['seconds'] / told['rows']:.2f} µs",
                    f"{told['memory']:.0f} MiB",
                )
            )
    header = ("Plan", "Patients", "Rows", "Processor time", "A row", "Most memory")
    results.write_part("worlds.py", TITLE, "Speed and memory", results.table(header, lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--blocks", type=int, default=100, help="thousands of patients of the table")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rows", type=float, default=3e6)
    parser.add_argument("--plans", nargs="+", default=["first", "base"], help="several in one: base+practices")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--patients", type=int, default=1000, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one, options.patients)
    if options.table:
        write_table(options.blocks)
    if options.speed:
        speed(options.rows, options.plans)


if __name__ == "__main__":
    main()
