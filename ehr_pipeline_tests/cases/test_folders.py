"""What else lies in the folder of an extract."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ehr_pipeline.planning import preflight
from ehr_pipeline.study import settings
from ehr_pipeline_tests.cases.test_ids_and_dates import EXTRACT, events, read


@pytest.mark.parametrize("name", ["cprd_apple", "meds_apple"])
def test_files_of_macos_are_not_read(case: Callable[[str], Path], name: str) -> None:
    folder = case(name)
    found = preflight.inspect(settings.load(folder / "settings.toml"))
    assert found.problems == []
    assert not any("nothing reads" in fact for fact in found.facts)
    assert events(read(folder))


def test_a_hidden_file_would_be_told_once(case: Callable[[str], Path]) -> None:
    folder = case("meds_apple")
    data = folder / "landing" / EXTRACT / "data"
    (data / "._0.parquet").rename(data / "1.parquet")
    problems = preflight.inspect(settings.load(folder / "settings.toml")).problems
    assert [problem for problem in problems if "not a Parquet file" in problem] == problems[:1]


def test_tables_of_spark_and_in_any_case_are_read(case: Callable[[str], Path]) -> None:
    folder = case("omop_spark")
    assert preflight.inspect(settings.load(folder / "settings.toml")).problems == []
    assert len(events(read(folder))) == 5
