"""Terminology that was cut off, packed, or holds what no longer counts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.planning import preflight
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline_tests.cases.test_ids_and_dates import EXTRACT

LAX = {"records": {"limits": {"rejected_error": 1.0}}}


def mapping(folder: Path, until: str = "mapped_events", **overrides: Any) -> dict[str, dict[str, str]]:
    """The mapping of a case, by code."""
    pipeline = Pipeline(settings.load(folder / "settings.toml", LAX | overrides))
    pipeline.make(EXTRACT, until=until)
    return {row["code"]: row for row in Mapping.read(pipeline.store.current("mapped_events").path).table.to_dicts()}


@pytest.mark.parametrize(
    ("name", "until", "told"),
    [
        ("dict_cut", "mapped_events", r"dict.txt \(events.dictionaries.medcodeid.file\): the text ends in the middle"),
        ("mrconso_cut", "mapped_events", r"MRCONSO.RRF \(events.mrconso\), line 3: .*cut off or damaged"),
        ("mrsty_cut", "vocabulary", r"MRSTY.RRF \(vocabulary.mrsty\), line 2: .*cut off or damaged"),
    ],
)
def test_text_that_ends_in_the_middle_is_refused(case: Callable[[str], Path], name: str, until: str, told: str) -> None:
    import re

    folder = case(name)
    problems = preflight.inspect(settings.load(folder / "settings.toml")).problems
    assert any(re.search(told, problem) for problem in problems)
    with pytest.raises(InputError, match=told):
        mapping(folder, until)


def test_umls_files_with_carriage_returns_and_a_header(case: Callable[[str], Path]) -> None:
    folder = case("swapped_umls")
    assert preflight.inspect(settings.load(folder / "settings.toml")).problems == []
    assert all(row["concept"] for row in mapping(folder, "vocabulary").values())


def test_the_latest_row_of_a_component_counts(case: Callable[[str], Path]) -> None:
    found = mapping(case("rf2_full2"))
    assert (found["233678006"]["concept"], found["233678006"]["step"]) == ("C0033860", "ancestor")
    assert (found["63491006"]["concept"], found["63491006"]["step"]) == ("C0020538", "replaced")


def test_the_latest_description_names_a_concept(case: Callable[[str], Path]) -> None:
    assert mapping(case("desc_full"))["233678006"]["name"] == "Childhood asthma (disorder)"


def test_release_files_are_read_packed_and_archives_named(case: Callable[[str], Path]) -> None:
    folder = case("rf2_gz")
    problems = preflight.inspect(settings.load(folder / "settings.toml")).problems
    assert len(problems) == 1
    assert "desc.zip (events.descriptions): not a text file, but probably a zip archive" in problems[0]
    assert mapping(folder, events={"descriptions": []})


def test_read_codes_with_and_without_a_term_code(case: Callable[[str], Path]) -> None:
    folder = case("read_7byte")
    found = mapping(folder)
    assert {code: found[code]["concept"] for code in ("H33..", "H33..00", "C10..00")} == {
        "H33..": "C0004096",
        "H33..00": "C0004096",
        "C10..00": "C0011849",
    }
    assert (found["G20..12"]["step"], found["G20..12"]["runners_up"]) == ("read_without_term", "SCT:38341003")
    terms = {"events": {"migrations": {"read_v2": {"term_column": "TERMCODE"}}}}
    exact = mapping(folder, **terms)
    assert (exact["G20..12"]["target"], exact["G20..12"]["step"]) == ("24079001", "read")
    assert exact["H33.."]["concept"] == "C0004096"


def test_retired_rows_of_a_migration_table_come_last(case: Callable[[str], Path]) -> None:
    folder = case("migration_status")
    found = {code: row["target"] for code, row in mapping(folder).items() if row["step"] == "read"}
    assert found == {"H33..": "195967001", "C10..": "73211009"}
    retired = {"events": {"migrations": {"read_v2": {"where": {"MAPSTATUS": "0"}}}}}
    found = {code: row["target"] for code, row in mapping(folder, **retired).items() if row["step"] == "read"}
    assert found == {"H33..": "9014002", "C10..": "38341003"}
