"""Synthetic worlds: the table of diagnoses in docs/worlds.md (planted beside drawn); time and memory that they take.

.venv/bin/python benchmarks/worlds.py --table            # docs/worlds.md, 100,000 patients without events: about half a minute
.venv/bin/python benchmarks/worlds.py --speed            # RESULTS.md: the first generator and the base world, each in a process
.venv/bin/python benchmarks/worlds.py --speed --rows 3e7 # the same with 30 million rows: some minutes
.venv/bin/python benchmarks/worlds.py --outcomes         # RESULTS.md: AUROC of the true risk, and of counts; a few minutes
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import results
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from ehr_pipeline.synthetic.worlds import drivers, outcomes
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, Events, day
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.write import begun, draw

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
        block = begun(mechanisms, world, number)
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
    told = (
        f"The table describes the {there:,} people who are registered at the end, out of {blocks * 1000:,} generated with seed"
        f' {SEED} and `--cohort-share 0`. "Planted" is the intended figure, "drawn" the figure among these people, and "recorded"'
        " the share whose record shows the diagnosis."
    )
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


YEARS = (2006, 2009, 2012, 2015, 2018)
"""Of the counts: at one day, too few have an outcome to learn from a hundred counts."""
Scored = list[tuple[NDArray[np.float64], NDArray[np.bool_]]]


def bayes(blocks: int) -> dict[str, tuple[float, int]]:
    """By Monte Carlo over many patients: the AUROC of the true risk, and outcomes, of each of OUTCOMES."""
    mechanisms = make(World.of(SEED + 1, 0.5), ["outcomes"])
    planted = next(one for one in mechanisms if isinstance(one, outcomes.Outcomes))
    scores: dict[str, Scored] = {one.name: [] for one in drivers.OUTCOMES}
    for number in range(blocks):
        block = Block(SEED + 1, number, planted.population.diagnoses)
        planted.population.people(block)
        planted.people(block)
        driven = drivers.draw_drivers(block)
        for one in drivers.OUTCOMES:
            rows = planted.simulate(block, driven, one)[0]
            rows = rows.filter("both") if one.among_both else rows
            scores[one.name].append((rows["risk"].to_numpy(), rows["happened"].to_numpy()))
    found = {}
    for name, parts in scores.items():
        risk, happened = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        found[name] = float(roc_auc_score(happened, risk)), int(happened.sum())
    return found


def by_counts(blocks: int, codes: int = 150) -> dict[str, list[tuple[float, int]]]:
    """AUROC before each of YEARS, and outcomes that it rests on, by gradient boosting on counts of codes; half of the patients are
    held out.

    Two figures: counts of the last two years, and of the whole record before the day. Both know age, sex and years of record. For
    an order of A and B, a third one, without learning: whether the last two years hold B alone, neither or both, or A alone.
    """
    world = World.of(SEED + 2, 0.5)
    mechanisms = make(world, ["outcomes"])
    planted = next(one for one in mechanisms if isinstance(one, outcomes.Outcomes))
    columns = np.unique(np.concatenate([planted.codes, np.arange(codes)]))
    place = np.full(len(world.book.codes), -1)
    place[columns] = np.arange(len(columns))
    features: dict[str, list[NDArray[np.float32]]] = {one.name: [] for one in drivers.OUTCOMES}
    happened: dict[str, list[NDArray[np.bool_]]] = {one.name: [] for one in drivers.OUTCOMES}
    held: dict[str, list[NDArray[np.bool_]]] = {one.name: [] for one in drivers.OUTCOMES}
    for number in range(blocks):
        block, events = draw(mechanisms, world, number)
        flat = _Flat(block, events.where(place[events.code] >= 0), place, len(columns))
        for year in YEARS:
            index = day(f"{year}-01-01")
            table = flat.counts(index)
            risk = block.truth["risk"].filter(pl.col("index").cast(pl.Int32) == index)
            for one in drivers.OUTCOMES:
                mine = risk.filter(pl.col("outcome") == one.name)
                mine = mine.filter("both") if one.among_both else mine
                features[one.name].append(table[mine["person"].to_numpy()])
                happened[one.name].append(mine["happened"].to_numpy())
                held[one.name].append(mine["person"].to_numpy() % 2 == 1)
    found = {}
    for one in drivers.OUTCOMES:
        name = one.name
        table, true = np.concatenate(features[name]), np.concatenate(happened[name])
        found[name] = _boosted(table, true, np.concatenate(held[name]), len(columns))
        if one.among_both:
            a, b = (table[:, 3 + place[row]] > 0 for row in world.book.rows(drivers.PAIRS[one.pair]))
            auroc = float(roc_auc_score(true, b.astype(int) - a))
            found[name].append((auroc, int(true.sum())))
    return found


@dataclass(frozen=True)
class _Flat:
    """A block's events of some codes."""

    block: Block
    events: Events
    place: NDArray[np.int64]
    columns: int

    def counts(self, index: int) -> NDArray[np.float32]:
        """Age, sex, years of record; counts of two years; counts of all years: before a day (BLOCK, 3 + 2 columns)."""
        block, events = self.block, self.events
        ages, years = (index - block.days("birth")) / YEAR, (index - block.days("start")) / YEAR
        parts: list[NDArray[np.generic]] = [np.stack([ages, block.people["female"].astype(np.float64), years], axis=1)]
        for days in (drivers.COUNTED_DAYS, 10**6):
            here = (events.day < index) & (events.day >= index - days)
            flat = events.person[here].astype(np.int64) * self.columns + self.place[events.code[here]]
            parts.append(np.bincount(flat, minlength=BLOCK * self.columns).reshape(BLOCK, -1))
        return np.concatenate(parts, axis=1).astype(np.float32)


def _boosted(
    features: NDArray[np.float32], happened: NDArray[np.bool_], held: NDArray[np.bool_], columns: int
) -> list[tuple[float, int]]:
    """AUROC by the counts of two years and by those of all years, each with the three features before them; and outcomes."""
    half = ~held
    reached = []
    for first in (3, 3 + columns):
        chosen = [0, 1, 2, *range(first, first + columns)]
        model = HistGradientBoostingClassifier(
            max_iter=120, learning_rate=0.05, max_leaf_nodes=8, min_samples_leaf=50, random_state=0
        )
        model.fit(features[half][:, chosen], happened[half])
        score = model.predict_proba(features[~half][:, chosen])[:, 1]
        reached.append((float(roc_auc_score(happened[~half], score)), int(happened[~half].sum())))
    return reached


def _auroc(found: tuple[float, int], digits: int = 2) -> str:
    """An AUROC with half of its 95 % interval, as by chance (Hanley & McNeil 1982, with far more rows than outcomes)."""
    return f"{found[0]:.{digits}f} ± {1.96 * 0.29 / found[1] ** 0.5:.{digits}f}"


def risks(blocks: int, counted: int) -> None:
    """Compare the plan of the outcomes with what is drawn."""
    drawn, counts = bayes(blocks), by_counts(counted)
    lines = [
        (
            one.name,
            one.driver,
            "with A and B" if one.among_both else "all",
            f"{one.auroc:.2f}",
            _auroc(drawn[one.name], 3),
            f"{drawn[one.name][1]:,}",
            *map(_auroc, counts[one.name]),
            *[""] * (3 - len(counts[one.name])),
        )
        for one in drivers.OUTCOMES
    ]
    header = (
        "Outcome",
        "Driver",
        "Among",
        "AUROC by plan",
        "Of the true risk",
        "Outcomes",
        "Counts of two years",
        "Of all years",
        "A alone, or B alone, in two years",
    )
    text = (
        f"True risk: {blocks * BLOCK:,} patients, every 1 January on which they are at risk. Counts: gradient boosting on counts of"
        f" codes before 1 January of {', '.join(map(str, YEARS))}, {counted * BLOCK:,} patients, half of them held out. The driver"
        " of the outcomes by counts is a count of two years. Counts of two years know a little of an order: which of the two is"
        " still among them. The last column is the AUROC of that alone, without any learning, in all of these patients."
    )
    results.write_part("worlds.py", TITLE, "Outcomes of known risk", f"{text}\n\n{results.table(header, lines)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--blocks", type=int, default=100, help="thousands of patients of the table")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rows", type=float, default=3e6)
    parser.add_argument("--plans", nargs="+", default=["first", "base"], help="several in one: base+practices")
    parser.add_argument("--outcomes", action="store_true")
    parser.add_argument("--counted", type=int, default=40, help="thousands of patients of the counts")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--patients", type=int, default=1000, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one, options.patients)
    if options.table:
        write_table(options.blocks)
    if options.outcomes:
        risks(2 * options.blocks, options.counted)
    if options.speed:
        speed(options.rows, options.plans)


if __name__ == "__main__":
    main()
