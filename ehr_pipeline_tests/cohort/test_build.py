import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ehr_pipeline.cohort import build
from ehr_pipeline.cohort.settings import Disease
from ehr_pipeline.errors import InputError
from ehr_pipeline.events.resolve_lists import ResolvedRow, Rows
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables import schemas
from ehr_pipeline.terminology.code_lists import ListedConcept
from ehr_pipeline_tests.conftest import unpublished
from ehr_pipeline_tests.encoder.data import write_shard
from ehr_pipeline_tests.vocabulary.test_build import Rows as Events
from ehr_pipeline_tests.vocabulary.test_build import shard

PSORIASIS, ECZEMA = "9014002", "24079001"


def rows_of(*rows: tuple[str, str, str]) -> Rows:
    """Rows of a list: code, CUI, and the concept that the ladder gave the code."""
    return tuple(
        ResolvedRow(ListedConcept(code, cui, "x", "x", 2), (mapped,) if mapped else ()) for code, cui, mapped in rows
    )


def disease(name: str, min_visits: int = 1) -> Disease:
    return Disease(name=name, concepts="a list", min_visits=min_visits)


def made(
    tmp_path: Path, rows: Events, diseases: tuple[Disease, ...], lists: tuple[Rows, ...], mapping: str = ""
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """A cohort from mapped events of the patients '0', '1', '2', who are all in the data set."""
    shard(tmp_path / "mapped", rows)
    lines = f"{PSORIASIS},{PSORIASIS},CP,7\n{ECZEMA},{ECZEMA},CE,5\n111,111,,4\n{mapping}"
    (tmp_path / "mapped" / "mapping.csv").write_text("code,snomed,concept,events\n" + lines)
    write_shard(tmp_path / "dataset" / "patients" / "00000.arrow", [("1950-07-01", "year", [("2000-01-01", [5])])] * 3)
    events, dataset = unpublished(tmp_path / "mapped"), unpublished(tmp_path / "dataset")
    counts = build.build(events, dataset, diseases, lists, tmp_path)
    return pl.DataFrame(schemas.read(tmp_path / "cohort.arrow")), counts


def test_cases_by_codes_and_cuis(tmp_path: Path) -> None:
    lists = (rows_of((PSORIASIS, "", "CP"), ("111", "", "")), rows_of(("", "CE", "")))
    rows = [("0", 9, "CP"), ("0", 3, "CP"), ("0", 4, "CE"), ("1", 5, "CE"), ("2", 1, "other"), ("nobody", 1, "CP")]
    frame, counts = made(tmp_path, rows, (disease("Psoriasis"), disease("Eczema")), lists)
    assert frame.select("patient_id", "shard", "row", "disease").rows() == [
        ("0", "00000.arrow", 0, "Psoriasis"),
        ("1", "00000.arrow", 1, "Eczema"),
    ]
    assert frame["diseases"].to_list() == [["Psoriasis", "Eczema"], ["Eczema"]]
    assert frame["first_date"].dt.to_string().to_list() == ["1970-01-04", "1970-01-06"]
    assert (counts["rows_in"], counts["kept"], counts["dropped"]) == (3, 2, {"not_in_patient_dataset": 1})


def test_how_much_is_recorded_of_cases_inside_and_outside_the_data_set(tmp_path: Path) -> None:
    """Of concepts that repeat within a day one counts; patients who are no case are not there."""
    rows = [
        ("0", 9, "CP"),
        ("0", 9, "CP"),
        ("0", 9, "x"),
        ("0", 3, "x"),
        ("1", 5, "x"),
        ("nobody", 1, "CP"),
        ("nobody", 700, "x"),
    ]
    made(tmp_path, rows, (disease("Psoriasis"),), (rows_of(("", "CP", "")),))
    table = pl.DataFrame(schemas.read_as(tmp_path / build.CASES, schemas.CASES))
    assert table.select("patient_id", "shard", "inside", "concepts", "visits").rows() == [
        ("0", "00000.arrow", True, 3, 2),
        ("nobody", "00000.arrow", False, 2, 2),
    ]
    dates = table.select(pl.col("first_date", "last_date").cast(pl.Int32)).rows()
    assert dates == [(3, 9), (1, 700)]


def test_what_is_told_of_a_list_counts_concepts_not_recorded_codes(tmp_path: Path) -> None:
    """The list has a code that nobody recorded: its concept is there by another code."""
    listed = rows_of((ECZEMA, "", "CP"), ("111", "", ""), ("222", "", "C7"))
    _, counts = made(tmp_path, [("0", 9, "CP")], (disease("Psoriasis"),), (listed,))
    assert counts["lists"]["Psoriasis"] == {
        "codes": 3,
        "concepts": 2,
        "rows_without_concept": 1,
        "concepts_in_extract": 1,
        "events": 7,
        "unmapped_events": 4,
    }
    rows = pl.read_csv(tmp_path / build.LISTS, infer_schema=False)
    assert rows.select("disease", "code", "concept").rows() == [
        ("Psoriasis", ECZEMA, "CP"),
        ("Psoriasis", "111", None),
        ("Psoriasis", "222", "C7"),
    ]


def test_enough_different_days_make_a_case(tmp_path: Path) -> None:
    rows = [("0", 9, "CP"), ("0", 9, "CP"), ("1", 3, "CP"), ("1", 4, "CP")]
    frame, _ = made(tmp_path, rows, (disease("Psoriasis", 2),), (rows_of(("", "CP", "")),))
    assert frame["patient_id"].to_list() == ["1"]


def test_the_first_date_is_that_of_a_disease_of_the_patient(tmp_path: Path) -> None:
    """One earlier record of psoriasis is not enough for a case, so eczema begins the disease."""
    rows = [("0", 3, "CP"), ("0", 8, "CE"), ("0", 9, "CE")]
    lists = (rows_of(("", "CP", "")), rows_of(("", "CE", "")))
    frame, _ = made(tmp_path, rows, (disease("Psoriasis", 2), disease("Eczema")), lists)
    assert frame["diseases"].to_list() == [["Eczema"]]
    assert frame["first_date"].cast(pl.Int32).to_list() == [8]


def test_an_empty_cohort_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"The cohort is empty: no patient has a listed concept.*extract: Psoriasis fewer than 10\."
    ):
        made(tmp_path, [("0", 9, "other")], (disease("Psoriasis"),), (rows_of((PSORIASIS, "", "CP")),))


def test_the_cohort_is_who_was_planted(tiny: Pipeline, extract: Path) -> None:
    with (extract / "truth/patients.csv").open() as stream:
        planted = {row["patient_id"]: row["disease"] for row in csv.DictReader(stream) if row["disease"]}
    frame = pl.DataFrame(schemas.read(tiny.store.current("cohort").file("cohort.arrow")))
    found = {row["patient_id"]: row["disease"].lower().replace(" ", "_") for row in frame.iter_rows(named=True)}
    assert found.items() <= planted.items()
    missing = set(planted) - set(found)
    dataset = pl.concat(
        [
            pl.DataFrame(schemas.read(path, ["patient_id"]))
            for path in tiny.store.current("patient_dataset").files("patients")
        ]
    )
    assert not missing & set(dataset["patient_id"]), "all others have too few visits"
