"""Parquet beside text: the same blocks, and no number that is not what was meant."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from ehr_pipeline.records import ids, parquet
from ehr_pipeline.records.text import Block
from ehr_pipeline.work.progress import Progress
from ehr_pipeline_tests.records.sources.reading import folder, read, rows
from ehr_pipeline_tests.records.sources.reading import parquet as write

COLUMNS = {"patient": "p", "date": "d", "code": "c"}
DAY = datetime.date(2001, 2, 3)


def block(path: Path, **columns: Any) -> Block:
    write(path, **columns)
    how = {"block_bytes": 1 << 20, "progress": Progress("x", 1), "numbers": ("patient", "code")}
    (found,) = (split() for split in parquet.read(path, COLUMNS, "x", **how))
    return found


def texts(found: Block) -> list[tuple[Any, ...]]:
    return found.rows.select("line", *COLUMNS).rows()


def test_plain_numbers_and_dates_stay_what_they_are(tmp_path: Path) -> None:
    found = block(tmp_path / "x.parquet", p=[1, None, -5, 10**18], d=[DAY] * 4, c=[7, 8, 9, 10])
    assert found.plain is not None
    assert found.plain.rows() == [(0, 1, DAY, 7)]
    assert texts(found) == [
        (1, "", "2001-02-03", "8"),
        (2, "-5", "2001-02-03", "9"),
        (3, "1000000000000000000", "2001-02-03", "10"),
    ]


def test_numbers_that_floats_cannot_hold_are_rejected_and_others_are_read(tmp_path: Path) -> None:
    found = block(
        tmp_path / "x.parquet", p=[1.0, 2.5, 2.0**53, None, float("nan")], d=[DAY] * 5, c=[7.0, 8.0, 9.0, 10.0, 11.0]
    )
    assert found.rejected.rows() == [(1, "inexact_number"), (2, "inexact_number")]
    assert found.plain is not None
    assert found.plain["code"].to_list() == [7]
    assert texts(found) == [(3, "", "2001-02-03", "10"), (4, "", "2001-02-03", "11")]


def test_short_floats_that_may_be_others_are_in_exponent_form(tmp_path: Path) -> None:
    people, codes = pa.array([7, 2**24, None, float("nan")], pa.float32()), pa.array([1, 2, 3, 4], pa.float32())
    found = block(tmp_path / "x.parquet", p=people, d=[DAY] * 4, c=codes)
    assert found.rows["patient"].to_list() == ["7.0", "1.6777216E+07", "", ""]
    assert parse_ids(found) == [False, True, False, False]
    assert block(tmp_path / "y.parquet", p=codes, d=[DAY] * 4, c=codes).plain is not None


def test_decimals_are_numbers_if_they_are_whole(tmp_path: Path) -> None:
    """As Oracle writes ids. A code with decimals stays as it is."""
    whole, broken = ([Decimal(text) for text in texts_] for texts_ in (("7.00", "8.00"), ("250.00", "250.50")))
    found = block(tmp_path / "x.parquet", p=whole, d=[DAY] * 2, c=whole)
    assert found.plain is not None
    assert found.plain.rows() == [(0, 7, DAY, 7), (1, 8, DAY, 8)]
    assert texts(block(tmp_path / "y.parquet", p=whole, d=[DAY] * 2, c=broken)) == [
        (0, "7", "2001-02-03", "250.00"),
        (1, "8", "2001-02-03", "250.50"),
    ]


def parse_ids(found: Block) -> list[bool]:
    """Whether the ids of patients are rejected as rounded."""
    return found.rows.select(ids.inexact(pl.col("patient"))).to_series().to_list()


def test_texts_moments_and_large_unsigned_numbers(tmp_path: Path) -> None:
    moment = datetime.datetime(2001, 2, 3, 23, 59)
    found = block(tmp_path / "x.parquet", p=["007 ", "b"], d=[moment, None], c=pa.array([2**64 - 1, 5], pa.uint64()))
    assert texts(found) == [(0, "007", "2001-02-03", "18446744073709551615"), (1, "b", "", "5")]


@pytest.mark.parametrize("block_megabytes", [1, 16])
def test_one_table_in_three_forms_gives_the_same_bytes(tmp_path: Path, block_megabytes: int) -> None:
    data = pl.DataFrame(
        {
            "id": [1, 2, 1, 9, 2, 2, None],
            "date": [
                DAY,
                datetime.date(1979, 1, 1),
                datetime.date(2099, 1, 1),
                DAY,
                None,
                datetime.date(1900, 1, 1),
                DAY,
            ],
            "code": [9014002, 195967001, 9014002, 9014002, 9014002, 9014002, 9014002],
        }
    )
    people = pl.DataFrame({"id": [1, 2], "year": [1950, 1980]})
    from ehr_pipeline.records.layouts import EventColumns, EventFiles, PatientColumns, PatientFiles

    settings: dict[str, Any] = {
        "events": (EventFiles(files="e*", columns=EventColumns(patient="id", date="date", code="code")),),
        "patients": (PatientFiles(files="p*", columns=PatientColumns(patient="id", birth_year="year")),),
        "block_megabytes": block_megabytes,
    }
    outs, counts = [], []
    for form in ("text", "typed", "strings"):
        extract = folder(tmp_path / form)
        if form == "text":
            data.write_csv(extract / "e.txt", separator="\t")
            people.write_csv(extract / "p.txt", separator="\t")
        else:
            cast = (lambda frame: frame.cast(pl.String)) if form == "strings" else (lambda frame: frame)
            cast(data).write_parquet(extract / "e.parquet")
            cast(people).write_parquet(extract / "p.parquet")
        outs.append(tmp_path / form / "out")
        counts.append(read(extract, outs[-1], **settings))
    assert counts[0] == counts[1] == counts[2]
    assert counts[0]["dropped"] == {
        "before_birth": 1, "future_date": 1, "missing_date": 1, "missing_patient": 1, "sentinel_date": 1, "unknown_patient": 1,
    }  # fmt: skip
    lines = [[(line, reason) for _, line, reason in rows(out, "quarantine")] for out in outs]
    assert [(line - 1, reason) for line, reason in lines[0]] == lines[1] == lines[2]
    for out in outs[1:]:
        for kind in ("events", "patients"):
            for path in (outs[0] / kind).iterdir():
                assert path.read_bytes() == (out / kind / path.name).read_bytes()
