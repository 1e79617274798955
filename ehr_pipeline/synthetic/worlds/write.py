"""Write a world: landing folder, terminology and truth, block by block, so that memory does not grow with the number of patients.

OUT/landing/2019-04-01/events_000.txt, events_001.txt.gz, …, patients.txt
OUT/terminology/MRCONSO.RRF, MRSTY.RRF
OUT/truth/README.md, patients.csv, groups.csv, people.parquet, onsets.parquet, …, dirt.json (written last)
"""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from ehr_pipeline.errors import UserError
from ehr_pipeline.store.durable import write_atomically
from ehr_pipeline.synthetic import terminology_files
from ehr_pipeline.synthetic.extract import DELIMITER, EXTRACT, PATIENT_COLUMNS, write_events, write_groups
from ehr_pipeline.synthetic.people import ETHNICITIES, PRACTICES, REGIONS, patient_ids
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, Block, Events, GroupRow, Mechanism
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.population import STATUS
from ehr_pipeline.work.progress import Progress

VERSION = "worlds 2"
AS_CSV = ("patients", "changes")
"""Tables of the truth with one part for each block that are written as CSV; all others of these are Parquet."""
PEOPLE = {
    "patient_id": "patient",
    "birth": "day of birth",
    "female": "whether the patient is a woman",
    "registered": "first day of the record",
    "until": "last day of the record",
    "status": "registered, left or died: on that last day",
    "practice": "practice",
    "frailty": "factor of the hazards of many diagnoses; mean 1",
    "access": "factor of how often the patient comes; mean 1",
}


def begun(mechanisms: Sequence[Mechanism], world: World, number: int) -> Block:
    """Begin block `number`: draw its patients and the onsets of their diagnoses, but no events."""
    block = Block(world.seed, number, world.diagnoses)
    for mechanism in mechanisms:
        mechanism.people(block)
    for mechanism in mechanisms:
        mechanism.onsets(block)
    return block


def draw(mechanisms: Sequence[Mechanism], world: World, number: int) -> tuple[Block, Events]:
    """Draw block `number`, and the events in it."""
    block = begun(mechanisms, world, number)
    for mechanism in mechanisms:
        mechanism.events(block)
    events = Events.joined(block.parts)
    events = events.where(block.registered(events.person, events.day))
    for mechanism in mechanisms:
        events = mechanism.recording(block, events)
    return block, events


def write(out: Path, plans: Sequence[str], patients: int, seed: int, cohort_share: float = 0.5) -> None:
    """Write an extract with `patients` patients.

    The same arguments give the same bytes. With more patients, the first ones stay the same.
    """
    world = World.of(seed, cohort_share)
    mechanisms = make(world, plans)
    landing, truth = out / "landing" / EXTRACT, out / "truth"
    _clear(landing, truth)
    terminology_files.write(out / "terminology", world.book.table)
    (truth / "README.md").write_text(readme(plans, mechanisms), encoding="utf-8")
    for mechanism in mechanisms:
        for name, (table, _) in mechanism.shared_truth.items():
            table.write_csv(truth / f"{name}.csv")
    groups = [[], *(mechanism.groups for mechanism in mechanisms if mechanism.groups)][
        -1
    ]  # a later mechanism replaces them
    write_groups(truth / "groups.csv", [field.name for field in fields(GroupRow)], map(astuple, groups))
    counted: Counter[str] = Counter()
    progress = Progress("generating patients", patients)
    codes = world.book.table.codes["code"]
    with ExitStack() as stack:
        patient_file = stack.enter_context((landing / "patients.txt").open("w", encoding="latin-1", newline=""))
        patient_file.write(DELIMITER.join(PATIENT_COLUMNS) + "\n")
        tables = stack.enter_context(Tables(truth))
        for number in range(-(-patients // BLOCK)):
            kept = min(BLOCK, patients - number * BLOCK)
            block, events = draw(mechanisms, world, number)
            events = events.where(events.person < kept)
            ids = pl.Series("patient_id", patient_ids(block.numbers))
            patient_file.write(_patients(block, ids)[:kept].write_csv(include_header=False, separator=DELIMITER))
            tables.add("people", _people(block, ids)[:kept])
            for name, table in block.truth.items():
                here = table.filter(pl.col("person") < kept)
                tables.add(name, here.select(ids.gather(here["person"]), pl.exclude("person")))
            counted += _events(block, events, ids, codes, landing)
            progress.advance(kept)
    note = facts(plans, patients, seed, cohort_share) | {"rows": dict(sorted(counted.items()))}
    write_atomically(truth / "dirt.json", json.dumps(note, indent=1) + "\n")


def _clear(landing: Path, truth: Path) -> None:
    """Make the folders, and remove the files of an earlier synthetic extract. Raises UserError if there are any other files."""
    ours = any((truth / name).is_file() for name in ("README.md", "dirt.json"))
    for folder in (landing, truth):
        folder.mkdir(parents=True, exist_ok=True)
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
        if files and not ours:
            raise UserError(
                f"{folder}: contains files that do not belong to a synthetic extract; choose another folder, or remove them"
            )
        for path in files:
            path.unlink()


def facts(plans: Sequence[str], patients: int, seed: int, cohort_share: float) -> dict[str, object]:
    """Return the version and the arguments from which an extract was made, for dirt.json."""
    return {
        "version": VERSION,
        "plans": sorted(set(plans)),
        "patients": patients,
        "seed": seed,
        "cohort_share": cohort_share,
    }


def is_there(out: Path, plans: Sequence[str], patients: int, seed: int, cohort_share: float = 0.5) -> bool:
    """Return whether `out` already contains this extract. dirt.json is written last, so an extract with this file is complete."""
    path = out / "truth" / "dirt.json"
    if not path.is_file():
        return False
    note = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in note.items() if name != "rows"} == facts(plans, patients, seed, cohort_share)


class Tables:
    """Writer of the tables of the truth, to which rows are added block by block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open: dict[str, pq.ParquetWriter] = {}
        self.begun: set[str] = set()

    def __enter__(self) -> "Tables":
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self.open.values():
            writer.close()

    def add(self, name: str, table: pl.DataFrame) -> None:
        """Add rows to the table called `name`."""
        if name in AS_CSV:
            mode = "a" if name in self.begun else "w"
            with (self.folder / f"{name}.csv").open(mode, encoding="utf-8", newline="") as stream:
                stream.write(table.write_csv(include_header=name not in self.begun))
            self.begun.add(name)
            return
        rows = table.to_arrow(compat_level=pl.CompatLevel.oldest())
        if name not in self.open:
            self.open[name] = pq.ParquetWriter(self.folder / f"{name}.parquet", rows.schema)
        self.open[name].write_table(rows)


def readme(plans: Sequence[str], mechanisms: Sequence[Mechanism]) -> str:
    """Return Markdown that describes the tables of the truth folder, column by column."""
    tables = {"people.parquet": PEOPLE}
    for mechanism in mechanisms:
        for name, columns in mechanism.truth.items():
            tables[f"{name}.{'csv' if name in AS_CSV else 'parquet'}"] = dict(columns)
        for name, (_, columns) in mechanism.shared_truth.items():
            tables[f"{name}.csv"] = dict(columns)
    text = f"# Truth of a synthetic extract\n\nPlans: {', '.join(sorted(set(plans)))}. Every patient is made up.\n"
    for name, columns in tables.items():
        text += f"\n## {name}\n\n| Column | Meaning |\n|---|---|\n"
        text += "".join(f"| {column} | {meaning} |\n" for column, meaning in columns.items())
    text += (
        "\n`groups.csv` has the diagnoses that are more likely in each group, or its findings (without a hazard ratio), and"
        " no row where no group is planted;"
        " `dirt.json` what dirt was put into the rows.\n"
    )
    return text


def _patients(block: Block, ids: pl.Series) -> pl.DataFrame:
    def named(column: str, names: Sequence[str]) -> "np.ndarray[tuple[int], np.dtype[np.str_]]":
        return np.array(names)[block.days(column)]

    births = pl.Series(block.days("birth").astype(np.int32)).cast(pl.Date)
    return pl.DataFrame(
        {
            "patient_id": ids,
            "year_of_birth": births.dt.year(),
            "sex": np.where(block.people["female"], "F", "M"),
            "region": named("region", list(REGIONS)),
            "ethnicity": named("ethnicity", list(ETHNICITIES)),
            "practice": named("practice", PRACTICES),
            "treatment": block.people["treatment"],
        }
    )


def _people(block: Block, ids: pl.Series) -> pl.DataFrame:
    def dates(name: str) -> pl.Series:
        return pl.Series(block.days(name).astype(np.int32)).cast(pl.Date)

    return pl.DataFrame(
        {
            "patient_id": ids,
            "birth": dates("birth"),
            "female": block.people["female"].astype(bool),
            "registered": dates("start"),
            "until": dates("end"),
            "status": np.array(STATUS)[block.days("status")],
            "practice": np.array(PRACTICES)[block.days("practice")],
            "frailty": block.floats("frailty"),
            "access": block.floats("access"),
        }
    )


def _events(block: Block, events: Events, ids: pl.Series, codes: pl.Series, landing: Path) -> Counter[str]:
    rng = block.rng("rows")
    order = rng.permutation(len(events.person))
    person = events.person[order]
    rows = {"patient": ids.gather(person), "day": events.day[order], "code": codes.gather(events.code[order])}
    births = 1970 + np.floor(block.days("birth") / 365.2425).astype(np.int64)
    return write_events(rng, pl.DataFrame(rows), births[person], landing, block.number)
