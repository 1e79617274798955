"""The rows of patient files become one row per patient."""

import datetime

import polars as pl

from ehr_pipeline.records import merge_patients


def table(*rows: tuple[str, str | None, str, str, str | None]) -> pl.DataFrame:
    """Rows of patient, birth, sex, region and end of observation."""
    names = ["patient_id", "birth_date", "birth_precision", "sex", "observation_end", "region"]
    frame = pl.DataFrame(
        [(patient, birth, "day" if birth else "", sex, end, region) for patient, birth, sex, region, end in rows],
        schema=dict.fromkeys(names, pl.String),
        orient="row",
    )
    return frame.with_columns(pl.col("birth_date", "observation_end").str.to_date("%Y-%m-%d"))


def test_one_row_each_whatever_the_order() -> None:
    born = "1950-01-02"
    frame = table(
        *((patient, born, sex, "", None) for patient, sex in (("2", "M"), ("1", "F"), ("2", "F"), ("2", "F")))
    )
    for rows in (frame, frame.reverse()):
        merged = merge_patients.merge_rows(rows)
        assert list(merged.people.select("patient_id", "sex").iter_rows()) == [("1", "F"), ("2", "")]
        assert (merged.repeated, merged.differing, merged.orphans.sum()) == (2, {"sex": 1}, 0)


def test_rows_without_a_birth_add_what_is_not_known() -> None:
    frame = table(
        ("1", "1950-01-02", "", "", "2010-01-01"),
        ("1", None, "F", "", None),
        ("1", None, "M", "Wales", "2005-05-05"),
        ("2", "1960-01-02", "M", "", None),
        ("2", None, "F", "", None),
        ("3", None, "F", "London", "2001-01-01"),
        ("3", None, "M", "London", "2001-01-01"),  # nobody is patient 3, so that nobody's values differ
        ("4", "1960-01-02", "M", "Leeds", "2010-01-01"),
        ("4", None, "M", "Leeds", "2005-05-05"),
    )
    for rows in (frame, frame.reverse()):
        merged = merge_patients.merge_rows(rows)
        assert merged.people.drop("birth_date", "birth_precision").rows() == [
            ("1", "", datetime.date(2005, 5, 5), "Wales"),
            ("2", "", None, ""),
            ("4", "M", datetime.date(2005, 5, 5), "Leeds"),
        ]
        assert rows.filter(pl.Series(merged.orphans))["patient_id"].to_list() == ["3", "3"]
        assert (merged.repeated, merged.differing) == (4, {"sex": 2}), "an end that moves is no other view of a patient"


def test_patients_whose_rows_differ_are_counted_once_wherever_they_differ() -> None:
    """Rows that give the birth and rows that do not are of one patient: none of them may hide a difference."""
    born = "1950-01-02"
    frame = table(
        ("1", born, "F", "London", None),
        ("1", born, "M", "London", None),
        ("1", None, "M", "Leeds", None),
        ("2", born, "", "", None),
        ("2", "1960-01-02", "", "", None),
        ("2", None, "F", "Leeds", None),
        ("3", born, "", "", None),
        ("3", None, "F", "", None),
    )
    for rows in (frame, frame.reverse()):
        assert merge_patients.merge_rows(rows).differing == {"birth": 1, "sex": 1, "region": 1}


def test_of_several_deaths_the_earliest_counts() -> None:
    day = datetime.date
    told = [(day(1950, 7, 1), None), (None, datetime.date(2012, 1, 1)), (None, datetime.date(2011, 1, 1))]
    people = pl.DataFrame(
        {
            "patient_id": ["1"] * 3,
            "birth_date": [birth for birth, _ in told],
            "birth_precision": ["year", "", ""],
            "sex": [""] * 3,
            "death_date": [death for _, death in told],
            "observation_end": [death for _, death in told],
            "line": [0, 1, 2],
        }
    )
    merged = merge_patients.merge_rows(people).people
    assert merged.select("death_date", "observation_end").rows() == [(datetime.date(2011, 1, 1),) * 2]


def test_periods_of_observation_last_from_the_first_start_to_the_last_end() -> None:
    told = [  # patient, start, end
        *(("ends", 2005, 2006), ("ends", 2001, 2003)),
        *(("goes on", 2005, None), ("goes on", 2001, 2003)),
        *(("dies", 2001, 2003), ("dies", 2004, 2009), ("dies", None, 2008)),
        ("only dies", None, 2008),
    ]
    who = sorted({name for name, _, _ in told})
    rows = [(name, datetime.date(1950, 1, 1), "day", None, None) for name in who]
    rows += [
        (name, None, "", *(datetime.date(year, 1, 1) if year else None for year in years)) for name, *years in told
    ]
    columns = ("patient_id", "birth_date", "birth_precision", "observation_start", "observation_end")
    people = pl.DataFrame(rows, schema=columns, orient="row").with_columns(sex=pl.lit("")).with_row_index("line")
    for frame in (people, people.reverse()):
        merged = merge_patients.merge_rows(frame.select(*columns[:3], "sex", *columns[3:], "line"))
        assert merged.people.select("patient_id", *columns[3:]).rows() == [
            ("dies", datetime.date(2001, 1, 1), datetime.date(2008, 1, 1)),
            ("ends", datetime.date(2001, 1, 1), datetime.date(2006, 1, 1)),
            ("goes on", datetime.date(2001, 1, 1), None),
            ("only dies", None, datetime.date(2008, 1, 1)),
        ]
        assert not +merged.differing


def test_a_known_value_beats_an_empty_one_column_by_column() -> None:
    born, later = "1950-01-02", "1985-03-04"
    frame = table(
        ("1", born, "", "London", None),
        ("1", born, "F", "", "2010-01-01"),
        ("2", born, "M", "London", None),
        ("2", born, "F", "Leeds", None),
        ("3", born, "M", "", None),
        ("3", later, "M", "", None),
        ("4", born, "M", "", None),
    )
    for rows in (frame, frame.reverse(), frame.sample(fraction=1, shuffle=True, seed=3)):
        merged = merge_patients.merge_rows(rows)
        assert merged.people.select("patient_id", "sex", "region", pl.col("observation_end").dt.year()).rows() == [
            ("1", "F", "London", 2010),
            ("2", "", "", None),
            ("3", "M", "", None),
            ("4", "M", "", None),
        ]
        assert merged.differing == {"birth": 1, "sex": 1, "region": 1}
        assert merged.repeated == 3


def test_the_birth_that_is_known_best_is_kept_and_births_differ_only_where_they_contradict_each_other() -> None:
    frame = table(
        ("1", "1950-07-01", "", "", None),
        ("1", "1950-03-04", "", "", None),
        ("2", "1950-07-01", "", "", None),
        ("2", "1951-03-04", "", "", None),
    )
    frame = frame.with_columns(birth_precision=pl.Series(["year", "day", "year", "day"]))
    merged = merge_patients.merge_rows(frame)
    assert merged.people["birth_date"].dt.to_string("%Y-%m-%d").to_list() == ["1950-03-04", "1951-03-04"]
    assert merged.people["birth_precision"].to_list() == ["day", "day"]
    assert merged.differing == {"birth": 1}
