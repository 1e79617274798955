"""How often guards of the prediction report find something where there is nothing, and where there is something.

A world is a study of one task, with concepts that have nothing to do with its outcome. In some worlds, the outcome follows one more
concept in a certain share of histories: a strong, but real predictor (70 %), or a leak (97 %). This concept is in 15 to 150
histories of the training set.

Usage: python benchmarks/guard_rates.py --work FOLDER [--worlds concepts-null …] [--studies 200] [--write]
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import error_rates
import numpy as np
import pyarrow as pa
import rates
import results
import verdicts
from scipy import sparse
from scipy.special import expit

from ehr_pipeline.predictions import guards
from ehr_pipeline.predictions.learners import Table
from ehr_pipeline.predictions.rows import FIT, JUDGE, Rows, read
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.synthetic.worlds.write import is_there, write
from ehr_pipeline.tables.asset_names import TASK_LABELS
from ehr_pipeline.tasks.table import definitions, rows_of_task, shards
from ehr_pipeline.terminology.shipped import shipped

CONCEPTS = 200
HOLDERS = (15, 150)
"""Fewest and most histories with the concept that the outcome follows; in between, as many of any order of magnitude."""
FOLLOWED = {"concepts-null": None, "concepts-strong": 0.7, "concepts-leak": 0.97}
"""The worlds: how often the outcome follows the concept; None: there is no such concept."""
YEARS = {"years-null": False, "years-midway": True}
"""The worlds of index years: whether the codes come into use midway."""
PATIENTS = 2_000
"""Patients of a study of these worlds."""
OVERRIDES: dict[str, Any] = {
    "patients": {"min_visits": 1, "split": {"validation_share": 0.1, "test_share": 0.3}},
    "tasks": {"screen": 20},
    "launcher": {"backend": "inline"},
}
TITLE = "Error rates of guards"


def counts_of(rng: np.random.Generator, rows: Rows, followed: float | None) -> sparse.csr_array:
    """Counts of concepts (n, c) that are unrelated to the outcome, with one more that the outcome follows if this is wanted."""
    counts = rng.poisson(rng.gamma(0.5, 0.2, CONCEPTS), (len(rows), CONCEPTS)).astype(np.float32)
    if followed is None:
        return sparse.csr_array(counts)
    fit = rows.on(FIT)
    cases, others = fit[rows.label[fit]], fit[~rows.label[fit]]
    holders = int(np.exp(rng.uniform(*np.log(HOLDERS))))
    number = int(rng.binomial(holders, followed))
    last = np.zeros((len(rows), 1), np.float32)
    last[rng.choice(cases, number, replace=False)] = 1
    last[rng.choice(others, holders - number, replace=False)] = 1
    return sparse.csr_array(np.hstack([counts, last]))


def measure(world: str, number: int) -> dict[str, int]:
    """What the guards find in a study."""
    rng = np.random.default_rng([0x60, list(FOLLOWED).index(world), number])
    count = sum(verdicts.SIZES.values())
    rows = verdicts.rows_of(rng.random(count) < expit(rng.normal(verdicts.MEAN, verdicts.SPREAD, count)))
    counts = counts_of(rng, rows, FOLLOWED[world])
    found = {"deciding concepts": int(any(True for _ in guards.deciding(rows, counts, np.arange(counts.shape[1]))))}
    if FOLLOWED[world] is None:
        table = Table.of([counts.log1p()], rows.on(FIT), free=False)
        found["permuted labels"] = int(guards.permuted_labels("t", rows, table, number)["passed"] is False)
    return found


def of_years(work: Path, number: int, midway: bool) -> dict[str, int]:
    """In how many tasks of a study the guard finds years of the index date without a case."""
    folder = work / "studies" / str(number)
    if not is_there(folder, ["null"], PATIENTS, number):
        write(folder, ["null"], PATIENTS, number)
    overrides = settings.merged(places(folder), OVERRIDES, {"study": {"seed": number}})
    pipeline = Pipeline(settings.load(shipped("demo/settings.toml"), overrides))
    pipeline.make(EXTRACT, until=TASK_LABELS)
    labels, found = pipeline.store.current(TASK_LABELS).path, {"years without cases": 0, "tasks with years": 0}
    for definition in definitions(labels):
        rows = read(labels, definition, 10 * PATIENTS, 0)
        if midway:
            own = pa.concat_tables([rows_of_task(table, definition) for _, table in shards(labels)])
            opens, after = own.column("window_from").cast(pa.int32()).to_numpy(), own.column("followed_days").to_numpy()
            assert len(own) == len(rows)
            rows = replace(rows, label=rows.label & (opens + after >= np.median(rows.index)))
        if rows.label.any():
            found["tasks with years"] += 1
            found["years without cases"] += guards.groups_without_cases("t", rows, {})["passed"] is False
    return found


def main() -> None:
    """Measure the worlds asked for, or write the tables from what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what was measured")
    parser.add_argument("--name", default=rates.NOW, help="name of this state of the methods")
    parser.add_argument("--worlds", nargs="+", choices=[*FOLLOWED, *YEARS], default=list(FOLLOWED))
    parser.add_argument("--studies", type=int, default=200, help="studies of each world")
    parser.add_argument("--write", action="store_true", help="only write the tables from what was measured")
    asked = parser.parse_args()
    if asked.write:
        known = json.loads(rates.COUNTS.read_text(encoding="utf-8"))[asked.name]
        told = rates.keep(asked.name, rates.counted(asked.work, asked.name) | {"note": known.get("note", "")})
        rates.PAGE.write_text(rates.page(told, error_rates.FACTS), encoding="utf-8")
        results.write("guard_rates.py", TITLE, rates.section(told, "guard_rates.py"))
        return
    now = error_rates.commit()
    for world in asked.worlds:
        for number in range(asked.studies):
            size = PATIENTS if world in YEARS else verdicts.SIZES[JUDGE]
            path = asked.work / world / str(size) / str(number) / f"{asked.name}.json"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                found = of_years(asked.work, number, YEARS[world]) if world in YEARS else measure(world, number)
                path.write_text(json.dumps(found | {"commit": now}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
