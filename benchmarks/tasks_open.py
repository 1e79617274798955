"""What the model predicts in openly available synthetic records, by the commands that a user types: `init`, `check`, `run`.

Three data sets: GiBleed (OMOP, of OHDSI's Eunomia: 2,694 patients of Synthea with osteoarthritis), 1,000 patients of Synthea (CSV),
and the same patients as a MEDS data set, of which a tenth have no birth. `init` writes the settings; only the tasks are added: one
for each of the 20 most frequent concepts, and some with names.

The data are not part of this project: see `relations_open.py`.

Usage: python benchmarks/tasks_open.py [--synthea FOLDER] [--gibleed FILE] [--out FOLDER]
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
import results

from ehr_pipeline.prediction_report import HEAD, PAGE
from ehr_pipeline.predictions.models import BY_NAME
from ehr_pipeline.predictions.table import Row, TaskResults
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings
from ehr_pipeline.tables.asset_names import PREDICTION_REPORT, TASK_RESULTS, VOCABULARY
from ehr_pipeline.vocabulary.table import Vocabulary

TITLE = "What the model predicts in open data"
OMOP = (
    *("person", "observation_period", "condition_occurrence", "drug_exposure", "procedure_occurrence", "measurement"),
    *("observation", "concept", "concept_relationship", "concept_ancestor"),
)
"""The tables of GiBleed that are exported; its table of deaths is empty, and without a header."""
SCREEN = """
[patients]
min_visits = 1

[tasks]
screen = 20
"""
SIDES = """
[patients.split]
test_share = {test}
validation_share = 0.1
"""
OPEN = '[patients.split]\nkey = "open" # the same split and landmarks in each run\n'


@dataclass(frozen=True)
class Task:
    """A task with a name."""

    name: str
    lines: tuple[str, ...]
    """Its other settings, as TOML."""
    lists: dict[str, tuple[tuple[str, str], ...]]
    """Concept lists by the setting that names them: codes and names."""


@dataclass(frozen=True)
class Records:
    """A data set: how its files are written, and what is asked."""

    name: str
    about: str
    write: Callable[[Path], list[Path]]
    """Writes files into a folder; returns what `init` is given."""
    tasks: tuple[Task, ...]
    test_share: float | None
    """None: the data set has its own split."""


def gibleed(path: Path) -> Records:
    """The OMOP database in a DuckDB file, exported as CSV."""

    def write(out: Path) -> list[Path]:
        import duckdb

        with duckdb.connect(str(path), read_only=True) as database:
            for table in OMOP:
                database.execute(f"COPY {table} TO '{out / table}.csv' (HEADER)")
        return [out]

    bleeding = Task(
        "Gastrointestinal hemorrhage within 90 days of celecoxib or diclofenac",
        ('index = "first_entry"', "window_days = 90"),
        {
            "outcome": (("74474003", "Gastrointestinal hemorrhage"),),
            "entry": (("RxNorm:140587", "celecoxib"), ("RxNorm:3355", "diclofenac")),
        },
    )
    return Records("GiBleed (OMOP)", "2,694 patients", write, (bleeding,), 0.4)


DEATH = Task("Death within 5 years", ('outcome_kind = "death"', "window_days = 1825"), {})
INFECTION = Task(
    "Acute respiratory infection within 3 years",
    ("window_days = 1095", "incident = false", "per_patient = 2"),
    {
        "outcome": (
            ("444814009", "Viral sinusitis"),
            ("195662009", "Acute viral pharyngitis"),
            ("10509002", "Acute bronchitis"),
            ("43878008", "Streptococcal sore throat"),
        )
    },
)


def synthea(folder: Path) -> Records:
    """Conditions, allergies and patients as Synthea writes them."""

    def write(out: Path) -> list[Path]:
        names = ("conditions.csv.gz", "allergies.csv.gz", "patients.csv.gz")
        for name in names:
            (out / name).write_bytes((folder / name).read_bytes())
        return [out / name for name in names]

    return Records("Synthea (CSV)", "1,000 patients", write, (DEATH, INFECTION, _hypertension("38341003")), 0.45)


def _hypertension(code: str) -> Task:
    return Task("Hypertension within 5 years", ("window_days = 1825",), {"outcome": ((code, "Hypertension"),)})


def meds(folder: Path) -> Records:
    """The same patients as a MEDS data set: SNOMED, RxNorm and ICD-10 codes, names in its metadata, a split of its own."""
    return Records(
        "Synthea (MEDS)",
        "1,000 patients, of whom 100 have no birth",
        lambda out: [write_meds(folder, out)],
        (DEATH, INFECTION, _hypertension("ICD10CM:I10")),
        None,
    )


ICD10 = {
    "38341003": ("I10", "Essential (primary) hypertension"),
    "15777000": ("R73.03", "Prediabetes"),
    "44054006": ("E11.9", "Type 2 diabetes mellitus without complications"),
    "55822004": ("E78.5", "Hyperlipidemia, unspecified"),
    "271737000": ("D64.9", "Anemia, unspecified"),
    "40055000": ("J32.9", "Chronic sinusitis, unspecified"),
    "53741008": ("I25.10", "Coronary heart disease"),
}
"""Codes of Synthea that are written as ICD-10-CM in the MEDS data set."""


def write_meds(folder: Path, out: Path) -> Path:
    """Write Synthea's patients as a MEDS data set: shards by side, names of codes, the split."""
    people = pl.read_csv(folder / "patients.csv.gz", infer_schema=False).with_row_index("subject_id", offset=1)
    ids = people.select("ID", pl.col("subject_id").cast(pl.Int64))
    side = pl.when(pl.col("subject_id") % 20 < 9).then(pl.lit("train")).when(pl.col("subject_id") % 20 < 11)
    split = ids.select("subject_id", split=side.then(pl.lit("tuning")).otherwise(pl.lit("held_out")))
    parts, names = [], []
    for name, system in (("conditions", "SNOMED"), ("allergies", "SNOMED"), ("medications", "RxNorm")):
        read = pl.read_csv(folder / f"{name}.csv.gz", infer_schema=False).join(ids, left_on="PATIENT", right_on="ID")
        plain = pl.col("CODE")
        icd = plain.replace_strict({code: f"ICD10CM//{own}" for code, (own, _) in ICD10.items()}, default=None)
        code = (
            pl.coalesce(icd, pl.format(f"{system}//{{}}", plain))
            if system == "SNOMED"
            else pl.format("RxNorm//{}", plain)
        )
        parts.append(read.select("subject_id", time=_time("START"), code=code))
        names.append(read.select(code=code, description="DESCRIPTION"))
    own = people.with_columns(pl.col("subject_id").cast(pl.Int64))
    never = pl.lit(None, pl.Datetime("us"))
    has_birth = pl.col("subject_id") % 10 != 3
    parts += [
        own.filter(has_birth).select("subject_id", time=_time("BIRTHDATE"), code=pl.lit("MEDS_BIRTH")),
        own.filter(pl.col("DEATHDATE").is_not_null()).select(
            "subject_id", time=_time("DEATHDATE"), code=pl.lit("MEDS_DEATH")
        ),
        own.select("subject_id", time=never, code=pl.format("SEX_AT_BIRTH//{}", "GENDER")),
        own.select("subject_id", time=never, code=pl.format("RACE//{}", "RACE")),
    ]
    rows = pl.concat(parts).join(split, on="subject_id").sort("subject_id", "time", "code", nulls_last=False)
    for (own_side,), shard in rows.group_by("split"):
        path = out / "data" / str(own_side) / "0.parquet"
        path.parent.mkdir(parents=True)
        value = pl.lit(None, pl.Float32).alias("numeric_value")
        shard.sort("subject_id", "time", nulls_last=False).select("subject_id", "time", "code", value).write_parquet(
            path
        )
    (out / "metadata").mkdir()
    described = {f"ICD10CM//{code}": name for code, name in ICD10.values()}
    codes = pl.concat(names).unique("code", keep="first", maintain_order=True).sort("code")
    codes = codes.with_columns(
        description=pl.coalesce(pl.col("code").replace_strict(described, default=None), "description")
    )
    codes.write_parquet(out / "metadata/codes.parquet")
    split.write_parquet(out / "metadata/subject_splits.parquet")
    return out


def _time(column: str) -> pl.Expr:
    return pl.col(column).str.slice(0, 10).str.to_datetime("%Y-%m-%d", time_unit="us")


def made(folder: Path, records: Records) -> Path:
    """Take a data set from its files to the page, by commands. Returns the settings."""
    files, study = folder / "files", folder / "study"
    files.mkdir(parents=True)
    command("init", str(study), "--from", *map(str, records.write(files)))
    path = study / "study.toml"
    text = path.read_text(encoding="utf-8") + SCREEN
    text += SIDES.format(test=records.test_share) if records.test_share else ""
    text = re.sub(r"(?m)^\[patients\.split\]\n", OPEN, text)
    for number, task in enumerate(records.tasks):
        text += "\n".join(["", "[[tasks.task]]", f'name = "{task.name}"', *task.lines, ""])
        for setting, rows in task.lists.items():
            name = f"lists/{number}_{setting}.csv"
            text += f'{setting} = "{name}"\n'
            lines = ["code,cui,name,source", *(f'{code},,"{called}",this benchmark' for code, called in rows)]
            (study / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    command("check", "--settings", str(path))
    command("run", "--settings", str(path), "--select", "+prediction_report")
    return path


def command(*words: str) -> None:
    """Run a command of the program, and show what it prints."""
    print(f"\n$ ehr-pipeline {' '.join(words)}", flush=True)
    subprocess.run(
        [sys.executable, "-m", "ehr_pipeline.cli", *words], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def told(records: Records, path: Path) -> tuple[str, str]:
    """What the page of a study says, as a part of the section."""
    store = Store(settings.load(path).study.store)
    found = TaskResults.read(store.current(TASK_RESULTS).path)
    head = store.current(PREDICTION_REPORT).file(HEAD).read_text(encoding="utf-8")
    sentences = [re.sub(r"<[^>]+>", "", each) for each in json.loads(head)]
    names = {f"screen {one.concept}": one.name for one in Vocabulary.read(store.current(VOCABULARY).path).concepts}
    rows = [_row(found, {**verdict, "name": names.get(verdict["name"], verdict["name"])}) for verdict in found.verdicts]
    counts = Counter(str(row["verdict"]) for row in found.verdicts)
    verdicts = ", ".join(f"{name} {number}" for name, number in counts.most_common())
    heads = ("Task", "n in the test set", "cases", "best baseline", "AUROC", "model", "AUROC", "verdict")
    return records.name, (
        f"{records.about}. Verdicts: {verdicts}. The page begins:\n\n> {' '.join(sentences)}\n\n{results.table(heads, rows)}"
    )


def _row(found: TaskResults, verdict: Row) -> tuple[object, ...]:
    def score(kind: str) -> tuple[str, str]:
        row = found.final(verdict["task"], verdict[kind]) if verdict[kind] else None
        if row is None:
            return "–", "–"
        return BY_NAME[verdict[kind]].title, f"{row['auroc']:.3f} ({row['auroc_low']:.3f}–{row['auroc_high']:.3f})"

    return (verdict["name"], verdict["rows"], verdict["cases"], *score("baseline"), *score("model"), verdict["verdict"])


def main() -> None:
    """Take each data set that is there to its page, and write its part of the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gibleed", type=Path)
    parser.add_argument("--synthea", type=Path)
    parser.add_argument("--out", type=Path, help="where the studies stay (default: they are removed)")
    options = parser.parse_args()
    chosen = [gibleed(options.gibleed)] if options.gibleed else []
    chosen += [synthea(options.synthea), meds(options.synthea)] if options.synthea else []
    with tempfile.TemporaryDirectory() as scratch:
        for records in chosen:
            place = (options.out or Path(scratch)) / re.sub(r"\W+", "_", records.name.lower()).strip("_")
            path = made(place, records)
            results.write_part("tasks_open.py", TITLE, *told(records, path))
            print(
                f"{datetime.now():%H:%M} {Store(settings.load(path).study.store).current(PREDICTION_REPORT).file(PAGE)}"
            )


if __name__ == "__main__":
    main()
