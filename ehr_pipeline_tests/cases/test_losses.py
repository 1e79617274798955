"""Rows that are rejected and values that nobody can read, as exports of spreadsheets, R and databases have them."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline.errors import GateFailed
from ehr_pipeline.planning import preflight
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study import settings
from ehr_pipeline.tables import schemas

Case = Callable[[str], Path]
EXTRACT = "2020-01-01"


def pipeline(folder: Path) -> Pipeline:
    """The chain of a case."""
    return Pipeline(settings.load(folder / "settings.toml"))


def people(records: Artifact) -> list[tuple[str, ...]]:
    """The patients' ids, sexes and attributes, in order."""
    shards = pl.concat(pl.DataFrame(schemas.read(path)) for path in records.files("patients"))
    return sorted(shards.select(pl.exclude("birth_date", "birth_precision", "observation_end")).rows())


def test_usual_spellings_of_a_sex_are_understood(case: Case) -> None:
    records = pipeline(case("sex_partial")).raw_records(EXTRACT)
    assert people(records) == [("1", "M"), ("2", "F"), ("3", "F"), ("4", "F")]
    assert records.counts["patients"]["sex_not_understood"] == 0


def test_words_for_nothing_are_no_values(case: Case) -> None:
    records = pipeline(case("na_strings")).raw_records(EXTRACT)
    assert people(records) == [("1", "M", "London"), ("2", "", ""), ("3", "F", "")]
    assert records.counts["dropped"] == {"missing_code": 1, "missing_date": 1, "missing_patient": 1}
    assert records.counts["patients"]["dropped"] == {"missing_patient": 1}
    assert records.counts["patients"]["unusable_observation_dates"] == 0


def test_an_extract_whose_dates_are_day_numbers_stops_the_chain(case: Case) -> None:
    folder = case("excel_serial")
    (problem,) = preflight.inspect(settings.load(folder / "settings.toml")).problems
    assert (
        "events.csv: 10 of its first 11 rows are rejected (91%): with an unreadable date, of the shape 99999 (day numbers"
        in problem
    )
    chain = pipeline(folder)
    chain.raw_records(EXTRACT)
    with pytest.raises(
        GateFailed, match=r"rejected_rows: events: about 10 of about 10 rows were rejected.*unreadable date"
    ):
        chain.extract_catalog()


def test_names_in_quotes_are_told_with_the_setting(case: Case) -> None:
    problems = preflight.inspect(settings.load(case("r_quoted") / "settings.toml")).problems
    assert len(problems) == 2
    for problem, section in zip(problems, ("patients", "events"), strict=True):
        assert f"The names are in quotes: set records.{section}[0].quote to '\"'." in problem


def test_words_for_nothing_and_usual_spellings_are_no_warning(case: Case) -> None:
    for name in ("sex_partial", "na_strings"):
        found = preflight.inspect(settings.load(case(name) / "settings.toml"))
        assert not [text for text in (*found.problems, *found.warnings) if "sex" in text or "observation" in text]
