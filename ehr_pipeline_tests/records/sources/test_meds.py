"""MEDS 0.4: one file of rows tells of patients and of events."""

import dataclasses
import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ehr_pipeline.checks import data as data_checks
from ehr_pipeline.checks import lost_rows
from ehr_pipeline.errors import InputError
from ehr_pipeline.planning import births
from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline.records import check_first_rows
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.records.sources.meds import Meds
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline_tests.conftest import tiny_settings, unpublished
from ehr_pipeline_tests.records.sources.reading import folder, parquet, read, rows

BORN, SEEN, DEAD = (datetime.datetime(year, 3, 4, 5, 6) for year in (1950, 2001, 2010))
Row = tuple[int | None, datetime.datetime | None, str]


def shard(path: Path, data: list[Row]) -> None:
    subject, time, code = zip(*data, strict=True)
    parquet(
        path,
        subject_id=pa.array(subject, pa.int64()),
        time=pa.array(time, pa.timestamp("us")),
        code=pa.array(code, pa.string()),
        numeric_value=pa.nulls(len(data), pa.float32()),
    )


@pytest.fixture
def meds_set(tmp_path: Path) -> Path:
    extract = folder(tmp_path)
    shard(
        extract / "data/train/0.parquet",
        [
            (1, None, "GENDER//F"),
            (1, None, "RACE//white"),
            (1, None, "EYE_COLOUR//blue"),  # row 3: known by no option
            (1, BORN, "MEDS_BIRTH"),
            (1, SEEN, "SNOMED//9014002"),
            (1, SEEN, "SNOMED/195967001"),
            (1, SEEN, "LOINC//8331-1//high"),
            (1, SEEN, "plain code"),
            (1, DEAD, "MEDS_DEATH"),
        ],
    )
    shard(
        extract / "data/tuning/0.parquet",
        [
            (-2, None, "GENDER//M"),
            (-2, None, "MEDS_BIRTH"),  # row 2: a birth without a time
            (-2, SEEN, "SNOMED//24079001"),  # nobody knows when -2 was born
            (3, BORN, "MEDS_BIRTH"),
            (3, datetime.datetime(1940, 1, 1), "SNOMED//24079001"),
            (None, SEEN, "SNOMED//24079001"),
        ],
    )
    parquet(extract / "metadata/subject_splits.parquet", subject_id=[1, 3], split=["train", "tuning"])
    return extract


def test_rows_are_events_or_tell_of_patients(meds_set: Path, tmp_path: Path) -> None:
    counts = read(meds_set, tmp_path / "out", source="meds", meds=Meds(splits="split"))
    assert rows(tmp_path / "out", "events") == [
        ("1", "2001-03-04", "195967001"),
        ("1", "2001-03-04", "9014002"),
        ("1", "2001-03-04", "LOINC:8331-1//high"),
        ("1", "2001-03-04", "meds:plain_code"),
    ]
    # id, birth, precision, sex, day of death, ethnicity, end of observation, race, split
    assert rows(tmp_path / "out", "patients") == [
        ("1", "1950-03-04", "day", "F", "2010-03-04", "", "2010-03-04", "white", "train"),
        ("3", "1950-03-04", "day", "", None, "", None, "", "tuning"),
    ]
    one, two = "data/train/0.parquet", "data/tuning/0.parquet"
    assert rows(tmp_path / "out", "quarantine") == [
        (one, 3, "no_time"),
        (two, 1, "adds_to_no_patient"),
        (two, 2, "no_time"),
        (two, 3, "unknown_patient"),
        (two, 5, "before_birth"),
        (two, 6, "missing_patient"),
    ]
    assert (counts["rows_in"], counts["patients"]["rows_in"]) == (8, 7 + 2), (
        "every row is of one of both, and two of splits"
    )


def test_codes_of_one_subject_that_contradict_each_other_are_counted_and_the_check_warns(tmp_path: Path) -> None:
    """As rows of a patient file are; of several dates, the first is kept; other values are unknown."""
    later = datetime.datetime(2011, 1, 1)
    data: list[Row] = [(number, BORN, "MEDS_BIRTH") for number in range(1, 40)]
    data += [(number, None, f"GENDER//{sex}") for number in range(1, 31) for sex in ("M", "F")]
    data += [
        (31, None, "GENDER//F"),
        (31, SEEN, "GENDER//female"),
        (32, None, "GENDER//M"),
        (32, None, "GENDER//unknown"),
    ]
    data += [(33, None, "RACE//white"), (33, SEEN, "RACE//asian"), (34, later, "MEDS_DEATH"), (34, DEAD, "MEDS_DEATH")]
    data += [
        (35, later, "MEDS_BIRTH"),
        (36, DEAD, "MEDS_DEATH"),
        (36, DEAD, "MEDS_DEATH"),
        (36, SEEN, "SNOMED//9014002"),
    ]
    for place, order in (("one", data), ("two", data[::-1])):
        extract, out = folder(tmp_path / place), tmp_path / place / "out"
        shard(extract / "data/0.parquet", order)
        counts = read(extract, out, source="meds")
        assert counts["patients"]["differing"] == {"birth": 1, "death_date": 1, "race": 1, "sex": 30}
        told = {row[0]: row for row in rows(out, "patients")}
        assert [told[str(number)][3] for number in (1, 30, 31, 32)] == ["", "", "F", "M"]
        assert told["33"][7] == ""
        assert (told["34"][4], told["35"][1]) == ("2010-03-04", "1950-03-04")
        artifact = Artifact(out, unpublished(out).manifest | {"counts": counts})
        passed, message, _ = data_checks.patients_consistent(artifact, None, tiny_settings(tmp_path))  # type: ignore[arg-type]
        assert not passed
        assert "rows with different values; the values are treated as unknown: " in message
        assert "sex (about 30)" in message


def test_a_word_for_the_sex_is_named_in_the_settings_that_messages_tell(tmp_path: Path) -> None:
    extract = folder(tmp_path)
    data: list[Row] = [(number, BORN, "MEDS_BIRTH") for number in range(20)]
    data += [(number, SEEN, "SNOMED//9014002") for number in range(20)]
    shard(extract / "data/0.parquet", data + [(number, None, "GENDER//weiblich") for number in range(20)])
    told = 'give its meaning in records.meds.sex_values, such as {weiblich = "F"}'
    records = RecordsSettings(landing=str(extract.parent), source="meds")
    (kind,) = records.kinds.patients
    (path,) = extract.rglob("*.parquet")
    assert told in check_first_rows.first_rows(path, kind).sample.sex
    counts = read(extract, tmp_path / "out", source="meds")
    assert counts["patients"]["sex_not_understood"] == 20
    study = dataclasses.replace(tiny_settings(tmp_path), records=records)
    artifact = Artifact(tmp_path / "out", unpublished(tmp_path / "out").manifest | {"counts": counts})
    _, message, _ = lost_rows.values_understood(artifact, None, study)  # type: ignore[arg-type]
    assert told in message
    assert "patient files" not in message
    counts = read(extract, tmp_path / "again", source="meds", meds=Meds(sex_values={"weiblich": "F"}))
    assert counts["patients"]["sex_not_understood"] == 0
    assert {row[3] for row in rows(tmp_path / "again", "patients")} == {"F"}


def test_subjects_without_a_birth_are_counted_and_named(tmp_path: Path) -> None:
    """By `check`, and by the check of the records, with the setting that could help."""
    extract = folder(tmp_path)
    data: list[Row] = [(number, None, f"SEX_AT_BIRTH//{'MF'[number % 2]}") for number in range(100)]
    data += [(number, BORN, "MEDS_BIRTH") for number in range(60)]
    data += [(number, SEEN, code) for number in range(100) for code in ("SNOMED//9014002", "SNOMED//195967001")]
    shard(extract / "data/0.parquet", sorted(data, key=lambda row: (row[0], str(row[1]))))
    records = RecordsSettings(landing=str(extract.parent), source="meds")
    (kind,), (path,) = records.kinds.patients, extract.rglob("*.parquet")
    (sex,) = check_first_rows.first_rows(path, kind).sample.notes
    found = Preflight()
    births.look(dataclasses.replace(tiny_settings(tmp_path), records=records), found)
    assert found.warnings[0].startswith("40 of the 100 subjects have no row of a birth with a date")
    assert "records.meds.birth_codes is MEDS_BIRTH" in found.warnings[0]
    assert 'set records.meds.sex_prefixes = ["GENDER//", "SEX//", "SEX_AT_BIRTH//"]' in sex
    own = Meds(sex_prefixes=("SEX_AT_BIRTH//",))
    counts = read(extract, tmp_path / "out", source="meds", meds=own)
    assert counts["dropped"] == {"unknown_patient": 80}
    assert (counts["patients"]["kept"], counts["patients"]["unknown_patients"]) == (60, 40)
    assert {row[3] for row in rows(tmp_path / "out", "patients")} == {"M", "F"}
    study = dataclasses.replace(tiny_settings(tmp_path), records=dataclasses.replace(records, meds=own))
    artifact = Artifact(tmp_path / "out", unpublished(tmp_path / "out").manifest | {"counts": counts})
    passed, message, _ = lost_rows.rejected_rows(artifact, None, study)  # type: ignore[arg-type]
    assert not passed
    assert "about 40 patients have events but no usable patient row; about 60 patients have one." in message
    assert "Add the code of a birth" in message


def test_columns_that_nobody_named_may_be_empty(tmp_path: Path) -> None:
    """Deaths, race and ethnicity are read where a data set has them; what the settings name is missed."""
    extract = folder(tmp_path)
    shard(
        extract / "data/0.parquet",
        [(n, time, code) for n in range(20) for time, code in ((BORN, "MEDS_BIRTH"), (SEEN, "a"))],
    )
    for own, told in ((Meds(), ("sex",)), (Meds(attributes={"plan": "PLAN//"}), ("plan", "sex"))):
        records = RecordsSettings(landing=str(extract.parent), source="meds", meds=own)
        counts = read(extract, out := tmp_path / str(len(told)), source="meds", meds=own)
        study = dataclasses.replace(tiny_settings(tmp_path), records=records)
        artifact = Artifact(out, unpublished(out).manifest | {"counts": counts})
        passed, message, _ = lost_rows.columns_filled(artifact, None, study)  # type: ignore[arg-type]
        assert not passed
        assert message.startswith(
            f"no patient has a value for {', '.join(told)}. Check that the codes for sex begin with"
        )


def test_the_value_of_a_code_stands_after_its_prefix(tmp_path: Path) -> None:
    extract = folder(tmp_path)
    data: list[Row] = [
        (1, BORN, "MEDS_BIRTH"),
        (1, SEEN, "a"),
        (1, None, "DEMO//SEX//F"),
        (1, None, "Race/Black/African"),
    ]
    shard(extract / "data/0.parquet", data)
    own = Meds(sex_prefixes=("DEMO//SEX//",), attributes={"race": "Race/"})
    read(extract, tmp_path / "out", source="meds", meds=own)
    (patient,) = rows(tmp_path / "out", "patients")
    assert (patient[3], patient[6]) == ("F", "Black/African")


def test_the_size_of_blocks_changes_nothing(meds_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(meds_set, tmp_path / "one", source="meds")
    monkeypatch.setattr("ehr_pipeline.records.parquet.ROW_BYTES", 1 << 20)
    read(meds_set, tmp_path / "two", source="meds", block_megabytes=1)
    for path in (tmp_path / "one").rglob("*.arrow"):
        if path.parent.name != "quarantine":
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
    assert rows(tmp_path / "one", "quarantine") == rows(tmp_path / "two", "quarantine")


def test_what_was_exported_can_be_read_again(tiny: Pipeline, tmp_path: Path) -> None:
    from ehr_pipeline.export import meds
    from ehr_pipeline.store.secret_key import Key

    out = folder(tmp_path) / "set"
    current = tiny.store.current
    made = current("mapped_events"), current("patient_dataset"), current("data_split")
    told = meds.export(made, "Tiny", Key(bytes(32)), out)
    options: dict[str, Any] = {"data": "set/data/**/*.parquet", "snomed_prefixes": ("SNOMED//",)}
    attributes = {name: f"{name.upper()}//" for name in ("region", "practice", "treatment", "ethnicity")}
    counts = read(out.parent, tmp_path / "out", source="meds", meds=Meds(**options, attributes=attributes))
    assert counts["patients"]["kept"] == told["subjects"]
    assert counts["rows_in"] == told["kept"]
    # Births known to the year stand at its middle in MEDS, so that events of the year's first half come before them.
    assert set(counts["dropped"]) <= {"before_birth"}
    assert counts["kept"] > 0.97 * told["kept"]


def test_a_damaged_or_wrong_file_is_told(meds_set: Path, tmp_path: Path) -> None:
    path = meds_set / "data/tuning/0.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"tuning/0.parquet: not a Parquet file, or truncated"):
        read(meds_set, tmp_path / "out", source="meds")
    parquet(path, subject_id=[1], moment=[BORN], code=["x"])
    with pytest.raises(
        InputError, match=r"no column 'time' \(records.meds.data: date\). The file has: subject_id, moment, code"
    ):
        read(meds_set, tmp_path / "again", source="meds")
