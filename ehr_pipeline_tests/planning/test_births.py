"""`init` and `check` say that no patient has a birth, however many rows the files have."""

from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline.planning import births, init_study, preflight
from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline.records.check_first_rows import BLOCKS, HEAD_BYTES
from ehr_pipeline.study import settings
from ehr_pipeline_tests.planning import test_init_study as files
from ehr_pipeline_tests.planning.test_enough_data import study

MANY = 40_000
LEFT_OUT = "contains a birth, and patients without a birth are left out"


def looked(made: settings.Study) -> Preflight:
    found = Preflight()
    births.look(made, found)
    return found


@pytest.mark.parametrize(("born", "why"), [("", "without a date of birth"), ("0", "with an unreadable date of birth")])
def test_a_long_file_without_any_birth_is_a_problem(tmp_path: Path, born: str, why: str) -> None:
    made = study(tmp_path)
    path = tmp_path / "landing/2024-01-01/patients.csv"
    path.write_text("patient,yob\n" + "".join(f"p{who},{born}\n" for who in range(MANY)))
    assert path.stat().st_size > BLOCKS * HEAD_BYTES, "the first rows are not the whole file"
    assert looked(made).problems == [
        f"no row of the files (records.patients[0]) {LEFT_OUT}. Most are rows {why}. Correct"
        " records.patients[0].columns.birth_date or records.patients[0].columns.birth_year, or have births exported."
    ]
    assert preflight.inspect(made).problems
    path.write_text(path.read_text() + "p1,1950\n")
    assert looked(made).problems == [], "a single birth is left to the limits of rejected rows"


def test_many_rows_without_a_birth_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = study(tmp_path)
    path = tmp_path / "landing/2024-01-01/patients.csv"
    path.write_text("patient,yob\n" + "".join(f"p{who},\n" for who in range(MANY)))
    monkeypatch.setattr(births, "MOST_ROWS", 100)
    monkeypatch.setattr(births, "BLOCK", 1 << 12)
    found = looked(made)
    assert found.problems == []
    assert found.warnings[0].startswith(f"none of the first 100 rows of the files (records.patients[0]) {LEFT_OUT}")


def test_meds_without_births_is_said_by_init_and_check(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    files.meds(root)
    (shard,) = (root / "data").iterdir()
    rest = pl.read_parquet(shard).filter(pl.col("code") != "MEDS_BIRTH")
    pl.concat([rest] * (MANY // rest.height + 1)).write_parquet(shard)
    made = init_study.start(tmp_path / "study", [root], None, files.TODAY)
    said = f"row of the files (records.meds.data) {LEFT_OUT}: records.meds.birth_codes is MEDS_BIRTH."
    assert [doubt for doubt in made.doubts if f"No {said}" in doubt]
    assert [problem for problem in preflight.inspect(settings.load(made.settings)).problems if f"no {said}" in problem]


@pytest.mark.parametrize("largest", [births.LARGEST, 0])
@pytest.mark.parametrize("order", ["subject_id", "time", "code"])
def test_a_birth_may_be_in_another_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, largest: int
) -> None:
    """Shards may be cut at a number of rows, divide time, or hold a table each; only subjects without any birth are said."""
    monkeypatch.setattr(births, "LARGEST", largest)
    root = tmp_path / "set"
    root.mkdir()
    files.meds(root)
    (shard,) = (root / "data").iterdir()
    table = pl.read_parquet(shard).sort(order, "subject_id")
    shard.unlink()
    size = table.height // 3 + 1
    for number in range(3):
        table.slice(number * size, size).write_parquet(root / f"data/{number}.parquet")
    made = settings.load(init_study.start(tmp_path / "study", [root], None, files.TODAY).settings)
    assert looked(made).warnings == []
    without = table["subject_id"].unique().sort().head(12).implode()
    for path in sorted((root / "data").iterdir()):
        rows = pl.read_parquet(path)
        rows.filter((pl.col("code") != "MEDS_BIRTH") | ~pl.col("subject_id").is_in(without)).write_parquet(path)
    people = table["subject_id"].n_unique()
    told = [f"12 of the {people} subjects have no row of a birth with a date"] if largest else []
    assert [one[: len(told[0])] for one in looked(made).warnings if largest] == told
