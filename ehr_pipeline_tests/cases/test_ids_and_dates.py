"""Ids, whole numbers, births and dates as spreadsheets, databases and programs export them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from ehr_pipeline.planning import preflight
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study import settings
from ehr_pipeline.tables import schemas

Case = Callable[[str], Path]
EXTRACT = "2020-01-01"


def read(folder: Path, **overrides: Any) -> Artifact:
    """The records of a case."""
    return Pipeline(settings.load(folder / "settings.toml", overrides)).raw_records(EXTRACT)


def people(records: Artifact) -> pl.DataFrame:
    """The patients, in order of their ids."""
    return pl.concat(pl.DataFrame(schemas.read(path)) for path in records.files("patients")).sort("patient_id")


def events(records: Artifact) -> list[tuple[str, str, str]]:
    """Patient, day and code of the events, in order."""
    shards = [pl.DataFrame(schemas.read(path)) for path in records.files("events")]
    texts = [
        pl.col("patient_id").cast(pl.String),
        pl.col("date").dt.to_string("%Y-%m-%d"),
        pl.col("code").cast(pl.String),
    ]
    return sorted(row for shard in shards for row in shard.select(texts).rows())


def births(records: Artifact) -> list[tuple[str, str, str]]:
    """Id, birth and its precision of the patients."""
    return people(records).select("patient_id", pl.col("birth_date").dt.to_string("%Y-%m-%d"), "birth_precision").rows()


def test_people_whose_ids_were_rounded_are_not_joined(case: Case) -> None:
    records = read(case("excel_ids"))
    assert records.counts["patients"]["dropped"] == {"inexact_number": 3}
    assert records.counts["dropped"] == {"inexact_number": 3}
    assert people(records)["patient_id"].to_list() == ["7"]


def test_rounded_and_floating_ids_of_omop(case: Case) -> None:
    folder = case("omop_sci")
    records = read(folder)
    assert people(records)["patient_id"].to_list() == ["2"]
    assert events(records) == [("2", "2011-01-01", "omop:317009"), ("2", "2012-01-01", "omop:140168")]
    assert records.counts["dropped"] == {"inexact_number": 1, "unknown_patient": 1}


def test_decimals_of_parquet_are_whole_numbers(case: Case) -> None:
    records = read(case("omop_decimal"))
    assert births(records) == [("1", "1950-05-06", "day"), ("2", "1960-06-07", "day")]
    assert people(records)["sex"].to_list() == ["M", "F"]
    assert events(records) == [("1", "2010-01-01", "omop:317009"), ("2", "2010-01-01", "omop:140168")]


def test_floats_of_text_are_whole_numbers(case: Case) -> None:
    folder = case("omop_float_csv")
    assert not preflight.inspect(settings.load(folder / "settings.toml")).problems
    assert births(read(folder)) == [("1", "1950-05-06", "day"), ("2", "1960-07-01", "year")]


def test_negative_ids_of_nineteen_digits(case: Case) -> None:
    records = read(case("omop_negative"))
    assert people(records)["patient_id"].to_list() == ["-3210373572193940939", "2"]
    assert len(events(records)) == 2


def test_a_known_sex_beats_an_empty_one_and_two_are_none(case: Case) -> None:
    records = read(case("conflict_sex"))
    assert people(records).select("sex", "region").rows() == [("", ""), ("F", "London")]
    assert records.counts["patients"]["differing"] == {"region": 1, "sex": 1}


def test_births_in_the_future_or_without_a_day(case: Case) -> None:
    folder = case("birth_formats")
    records = read(folder)
    assert births(records) == [("1", "1950-06-05", "day")]
    assert records.counts["patients"]["dropped"] == {"future_birth": 1, "partial_birth": 2}
    records = read(folder, records={"partial_dates": "middle"})
    assert births(records)[1:] == [("2", "1960-07-01", "year"), ("3", "1970-06-15", "month")]
    assert records.counts["partial_dates"] == {"births": 2}


def test_years_of_two_digits(case: Case) -> None:
    records = read(case("yy"))
    assert [birth[:4] for _, birth, _ in births(records)] == ["1950", "1961", "1985"]
    assert records.counts["dropped"] == {}
    assert ("2", "1965-02-03", "24079001") in events(records)


def test_dates_with_a_time_of_day_in_a_known_layout(case: Case) -> None:
    folder = case("omop_datetime")
    assert not preflight.inspect(settings.load(folder / "settings.toml")).problems
    assert events(read(folder)) == [("1", "2010-01-01", "omop:317009"), ("2", "2010-01-01", "omop:140168")]


def test_dates_of_sas(case: Case) -> None:
    assert [day for _, day, _ in events(read(case("sas_dates")))] == ["2010-02-01", "2011-02-01", "2010-02-01"]
