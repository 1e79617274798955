"""Extracts as programs and people export them, for the fuzz run: what was exported is known, and is held against what was read.

A case is a small study whose tables go through one or two of the `WAYS` in which exports change them: a spreadsheet's numbers, R's
row names, quoted line breaks, words for missing values, a zip that nobody unpacked. Either everything is read as it was, or the
reader reports that something is missing: by an error, by `ehr-pipeline check`, or by a check that does not pass.
"""

import datetime
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.errors import GateFailed, UserError
from ehr_pipeline.planning import preflight
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study import settings
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.records.malformed import EXTRACT, MRCONSO, MRSTY, valid_settings

CODES = ("9014002", "24079001", "200965009", "73211009", "38341003", "999000011000001104")
REGIONS = ("London", "North East", "Wales")
ENOUGH_TO_SAY = 0.01
"""More than this share of the events, or of the values that patients carry, may not be lost without a word."""
PATIENT, DATE, CODE, NOTE = range(4)
ID, BIRTH, SEX, PRACTICE, LEFT = range(5)
Rows = list[list[str]]
Packed = dict[str, bytes]


@dataclass
class Tables:
    """What is exported: rows of texts, how they are written, and under which names. Rows of each table begin with its header."""

    rng: random.Random
    share: float
    """The share of the rows that a way changes."""
    events: Rows
    people: Rows
    practices: Rows
    events_header: list[str] = field(default_factory=lambda: ["id", "date", "code", "note"])
    people_header: list[str] = field(default_factory=lambda: ["id", "birth", "sex", "practice", "left"])
    delimiter: str = ","
    """Between the fields of events."""
    encoding: str = "utf-8"
    """How events are written."""
    written: Callable[[str], str] = str
    """What becomes of the text of a file of events."""
    field_written: Callable[[str], str] = str
    """What becomes of each field of an event."""
    packed: dict[str, Callable[[str, bytes], Packed]] = field(default_factory=dict)
    """What becomes of a file: its name and content to those of the files in its place."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the settings say of files of events, where it is not the usual."""
    people_settings: dict[str, Any] = field(default_factory=dict)
    """What they say of files of patients."""

    def some(self, rows: Rows, column: int, change: Callable[[str], str]) -> None:
        """Change a column of some rows."""
        for row in rows:
            if self.rng.random() < self.share:
                with suppress(ValueError, KeyError):  # another way has changed it
                    row[column] = change(row[column])


@dataclass(frozen=True)
class Truth:
    """What was to be exported."""

    events: frozenset[tuple[str, datetime.date, str]]
    """Patient, day and code."""
    people: dict[str, tuple[datetime.date, str, str, datetime.date | None]]
    """Birth, sex, region and last day of observation, by patient."""


def day(text: str) -> datetime.date:
    """The day that is written as DD/MM/YYYY."""
    return datetime.datetime.strptime(text, "%d/%m/%Y").replace(tzinfo=datetime.UTC).date()


def tables(rng: random.Random, share: float = 0.0) -> tuple[Tables, Truth]:
    """A small study as it is exported rightly, of which ways change a share of the rows (0: a random one), and what it says."""

    def some_day(first: int, days: int) -> str:
        return (datetime.date(first, 1, 1) + datetime.timedelta(rng.randrange(days))).strftime("%d/%m/%Y")

    practices = [[str(20_000 + 7 * n), rng.choice(REGIONS)] for n in range(12)]
    step = rng.choice((37, 10**11 + 37))  # spreadsheets round ids of more than 15 digits
    people = [
        [
            str(10**14 + step * n + (10**17 if step > 37 else 0)),
            some_day(1930, 20_000),
            rng.choice("MF"),
            rng.choice(practices)[0],
            some_day(2015, 1000) if rng.random() < 0.5 else "",
        ]
        for n in range(1, 61)
    ]
    events = [[rng.choice(people)[ID], some_day(1995, 9000), rng.choice(CODES), ""] for _ in range(400)]
    regions = dict(map(tuple, practices))  # type: ignore[arg-type]
    truth = Truth(
        frozenset((row[PATIENT], day(row[DATE]), row[CODE]) for row in events),
        {
            row[ID]: (day(row[BIRTH]), row[SEX], regions[row[PRACTICE]], day(row[LEFT]) if row[LEFT] else None)
            for row in people
        },
    )
    return Tables(rng, share or rng.choice((1.0, 0.5, 0.05)), events, people, practices), truth


def write(exported: Tables, folder: Path) -> dict[str, Any]:
    """Write the files and return the settings."""
    landing = folder / "landing" / EXTRACT
    landing.mkdir(parents=True)
    for name, data in _files(exported):
        for own, content in exported.packed.get(name, lambda name, data: {name: data})(name, data).items():
            (landing / own).parent.mkdir(exist_ok=True)
            (landing / own).write_bytes(content)
    for name, text in (
        ("MRCONSO.RRF", MRCONSO),
        ("MRSTY.RRF", MRSTY),
        ("list.csv", "code,cui,name,source\n9014002,,x,y\n"),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    values = valid_settings(folder)
    (events,), (patients,) = values["records"]["events"], values["records"]["patients"]
    events |= {"files": "events*.csv*|events*.parquet", "delimiter": ","} | exported.settings
    patients |= {
        "files": "patients*.csv*|patients*.parquet",
        "delimiter": ",",
        "columns": {"patient": "id", "birth_date": "birth", "sex": "sex", "observation_ends": ["left"]},
        "attributes": {},
        "linked": [
            {
                "files": "practices*.csv",
                "delimiter": ",",
                "key": "practice",
                "patient_key": "practice",
                "attributes": {"region": "region"},
            }
        ],
    } | exported.people_settings
    values["records"]["limits"] = {}
    values["reports"] = {"audited": []}
    return values


def _files(exported: Tables) -> Iterator[tuple[str, bytes]]:
    half = len(exported.events) // 2
    for name, rows in (("events_1.csv", exported.events[:half]), ("events_2.csv", exported.events[half:])):
        lines = [[exported.field_written(text) for text in row] for row in (exported.events_header, *rows)]
        text = exported.written("".join(exported.delimiter.join(row) + "\n" for row in lines))
        yield name, text.encode(exported.encoding)
    people = [exported.people_header, *exported.people]
    practices = [["practice", "region"], *exported.practices]
    for name, rows in (("patients.csv", people), ("practices.csv", practices)):
        yield name, "".join(",".join(row) + "\n" for row in rows).encode()


@dataclass(frozen=True)
class Ending:
    """How a case ended."""

    ways: tuple[str, ...]
    said: tuple[str, ...]
    """What was said: the error, what `ehr-pipeline check` sees, the checks that do not pass."""
    wrong: int = 0
    """Events, and values of patients, that nobody exported."""
    lost: float = 0.0
    """The largest of the shares of events, and of patients' births, sexes, regions and last days, that were not read."""

    @property
    def is_silent(self) -> bool:
        """Whether something is wrong or missing without a word."""
        return not self.said and (self.wrong > 0 or self.lost > ENOUGH_TO_SAY)


def run(ways: dict[str, Callable[[Tables], None]], rng: random.Random, folder: Path, share: float = 0.0) -> Ending:
    """One export that went through `ways`, read. Anything but a UserError is raised."""
    exported, truth = tables(rng, share)
    for way in ways.values():
        way(exported)
    study = settings.validate(write(exported, folder), base=folder)
    seen = preflight.inspect(study)
    said = [f"check: {text}" for text in (*seen.problems, *seen.warnings)]
    pipeline = Pipeline(study)
    try:
        records = pipeline.raw_records(EXTRACT)
    except GateFailed:
        raise
    except UserError as error:
        return Ending(tuple(ways), (*said, str(error)), lost=1.0)
    outcomes = ASSETS["raw_records"].evaluate(records, pipeline.store, study)
    said += [f"{outcome.name}: {outcome.message}" for outcome in outcomes if not outcome.passed]
    return Ending(tuple(ways), tuple(said), *_compare(records, truth))


def _compare(records: Artifact, truth: Truth) -> tuple[int, float]:
    """How many values were read that nobody exported, and the largest share of those exported that were not read."""
    shards = [
        pl.DataFrame(schemas.read(path)).cast({"patient_id": pl.String, "code": pl.String})
        for path in records.files("events")
    ]
    read = {row for shard in shards for row in shard.select("patient_id", "date", "code").rows()}
    wrong, lost = len(read - truth.events), [len(truth.events - read) / len(truth.events)]
    names = ("birth_date", "sex", "region", "observation_end")
    carried = [pl.DataFrame(schemas.read(path)) for path in records.files("patients")]
    known = {row[0]: row[1:] for shard in carried for row in shard.select("patient_id", *names).rows()}
    wrong += len(known.keys() - truth.people.keys())
    for place, nothing in enumerate((None, "", "", None)):
        true = {patient: row[place] for patient, row in truth.people.items() if row[place] != nothing}
        got = {patient: row[place] for patient, row in known.items() if row[place] != nothing}
        wrong += sum(value != true.get(patient) for patient, value in got.items() if patient in truth.people)
        lost.append(1 - sum(patient in got for patient in true) / len(true))
    return wrong, max(lost)
