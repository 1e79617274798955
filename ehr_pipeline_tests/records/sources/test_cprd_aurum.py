"""CPRD Aurum: its files as the extraction tool names and writes them, ids of 19 digits, and the observation window."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.events.settings import CodeDictionary, EventsSettings
from ehr_pipeline.records.sources.cprd_aurum import CprdAurum
from ehr_pipeline_tests.events.test_mapping import map_codes
from ehr_pipeline_tests.records.sources.reading import folder, read, rows

LONG = (
    "9223372036854775807",
    "9223372036854775808",
    "1000000000000000001",
)  # the largest int64, one more, and 10**18 + 1
PATIENTS = (
    "patid\tpracid\tusualgpstaffid\tgender\tyob\tmob\temis_ddate\tregstartdate\tpatienttypeid\tregenddate\tacceptable\tcprd_ddate\n"
    f"{LONG[0]}\t49\t6\t2\t1984\t\t\t01/01/2000\t3\t31/12/2010\t1\t\n"
    f"{LONG[1]}\t49\t6\t1\t1950\t\t\t01/01/1990\t3\t\t1\t05/05/2008\n"
    f"{LONG[2]}\t50\t6\t1\t2005\t4\t\t01/01/2006\t3\t\t1\t\n"
)
PRACTICES = "pracid\tlcd\tuts\tregion\n49\t01/06/2009\t\t7\n49\t01/06/2009\t\t7\n\t01/06/2009\t\t7\n"
OBSERVATIONS = (
    "patid\tconsid\tpracid\tobsid\tobsdate\tenterdate\tmedcodeid\tvalue\n"
    f"{LONG[0]}\t1\t49\t1\t31/12/1999\t01/01/2001\t{LONG[1]}\t\n"  # the day before registration
    f"{LONG[0]}\t1\t49\t1\t01/01/2000\t01/01/2001\t{LONG[0]}\t\n"
    f"{LONG[0]}\t1\t49\t1\t02/06/2009\t01/01/2001\t123\t\n"  # the day after the last collection
    f"{LONG[1]}\t1\t49\t1\t05/05/2008\t01/01/2001\t123\t\n"
    f"{LONG[1]}\t1\t49\t1\t06/05/2008\t01/01/2001\t123\t\n"  # the day after death
    f"{LONG[2]}\t1\t50\t1\t06/05/2018\t01/01/2001\t\t\n"
)
DRUGS = f"patid\tissueid\tissuedate\tprodcodeid\n{LONG[2]}\t1\t03/03/2010\t{LONG[2]}\n"


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    return folder(
        tmp_path,
        set1_Extract_Patient_001__txt=PATIENTS,
        set1_Extract_Practice_001__txt=PRACTICES,
        set1_Extract_Observation_001__txt=OBSERVATIONS,
        set1_Extract_DrugIssue_001__txt=DRUGS,
    )


def test_long_ids_stay_what_they_are_and_events_outside_the_window_are_kept(extract: Path, tmp_path: Path) -> None:
    counts = read(extract, tmp_path / "out", source="cprd_aurum")
    assert rows(tmp_path / "out", "events") == sorted(
        [
            (LONG[0], "1999-12-31", f"medcodeid:{LONG[1]}"),
            (LONG[0], "2000-01-01", f"medcodeid:{LONG[0]}"),
            (LONG[0], "2009-06-02", "medcodeid:123"),
            (LONG[1], "2008-05-05", "medcodeid:123"),
            (LONG[1], "2008-05-06", "medcodeid:123"),
            (LONG[2], "2010-03-03", f"prodcodeid:{LONG[2]}"),
        ]
    )
    assert counts["dropped"] == {"missing_code": 1}
    assert counts["outside_observation"] == {"before_observation": 1, "after_observation": 2}
    # id, birth, precision, sex, end and start of observation, practice, region
    assert rows(tmp_path / "out", "patients") == sorted(
        [
            (LONG[0], "1984-07-01", "year", "F", None, "2009-06-01", "2000-01-01", "49", "7"),
            (LONG[1], "1950-07-01", "year", "M", "2008-05-05", "2008-05-05", "1990-01-01", "49", "7"),
            (LONG[2], "2005-04-15", "month", "M", None, None, "2006-01-01", "50", ""),
        ]
    )
    assert counts["linked"] == {"rows_in": 3, "kept": 1, "collapsed": 1, "dropped": {"missing_key": 1}}
    assert ("set1_Extract_Practice_001.txt", 4, "missing_key") in rows(tmp_path / "out", "quarantine")


def test_events_outside_the_window_may_be_rejected_by_reason(extract: Path, tmp_path: Path) -> None:
    counts = read(extract, tmp_path / "out", source="cprd_aurum", outside_observation="reject")
    assert counts["dropped"] == {"after_observation": 2, "before_observation": 1, "missing_code": 1}
    name = "set1_Extract_Observation_001.txt"
    assert {(name, 2, "before_observation"), (name, 4, "after_observation"), (name, 6, "after_observation")} < set(
        rows(tmp_path / "out", "quarantine")
    )


def test_practices_and_drugs_need_not_be_there_but_some_events_must(extract: Path, tmp_path: Path) -> None:
    (extract / "set1_Extract_Practice_001.txt").unlink()
    (extract / "set1_Extract_DrugIssue_001.txt").unlink()
    assert read(extract, tmp_path / "out", source="cprd_aurum")["files"] == 2
    (extract / "set1_Extract_Observation_001.txt").unlink()
    with pytest.raises(InputError, match="no file of events"):
        read(extract, tmp_path / "again", source="cprd_aurum")


def test_the_layout_of_rcprd(shared: Path, tmp_path: Path) -> None:
    """Files that nobody here made: every row is kept or counted, and each patient has its practice."""
    extract = folder(tmp_path)
    for path in (shared / "cprd_aurum_layout").iterdir():
        (extract / path.name).write_bytes(path.read_bytes())
    counts = read(extract, tmp_path / "out", source="cprd_aurum", outside_observation="reject")
    assert (counts["rows_in"], counts["patients"]["rows_in"], counts["linked"]["rows_in"]) == (600, 12, 6)
    assert set(counts["dropped"]) <= {"before_birth", "unknown_patient", "before_observation", "after_observation"}
    assert len(rows(tmp_path / "out", "patients")) == 12
    options = CprdAurum(drug_issues="")
    assert read(extract, tmp_path / "some", source="cprd_aurum", cprd_aurum=options)["rows_in"] == 300


def dictionary(path: Path, text: str, code: str, snomed: str, **more: Any) -> CodeDictionary:
    path.write_text(text)
    return CodeDictionary(file=str(path), code_column=code, snomed_column=snomed, **more)


def test_products_become_dmd_ids_and_those_ingredients_where_a_table_has_them(tmp_path: Path) -> None:
    drugs, ingredient = ("319775004", "322236009"), "387458008"
    products = f"ProdCodeId\tdmdid\tTerm\n{LONG[0]}\t{drugs[0]}\ta\n{LONG[1]}\t{drugs[1]}\tb\n3\t\tc\n"
    ingredients = f"vpid\tisid\n{drugs[0]}\t{ingredient}\n"
    settings = EventsSettings(
        mrconso="",
        unmapped="keep",
        dictionaries={
            "prodcodeid": dictionary(tmp_path / "p", products, "ProdCodeId", "dmdid", then="ingredient"),
            "ingredient": dictionary(tmp_path / "i", ingredients, "vpid", "isid"),
        },
    )
    nothing = {"code": pl.String, "cui": pl.String, "name": pl.String, "suppress": pl.String, "preferred": pl.Boolean}
    codes = pl.Series([f"prodcodeid:{code}" for code in (*LONG[:2], "3")])
    table = map_codes(codes, pl.DataFrame(schema=nothing), settings)
    found = dict(table.select("code", "snomed").iter_rows())
    assert [found[code] for code in codes] == [ingredient, drugs[1], ""]


@pytest.mark.parametrize(("then", "told"), [("b", "leads in a circle"), ("c", "is not a table")])
def test_chains_end(then: str, told: str) -> None:
    def table(following: str) -> CodeDictionary:
        return CodeDictionary(file="x", code_column="a", snomed_column="b", then=following)

    problems = list(EventsSettings(mrconso="", dictionaries={"a": table(then), "b": table("a")}).problems())
    assert told in " ".join(problems)
