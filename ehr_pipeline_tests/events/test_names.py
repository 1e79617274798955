"""Names of codes from tables of the data's own."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.events import names
from ehr_pipeline.events.mapping import map_by_files
from ehr_pipeline.events.settings import EventsSettings, TableOfNames


def named(codes: list[str], *tables: Path | TableOfNames) -> dict[str, str | None]:
    given = tuple(TableOfNames(file=str(one)) if isinstance(one, Path) else one for one in tables)
    table = map_by_files(pl.Series(codes), EventsSettings(unmapped="keep", names=given))
    return dict(table.select("concept", "name").iter_rows())


def test_codes_of_a_meds_data_set_have_the_names_of_its_metadata(tmp_path: Path) -> None:
    codes = ["ICD10CM//E11.9", "SNOMED//9014002", "plain code", "LOINC//1-8", "LOINC//2-6"]
    description = ["Type 2 diabetes", "Psoriasis", "A plain one", "", None]
    pl.DataFrame({"code": codes, "description": description}).write_parquet(tmp_path / "codes.parquet")
    assert named(
        ["9014002", "ICD10CM:E11.9", "LOINC:1-8", "LOINC:2-6", "meds:plain_code"], tmp_path / "codes.parquet"
    ) == {
        "SCT:9014002": "Psoriasis",
        "ICD10CM:E11.9": "Type 2 diabetes",
        "meds:plain_code": "A plain one",
        "LOINC:1-8": None,
        "LOINC:2-6": None,
    }


def test_concepts_of_the_same_name_are_told_apart_by_their_codes(tmp_path: Path) -> None:
    codes = [
        "LAB//RESULT//1//mg/dL",
        "LAB//SPECIMEN_COLLECTED//1",
        "DIAGNOSIS//ICD//9//4019",
        "DIAGNOSIS//ICD//10//I10",
    ]
    description = ["Creatinine", "Creatinine", "Hypertension", "Essential hypertension"]
    pl.DataFrame({"code": codes, "description": description}).write_parquet(tmp_path / "codes.parquet")
    recorded = [*(code.replace("//", ":", 1) for code in codes), "DIAGNOSIS:ICD//9//401.9"]
    assert named(recorded, tmp_path / "codes.parquet") == {
        "LAB:RESULT//1//mg/dL": "Creatinine (LAB:RESULT//1//mg/dL)",
        "LAB:SPECIMEN_COLLECTED//1": "Creatinine (LAB:SPECIMEN_COLLECTED//1)",
        "ICD9:401.9": "Hypertension",
        "ICD10:I10": "Essential hypertension",
    }


def test_a_file_of_events_can_name_its_codes(tmp_path: Path) -> None:
    """The name that most of a code's rows have. A column of remarks names nothing: they may tell of patients."""
    rows = [
        "CODE;Patient;DESCRIPTION",
        "E11.9;1;Diabetes",
        "E11.9;2;Diabetes",
        "E11.9;3;diabetes, see Mr X",
        "J45;1;Asthma",
    ]
    rows += [f"I10;{number};seen on day {number}" for number in range(3)]
    with gzip.open(tmp_path / "events.csv.gz", "wt") as stream:
        stream.write("\n".join([*rows, ""]))
    (tmp_path / "more.txt").write_text("code\tname\nI10\tHypertension\nJ45\tanother name\n")
    codes = ["icd10:E11.9", "icd10:I10", "icd10:J45"]
    assert named(codes, tmp_path / "events.csv.gz") == dict(zip(codes, ("Diabetes", None, "Asthma"), strict=True))
    both = named(codes, tmp_path / "events.csv.gz", tmp_path / "more.txt")
    assert both == dict(zip(codes, ("Diabetes", "Hypertension", "Asthma"), strict=True)), "the first table counts"
    assert named(["icd10:I10", "other:I10"], tmp_path / "more.txt") == {"icd10:I10": None, "other:I10": None}, (
        "a code without its system may be of either"
    )


def test_a_table_without_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("code,meaning\nI10,x\n")
    with pytest.raises(InputError, match=r"a.csv \(events.names\): a table of names has the column 'code' and one of"):
        names.has_names(TableOfNames(file=str(tmp_path / "a.csv")))
    with pytest.raises(InputError, match=r"b.csv \(events.names\): there is no such file"):
        names.has_names(TableOfNames(file=str(tmp_path / "b.csv")))
    assert not names.is_names_table(tmp_path / "a.csv")


def test_a_table_may_call_its_columns_otherwise_and_hold_codes_of_several_systems(tmp_path: Path) -> None:
    """Also in Latin-1, whose letters were lost."""
    text = "DiagCd;Libellé\nE11.9;Diabète\nA10BA02;Metformine\n"
    (tmp_path / "codes.csv").write_bytes(text.encode("latin-1"))

    def table(system: str) -> TableOfNames:
        path = str(tmp_path / "codes.csv")
        return TableOfNames(file=path, code_column="DiagCd", name_column="Libellé", code_system=system)

    codes = ["icd10:E11.9", "atc:A10BA02"]
    assert named(codes, table("icd10"), table("atc")) == dict(zip(codes, ("Diabète", "Metformine"), strict=True))
    with pytest.raises(
        InputError, match=r"has the column 'DiagCd' and 'Name'. It has: DiagCd, Libellé. If the columns"
    ):
        names.has_names(TableOfNames(file=str(tmp_path / "codes.csv"), code_column="DiagCd", name_column="Name"))
