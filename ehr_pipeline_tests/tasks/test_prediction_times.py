"""Files of patients and times: what is read, and how what cannot be read is told."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tasks import meds, prediction_times
from ehr_pipeline.tasks.prediction_times import Names

NAMES = Names(("person", "patient_id"), ("event_date",), ("%d/%m/%Y", "iso"))


def days(*texts: str) -> list[int]:
    return np.array(texts, "datetime64[D]").astype(int).tolist()


def written(folder: Path, text: str) -> Path:
    path = folder / "asked.csv"
    path.write_text(text)
    return path


def test_the_columns_of_the_study(tmp_path: Path) -> None:
    """Ids stay text, a day counts as read, and a patient stands there as often as asked for."""
    found = prediction_times.read(
        written(tmp_path, "event_date,more,person\n02/01/2010,x,007\n2012-05-01,,9\n02/01/2010,,007\n"), NAMES
    )
    assert found.ids.to_pylist() == ["007", "9", "007"]
    assert found.last_day.tolist() == days("2010-01-02", "2012-05-01", "2010-01-02")
    assert found.label is None
    assert found.rows(pa.array(["9", "7"]), None).tolist() == [-1, 0, -1]


def test_the_label_schema_of_meds(tmp_path: Path) -> None:
    """A time at midnight is the beginning of its day, whose events are not known then."""
    rows = "7,2012-05-01,true\n8,2012-05-01T23:59:59.999999,FALSE\n8,2012-05-01 10:00:00+01:00,0\n"
    text = f"subject_id,prediction_time,boolean_value\n{rows}"
    found = prediction_times.read(written(tmp_path, text))
    assert found.last_day.tolist() == days("2012-04-30", "2012-05-01", "2012-04-30")
    assert found.label is not None
    assert found.label.tolist() == [True, False, False]
    key = Key(b"k" * 32)
    ids = pa.array(["a", "7", "b"])
    assert found.rows(ids, key).tolist() == [1, -1, -1]
    of_export = written(tmp_path, f"subject_id,prediction_time\n{meds.subject_id('b', key)},2012-05-01\n")
    assert prediction_times.read(of_export).rows(ids, key).tolist() == [2]
    assert prediction_times.read(of_export).rows(ids, None).tolist() == [-1]


def test_parquet_of_several_types(tmp_path: Path) -> None:
    frame = pl.DataFrame({"person": [7, 8], "event_date": ["2012-05-01", "2013-01-01"]})
    for dtype in (pl.Date, pl.Datetime("ns"), pl.String):
        frame.with_columns(pl.col("event_date").str.to_date().cast(dtype)).write_parquet(tmp_path / "asked.parquet")
        found = prediction_times.read(tmp_path / "asked.parquet", NAMES)
        assert found.ids.to_pylist() == ["7", "8"]
        assert found.last_day.tolist() == days("2012-05-01", "2013-01-01")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the file is empty. Write a header"),
        ("person,event_date\n", "the file has no row"),
        ("person\nsecret\n", "needs a column person or patient_id or subject_id, and a column event_date or prediction_time"),
        ("person,event_date\nsecret,2012-01-01\n ,2012-01-01\n", "row 2 below the header, column person: it is empty. Write ids"),
        (
            "person,event_date\nsecret,2012-01-01\nsecret,2012-31-01\nsecret,1x\n",
            "row 2 below the header, column event_date: it is not a date, as in 1 further rows. Write YYYY-MM-DD",
        ),
        ("subject_id,prediction_time\n7,noon\n", "row 1 below the header, column prediction_time: it is not a time"),
        ("subject_id,prediction_time\nsecret,2012-01-01\n", "column subject_id: it is not a whole number"),
        ("subject_id,prediction_time,boolean_value\n7,2012-01-01,secret\n", "column boolean_value: it is not true or false"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_row_and_column_without_its_content(tmp_path: Path, text: str, why: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as failed:
        prediction_times.read(path, NAMES)
    assert why in str(failed.value)
    assert str(path) in str(failed.value)
    assert "secret" not in str(failed.value)


def test_a_date_of_two_meanings_is_not_guessed(tmp_path: Path) -> None:
    both = Names(("person",), ("event_date",), ("%d/%m/%Y", "%m/%d/%Y"))
    path = written(tmp_path, "person,event_date\n7,13/02/2010\n7,01/02/2010\n")
    with pytest.raises(InputError, match="row 2 below the header, column event_date"):
        prediction_times.read(path, both)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "asked.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="cannot be read as CSV or Parquet"):
        prediction_times.read(tmp_path / "asked.parquet")
    for name in ("nowhere.parquet", "nowhere.csv"):
        with pytest.raises(InputError, match="this file does not exist"):
            prediction_times.read(tmp_path / name)
