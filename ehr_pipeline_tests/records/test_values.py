"""Words for 'no value', and how a sex is written."""

import dataclasses
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.checks.model import Outcome
from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.records import build, values
from ehr_pipeline.records.layouts import EventColumns, EventFiles, PatientColumns, PatientFiles, setting
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.terminology import rrf
from ehr_pipeline_tests.conftest import records_settings, tiny_settings, unpublished
from ehr_pipeline_tests.records.sources.reading import folder as write_folder
from ehr_pipeline_tests.records.sources.reading import parquet, read, rows

Landing = Callable[..., Path]
CODE = "9014002"


def sexes(given: list[str], named: dict[str, str] | None = None) -> list[str]:
    """What is read of each value; '?' stands for what nobody can read."""
    column = values.sex(pl.col("sex"), named or {}).str.replace(r"^\x00.*", "?")
    return pl.DataFrame({"sex": given}).select(column).to_series().to_list()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["M", "m", "Male", "MALE", " male", "man"], "M"),
        (["F", "f", "Female", "FEMALE", "female ", "Woman", "W"], "F"),
        (["", "U", "Unknown", "not known", "Not-Known", "NOT_KNOWN", "unk", "other", "X", "Indeterminate"], ""),
        (["1", "2", "H", "Weiblich", "Mal", "FM", "male female", "0"], "?"),
    ],
)
def test_usual_spellings_in_any_case(written: list[str], meant: str) -> None:
    assert set(sexes(written)) == {meant}


def test_what_the_settings_say_of_a_value_comes_first() -> None:
    named = {"1": "Male", "2": "F", "X": "X", "f": "M", "V": "woman", "9": "unknown"}
    given = ["1", "1.0", "2.00", " 2", "X", "x", "f", "F", "v", "9", "9.0", "3", "12"]
    assert sexes(given, named) == ["M", "M", "F", "F", "X", "X", "M", "M", "F", "", "", "?", "?"]


def extract(landing: Landing, tmp_path: Path, sex: list[str], **files: Any) -> tuple[dict[str, Any], Artifact]:
    """Counts and artifact of an extract of patients with these values, each with an event."""
    people = "id\tyear\tsex\n" + "".join(f"{number}\t1950\t{value}\n" for number, value in enumerate(sex, start=1))
    events = "id\tdate\tcode\n" + "".join(f"{number}\t05/03/2001\t{CODE}\n" for number in range(1, len(sex) + 1))
    columns = PatientColumns(patient="id", birth_year="year", sex="sex")
    folder = landing(events, people)
    settings = records_settings(
        folder.parent, patients=(PatientFiles(files="patients*", columns=columns, **files),), buckets=4
    )
    out = tmp_path / "out"
    out.mkdir(parents=True)
    counts = build.build(folder, settings, out)
    return counts, Artifact(out, unpublished(out).manifest | {"counts": counts})


def outcome(artifact: Artifact, folder: Path) -> tuple[Outcome, bool]:
    study = tiny_settings(folder)
    (check,) = (check for check in ASSETS["raw_records"].all_checks if check.name == "values_understood")
    passed, message, figures = check.test(artifact, None, study)  # type: ignore[arg-type]
    return Outcome(check.name, passed, message, True, figures), check.only_warns(artifact, study)


def test_values_that_nobody_can_read_are_counted_over_all_buckets(landing: Landing, tmp_path: Path) -> None:
    counts, artifact = extract(landing, tmp_path, ["M", "f"] * 20 + ["2"] * 12 + ["Weib"] * 3)
    assert counts["patients"]["sex_not_understood"] == 15
    assert counts["patients"]["kept"] == 55
    assert json.loads((artifact.path / values.FILE).read_text()) == {"sex": {"2": 12, "Weib": 3}}
    people = pl.concat(pl.DataFrame(schemas.read(path)) for path in artifact.files("patients"))
    assert sorted(people["sex"]) == [""] * 15 + ["F"] * 20 + ["M"] * 20


def test_values_are_named_only_where_enough_patients_have_them(landing: Landing, tmp_path: Path) -> None:
    _, artifact = extract(landing, tmp_path, ["M"] * 20 + ["2"] * 12 + ["Weib"] * 3)
    found, only_warns = outcome(artifact, tmp_path)
    assert not found.passed
    assert not only_warns
    assert "sex: about 20 (50.0%) values are not understood" in found.message
    assert "('2'); give its meaning in sex_values, such as {2 = \"F\"} (of the patient files)" in found.message
    assert "Weib" not in found.message


@pytest.mark.parametrize(
    ("right", "wrong", "only_warns"), [(990, 10, False), (991, 9, True), (1_990, 10, True), (3, 9, True)]
)
def test_few_warn_and_one_in_a_hundred_stop(
    landing: Landing, tmp_path: Path, right: int, wrong: int, only_warns: bool
) -> None:
    _, artifact = extract(landing, tmp_path, ["F"] * right + ["?"] * wrong)
    found, warns = outcome(artifact, tmp_path)
    assert not found.passed
    assert warns == only_warns
    hidden = all(Guard(below=10).number(figure) is None for figure in found.figures.values())
    assert ("fewer than 10" in found.message, hidden) == (wrong < 10, wrong < 10)
    _, good = extract(landing, tmp_path / "good", ["F"] * 10 + ["unknown"] * 10)
    assert outcome(good, tmp_path)[0].passed


def test_a_column_of_another_kind_does_not_fill_the_counts(landing: Landing, tmp_path: Path) -> None:
    counts, artifact = extract(landing, tmp_path, [f"id {number}" for number in range(1_000)])
    assert counts["patients"]["sex_not_understood"] == 1_000
    assert len(values.read_unknown(artifact.path)) <= 4 * values.MAX_VALUES


def test_dates_of_observation_that_cannot_be_read_are_told(landing: Landing, tmp_path: Path) -> None:
    folder = landing(f"id\tdate\tcode\n1\t05/03/2001\t{CODE}\n", "id\tyear\tdeath\n1\t1950\tyes\n2\t1960\tNULL\n")
    columns = PatientColumns(patient="id", birth_year="year", observation_ends=("death",))
    settings = records_settings(folder.parent, patients=(PatientFiles(files="patients*", columns=columns),))
    (tmp_path / "out").mkdir()
    counts = build.build(folder, settings, tmp_path / "out")
    found, _ = outcome(Artifact(tmp_path / "out", {"counts": counts}), tmp_path)
    assert counts["patients"]["unusable_observation_dates"] == 1
    assert "dates of observation: fewer than 10 values are not understood" in found.message


WORDS = [*values.NO_VALUE, ""]


@pytest.mark.parametrize("word", WORDS)
def test_words_for_no_value_are_none_in_every_column(landing: Landing, tmp_path: Path, word: str) -> None:
    """Beside plain numbers, which go a faster way, and in rows of text ids."""
    good = f"1\t05/03/2001\t{CODE}\t\na1\t05/03/2001\t{CODE}\t\n"
    bad = f"{word}\t05/03/2001\t{CODE}\t\n" + "".join(
        f"{who}\t{word}\t{CODE}\t\n{who}\t05/03/2001\t{word}\t{word}\n{who}\t06/03/2001\t{word}\t{CODE}\n"
        for who in ("1", "a1")
    )
    columns = EventColumns(patient="id", date="date", code="code", code_fallback="second")
    people = PatientColumns(patient="id", birth_year="year", sex="sex", observation_ends=("end",))
    folder = landing(
        f"id\tdate\tcode\tsecond\n{good}{bad}",
        f"id\tyear\tsex\tregion\tend\n1\t1950\t{word}\t{word}\t{word}\na1\t1950\tM\tLeeds\t01/01/2010\n"
        f"{word}\t1950\tM\tLeeds\t\n3\t{word}\tM\tLeeds\t\n",
    )
    settings = records_settings(
        folder.parent,
        events=(EventFiles(files="events*", columns=columns),),
        patients=(PatientFiles(files="patients*", columns=people, attributes={"region": "region"}),),
    )
    (tmp_path / "out").mkdir()
    counts = build.build(folder, settings, tmp_path / "out")
    assert counts["dropped"] == {"missing_patient": 1, "missing_date": 2, "missing_code": 2}
    assert counts["kept"] == 4
    assert counts["patients"]["dropped"] == {"missing_birth": 1, "missing_patient": 1}
    assert counts["patients"]["unusable_observation_dates"] == counts["patients"]["sex_not_understood"] == 0
    one, other = rows(tmp_path / "out", "patients")
    assert one[3:6] == ("", None, "")
    assert other[3:6] == ("M", "2010-01-01", "Leeds")


def test_words_are_compared_whole_and_are_a_setting(landing: Landing, tmp_path: Path) -> None:
    """'9999' stands among plain numbers, 'NA' is somebody's id where the study says so, and 'none' a treatment."""
    folder = landing(
        f"id\tdate\tcode\n9999\t05/03/2001\t{CODE}\n1\t05/03/2001\t999999\n1\t05/03/2001\t{CODE}\nNA\t05/03/2001\t{CODE}\n",
        "id\tyear\tregion\n1\t1950\tnone\n9999\t1950\tNAMIBIA\nNA\t1950\tNULL island\n",
    )
    columns = PatientColumns(patient="id", birth_year="year")
    patients = (PatientFiles(files="patients*", columns=columns, attributes={"region": "region"}),)
    settings = records_settings(folder.parent, patients=patients, no_value=("9999", "999999"))
    (tmp_path / "out").mkdir()
    counts = build.build(folder, settings, tmp_path / "out")
    assert counts["dropped"] == {"missing_code": 1, "missing_patient": 1}
    assert [row[4] for row in rows(tmp_path / "out", "patients")] == ["none", "NULL island"]


def test_names_of_vocabularies_are_read_as_they_are(tmp_path: Path) -> None:
    """'NA' is the name of an answer in LOINC, 'None' of one in SNOMED."""
    fields = [""] * len(rrf.MRCONSO)
    for name, value in {"CUI": "C1", "LAT": "ENG", "TS": "P", "STT": "PF", "ISPREF": "Y", "SAB": "LNC"}.items():
        fields[rrf.MRCONSO.index(name)] = value
    fields[rrf.MRCONSO.index("STR")] = "NA"
    path = tmp_path / "MRCONSO.RRF"
    path.write_text("|".join(fields) + "|\n")
    assert rrf.scan(path, rrf.MRCONSO).collect()["STR"].to_list() == ["NA"]


def test_omop_reads_words_and_concepts_in_text_and_parquet(tmp_path: Path) -> None:
    extract = write_folder(
        tmp_path,
        person__csv="person_id,gender_concept_id,year_of_birth,month_of_birth,day_of_birth,race_source_value,"
        "ethnicity_source_value\n1,8507,1950,NULL,\\N,NA,x\n2,8532.0,1960,,,,\n3,8551,1960,,,,\n4,0,1960,,,,\n5,4711,1960,,,,\n",
        condition_occurrence__csv="person_id,condition_start_date,condition_concept_id,condition_source_concept_id\n"
        "1,2010-01-01,NULL,317009\nNULL,2010-01-01,317009,0\n2,\\N,317009,0\n",
    )
    parquet(
        extract / "observation.parquet",
        person_id=[1, 2],
        observation_date=["NaT", "2011-01-01"],
        observation_concept_id=["317009", "NULL"],
        observation_source_concept_id=["0", "140168"],
    )
    counts = read(extract, tmp_path / "out", source="omop")
    assert counts["dropped"] == {"missing_date": 2, "missing_patient": 1}
    assert [row[-1] for row in rows(tmp_path / "out", "events")] == ["omop:317009", "omop:140168"]
    people = rows(tmp_path / "out", "patients")
    assert [(row[0], row[3]) for row in people] == [("1", "M"), ("2", "F"), ("3", ""), ("4", ""), ("5", "")]
    assert people[0][2] == "year"
    assert counts["patients"]["sex_not_understood"] == 1


def test_meds_reads_a_sex_alike(tmp_path: Path) -> None:
    born, seen = datetime.datetime(1950, 1, 2), datetime.datetime(2001, 3, 5)
    extract = write_folder(tmp_path)
    told = ["GENDER//female", "SEX//8507.0", "GENDER//Unknown", "GENDER//NULL", "GENDER//Femme"]
    ids = list(range(1, 6))
    parquet(
        extract / "data/0.parquet",
        subject_id=ids * 3,
        time=[None] * 5 + [born] * 5 + [seen] * 5,
        code=[*told, *["MEDS_BIRTH"] * 5, *[f"SNOMED//{CODE}"] * 5],
    )
    counts = read(extract, tmp_path / "out", source="meds")
    assert counts["patients"]["sex_not_understood"] == 1
    assert [row[3] for row in rows(tmp_path / "out", "patients")] == ["F", "M", "", "", ""]


@pytest.mark.parametrize(
    ("names", "practice"),
    [
        (("region", "Hospital"), "Hospital"),
        (("hospital_id", "PracticeID"), "PracticeID"),
        (("care_site_id",), "care_site_id"),
        (("GPId",), "GPId"),
        (("registered_practice",), "registered_practice"),
        (("tumour_site", "clinical_trial", "previous_practice", "website", "organ"), ""),
        ((), ""),
    ],
)
def test_the_column_of_the_practice_is_known_by_its_name(names: tuple[str, ...], practice: str) -> None:
    assert values.called_practice(names) == practice


@pytest.mark.parametrize("source", ["cprd_aurum", "omop", "meds"])
def test_known_layouts_have_the_setting_that_messages_name(source: Any) -> None:
    own = getattr(RecordsSettings(landing="."), source)
    records = RecordsSettings(landing=".", source=source, **{source: dataclasses.replace(own, sex_values={"7": "F"})})
    (kind,) = (kind for kind in records.kinds.patients if kind.files.columns.sex)
    assert kind.files.sex_values["7"] == "F"
    assert len(kind.files.sex_values) > 1, "those of the layout stay"
    assert setting(kind.where, "sex_values") == f"records.{source}.sex_values" == records.sex_values[0]
