"""Who is in clusters, against who is left out: what differs is found, and no small count is told."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ehr_pipeline.cohort.members import CASES
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.left_out import Difference, People, Row, compare
from ehr_pipeline.reports.statements import left_out as say
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import COHORT
from ehr_pipeline_tests.conftest import unpublished

RULE = Disclosure(10)


def people(out: int, inside: int = 400, **other: Any) -> People:
    """Those left out have a tenth of the concepts, and are of the same age."""
    rng = np.random.default_rng(1)
    left = np.arange(inside + out) >= inside
    concepts = np.where(left, 8, 80) * rng.uniform(0.5, 1.5, len(left))
    usual = {
        "numbers": {"age": rng.normal(50, 10, len(left)).round(), "concepts": concepts.round()},
        "sex": np.where(rng.random(len(left)) < 0.5, "F", "M"),
        "practice": None,
    }
    return People(left, **(usual | other))  # type: ignore[arg-type]


def test_what_differs_is_found_and_what_does_not_is_not_said_to() -> None:
    rows = {row.attribute: row for row in compare(people(100), RULE)}
    assert list(rows) == ["age", "concepts", "sex"]
    concepts, age = rows["concepts"].difference, rows["age"].difference
    assert concepts
    assert age
    assert concepts.high < -2, "a tenth of the concepts"
    assert age.low < 0 < age.high
    told = str(say.differ(list(rows.values()), 10, 3))
    assert told.startswith(
        "They differ from the patients in clusters (95 % intervals in brackets): fewer recorded concepts (standardised difference -"
    )
    assert told.endswith(
        "The data set requires 3 visits, so patients with short records are left out. The clusters say nothing about them."
    )
    assert "because the data set asks" not in str(say.differ(list(rows.values()), 10, 1)), "there is no such rule"
    assert "older" not in told
    assert "younger" not in told
    same = compare(people(100, numbers={"age": people(100).numbers["age"]}), RULE)
    assert str(say.differ(same, 10, 3)).startswith("In none of the attributes compared is the standardised difference")


def test_the_difference_is_that_of_the_textbook() -> None:
    values = np.concatenate([np.repeat([1.0, 3.0], 50), np.repeat([2.0, 4.0], 10)])
    left = np.arange(120) >= 100
    (row,) = compare(People(left, {"age": values}, np.full(120, ""), None), RULE)
    assert row.difference
    assert row.difference.value == pytest.approx(1.0), "means 2 and 3, both standard deviations 1"
    error = 1.96 * (1 / 100 + 1 / 20 + 1 / 240) ** 0.5
    assert (row.difference.low, row.difference.high) == (
        pytest.approx(1 - error, abs=1e-3),
        pytest.approx(1 + error, abs=1e-3),
    )


@pytest.mark.parametrize("out", [0, 1, 9])
def test_too_few_are_not_compared(out: int) -> None:
    assert compare(people(out), RULE) == []
    assert "fewer than 10: too few to compare" in str(say.differ([], 10, 3))


def test_a_share_of_few_women_has_no_difference_that_would_tell_them() -> None:
    sex = np.where(np.arange(500) % 2, "F", "M")
    sex[400:] = "M"
    for women in (1, 9):
        sex[400 : 400 + women] = "F"
        (row,) = (row for row in compare(people(100, sex=sex), RULE) if row.attribute == "sex")
        assert (row.left_out, row.difference) == ("<10 %", None)
    sex[400:430] = "F"
    (row,) = (row for row in compare(people(100, sex=sex), RULE) if row.attribute == "sex")
    assert row.difference
    sex[430] = "F"
    (other,) = (row for row in compare(people(100, sex=sex), RULE) if row.attribute == "sex")
    assert other == row, "one woman more cannot be seen"


def test_practices_are_compared_as_a_whole() -> None:
    names = np.array(["a", "b", "c", "d"])[np.arange(500) % 4]
    even = compare(people(100, practice=names), RULE)[-1]
    assert even.association == pytest.approx(0, abs=0.05)
    names[400:] = "a"
    odd = compare(people(100, practice=names), RULE)[-1]
    assert (odd.attribute, odd.association and odd.association > 0.5) == ("practice", True)
    assert say.cells(odd) == ("Practice", "–", "–", f"Cramér’s V {odd.association:.2f}")


def test_cells_and_sentences() -> None:
    row = Row("age", "50 (40–60)", "47", Difference(-0.3, -0.5, -0.1))
    assert say.cells(row) == ("Age at the last record", "50 (40–60)", "47", "-0.30 (-0.50 to -0.10)")
    assert say.cells(Row("sex", "–", "–", None))[-1] == "–"
    assert str(say.who("about 2,760", "51–80", nobody=False, everybody=False)).startswith(
        "Of about 2,760 patients with one of the diseases, 51–80 are in no cluster"
    )
    assert "there are no others to compare with" in str(say.who("2,760", "0", nobody=True, everybody=False))
    told = str(say.who("2,760", "51–80", nobody=False, everybody=True))
    assert told.startswith("Of 2,760 patients, 51–80 are in no cluster"), "a cohort of everybody has no disease"


def test_who_they_are_is_read_from_the_newest_extract_that_has_them(tmp_path: Path) -> None:
    day = 3653  # 1980-01-02
    cases = {
        "patient_id": ["c", "a", "b"],
        "shard": ["00001.arrow", "00000.arrow", "00000.arrow"],
        "inside": [False, True, True],
        "concepts": [3, 4, 5],
        "visits": [1, 2, 3],
        "first_date": pa.array([day] * 3, pa.int32()).cast(pa.date32()),
        "last_date": pa.array([day + 366 * 10] * 3, pa.int32()).cast(pa.date32()),
    }
    schemas.write(tmp_path / "cohort" / CASES, pa.table(cases, schema=schemas.CASES))
    born = pa.array([0, 3653], pa.int32()).cast(pa.date32())
    schema = schemas.patients(("practice",))
    for extract, shard, rows in (
        (
            "old",
            "00000.arrow",
            {"patient_id": ["a", "b"], "birth_date": born, "sex": ["M", "M"], "practice": ["old", "x"]},
        ),
        ("old", "00001.arrow", {"patient_id": ["c"], "birth_date": born[:1], "sex": ["F"], "practice": ["y"]}),
        ("new", "00000.arrow", {"patient_id": ["a"], "birth_date": born[:1], "sex": ["F"], "practice": ["z"]}),
        ("new", "00001.arrow", {"patient_id": [], "birth_date": born[:0], "sex": [], "practice": []}),
    ):
        precision = pa.array(["day"] * len(rows["patient_id"]), pa.string())
        schemas.write(
            tmp_path / extract / "patients" / shard,
            pa.table(rows | {"birth_precision": precision}).select(schema.names).cast(schema),
        )
    records = [unpublished(tmp_path / name) for name in ("old", "new")]
    inputs: Any = SimpleNamespace(artifacts={COHORT: unpublished(tmp_path / "cohort")}, records=records)
    found = People.read(inputs, pa.array(["a", "b"]))
    assert (found.sex.tolist(), found.left_out.tolist()) == (["F", "M", "F"], [False, False, True])
    assert found.practice is not None
    assert found.practice.tolist() == ["z", "x", "y"]
    assert found.numbers["age"].tolist() == [20, 10, 20]
    assert found.numbers["years"].tolist() == [10, 10, 10]
    assert found.numbers["concepts"].tolist() == [4, 5, 3]
