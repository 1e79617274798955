"""Whatever the rows are: none is lost, their order and the way they are read change no byte, and what is kept is read back."""

import csv
import datetime
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import build, lines
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import unbalanced
from ehr_pipeline.study import settings as study_settings
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.records.malformed import CODES, EXTRACT, MRCONSO, MRSTY, STAGES, valid_settings

Row = tuple[str, str, str]

BORN = {"1": 1950, "2": 1980, "10000000007": 1960, "007": 1970, "P3": 1990}
PATIENTS = (*BORN, "8", "", "x" * 101)  # 8 is unknown
DATES: dict[str, datetime.date | str] = {
    "05/03/2001": datetime.date(2001, 3, 5),
    "06/03/2001": datetime.date(2001, 3, 6),
    "2001-03-05": datetime.date(2001, 3, 5),
    "05/03/1975": datetime.date(1975, 3, 5),
    "31/12/2019": datetime.date(2019, 12, 31),
    "02/01/2020": "future_date",
    "01/01/1900": "sentinel_date",
    "31/02/2001": "unparsable_date",
    "2001": "partial_date",
    "": "missing_date",
}
BAD_CODES = {"": "missing_code", "12": "ill_formed_code", "9" * 19: "ill_formed_code", "a b": "ill_formed_code"}

ROW = st.tuples(st.sampled_from(PATIENTS), st.sampled_from(list(DATES)), st.sampled_from([*CODES, *BAD_CODES]))
ROWS = st.lists(ROW, min_size=1, max_size=40)
FAST = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
GOOD: Row = ("1", "05/03/2001", CODES[0])  # one row that is kept, so that there is a result


def fate(row: Row) -> str:
    """Why a row is rejected, or 'kept'."""
    patient, text, code = row
    date = DATES[text]
    if not any(row):
        return "empty_line"
    if not patient:
        return "missing_patient"
    if len(patient) > 100:
        return "overlong_patient"
    if code in BAD_CODES:
        return BAD_CODES[code]
    if isinstance(date, str):
        return date
    if patient not in BORN:
        return "unknown_patient"
    return "kept" if date >= datetime.date(BORN[patient], 1, 1) else "before_birth"


def write(folder: Path, files: list[list[Row]], rng: random.Random) -> Path:
    """Write rows as an extract, each file with its own order of columns, end of lines and, at times, gzip."""
    import gzip

    landing = folder / "landing" / EXTRACT
    landing.mkdir(parents=True)
    for number, rows in enumerate(files):
        order = rng.sample(range(3), 3)
        end = rng.choice(("\n", "\r\n"))
        table = [("id", "date", "code"), *rows]
        text = end.join("\t".join(row[place] for place in order) for row in table) + rng.choice(("", end))
        data = text.encode()
        (landing / f"events_{number}.txt").write_bytes(gzip.compress(data) if rng.random() < 0.3 else data)
    people = [f"{patient}\t{year}\tF\n" for patient, year in BORN.items()]
    rng.shuffle(people)
    (landing / "patients.txt").write_text("id\tyear\tsex\n" + "".join(people))
    for name, text in (
        ("MRCONSO.RRF", MRCONSO),
        ("MRSTY.RRF", MRSTY),
        ("list.csv", "code,cui,name,source\n9014002,,x,y\n"),
    ):
        (folder / name).write_text(text)
    return landing


def study(folder: Path, **records: Any) -> study_settings.Study:
    found = study_settings.validate(valid_settings(folder), base=folder)
    return replace(found, records=replace(found.records, **records))


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    """Read text in blocks of so many bytes: the setting is in MB."""
    whole = lines.whole_rows
    with mock.patch.object(lines, "whole_rows", lambda stream, _, quoted: whole(stream, size, quoted)):
        yield


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for folder in ("events", "patients")
        for path in (out / folder).iterdir()
    }


@FAST
@given(rows=ROWS, block=st.sampled_from([1, 50, 1 << 20]))
@example(rows=[("", "", "")], block=1)
def test_rows_in_are_rows_kept_and_rows_quarantined_by_reason(rows: list[Row], block: int) -> None:
    rows = [GOOD, *rows]
    with tempfile.TemporaryDirectory() as name, blocks_of(block):
        landing = write(Path(name), [rows], random.Random(0))
        out = Path(name) / "out"
        out.mkdir()
        counts = build.build(landing, study(Path(name)).records, out)
        listed = pl.concat([pl.DataFrame(schemas.read(path)) for path in (out / "quarantine").iterdir()])
    expected = [(line, fate(row)) for line, row in enumerate(rows, 2)]
    assert sorted(listed.select("line", "reason").iter_rows()) == [pair for pair in expected if pair[1] != "kept"]
    by_reason = Counter(reason for _, reason in expected)
    assert counts["kept"] == by_reason.pop("kept")
    assert counts["dropped"] == by_reason
    assert (counts["rows_in"], unbalanced(counts)) == (len(rows), 0)


@settings(FAST, max_examples=20)
@given(rows=ROWS, seed=st.integers(0, 10**6))
def test_order_files_blocks_and_workers_change_no_byte(rows: list[Row], seed: int) -> None:
    rng, rows, found = random.Random(seed), [GOOD, *rows], []
    with tempfile.TemporaryDirectory() as name:
        for number in range(2):
            shuffled = rng.sample(rows, len(rows))
            files = [shuffled[part :: number + 1] for part in range(number + 1)]
            folder, out = Path(name) / str(number), Path(name) / f"out_{number}"
            out.mkdir()
            landing = write(folder, files, rng)
            with blocks_of(rng.choice((1, 50, 1 << 20))):
                build.build(landing, study(folder, workers=rng.choice((1, 2))).records, out)
            found.append(contents(out))
    assert found[0] == found[1]


def read_back(pipeline: Pipeline) -> dict[str, dict[datetime.date, list[str]]]:
    """Visits of every patient, as concepts, from the patient data set."""
    with pipeline.store.current("vocabulary").file("vocabulary.csv").open(newline="") as stream:
        concept_of = {int(row["token_id"]): row["concept"] for row in csv.DictReader(stream)}
    found = {}
    for path in pipeline.store.current("patient_dataset").files("patients"):
        for row in schemas.read(path).to_pylist():
            found[row["patient_id"]] = {
                visit["date"]: sorted(concept_of[token] for token in visit["concepts"]) for visit in row["visits"]
            }
            assert row["birth_date"] == datetime.date(BORN[row["patient_id"]], 7, 1)
    return found


@settings(FAST, max_examples=15)
@given(rows=ROWS, seed=st.integers(0, 10**6))
def test_the_patient_data_set_holds_exactly_the_kept_events(rows: list[Row], seed: int) -> None:
    rows, rng = [GOOD, *rows], random.Random(seed)
    concept_of = {code: f"C{number:07d}" for number, code in enumerate(CODES[:5])}
    expected: dict[str, dict[datetime.date, set[str]]] = {}
    for row in rows:
        if fate(row) == "kept" and row[2] in concept_of:
            date = DATES[row[1]]
            assert isinstance(date, datetime.date)
            expected.setdefault(row[0], {}).setdefault(date, set()).add(concept_of[row[2]])
    with tempfile.TemporaryDirectory() as name:
        half = rng.randrange(len(rows)) + 1
        write(Path(name), [rows[:half], rows[half:]], rng)
        pipeline = Pipeline(study(Path(name)))
        pipeline.raw_records(EXTRACT)
        for asset in STAGES:
            getattr(pipeline, asset)()
        found = read_back(pipeline)
    assert found == {
        patient: {date: sorted(found) for date, found in visits.items()} for patient, visits in expected.items()
    }


def test_files_that_hold_no_rows(tmp_path: Path) -> None:
    """A file with a header alone is fine; one with nothing at all is an accident; without header lines, it holds no rows."""
    landing = write(tmp_path, [[GOOD], []], random.Random(1))
    out = tmp_path / "out"
    out.mkdir()
    assert build.build(landing, study(tmp_path).records, out)["rows_in"] == 1
    (landing / "events_2.txt").touch()
    (tmp_path / "more").mkdir()
    with pytest.raises(
        InputError, match=r"events_2.txt: the file is empty; a header line with id, date, code was expected"
    ):
        build.build(landing, study(tmp_path).records, tmp_path / "more")
