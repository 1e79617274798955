"""Real file layouts that nobody here generated, read through settings alone."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import merged
from ehr_pipeline.synthetic.study import SMALL
from ehr_pipeline.tables import schemas

pytestmark = pytest.mark.slow

EMPTY_LIST = "code,cui,name,source\n"


def terminology(shared: Path) -> dict[str, Any]:
    return {
        "events": {"mrconso": str(shared / "umls_like/MRCONSO.RRF.gz")},
        "vocabulary": {
            "mrsty": str(shared / "umls_like/MRSTY.RRF.gz"),
            "min_appearances": 20,
            "administrative_concepts": "",
            "min_size": 5,
        },
    }


def test_synthea_goes_through_to_the_reports(shared: Path, tmp_path: Path) -> None:
    landing = tmp_path / "landing" / "2022-01-01"
    landing.mkdir(parents=True)
    for name in ("conditions", "allergies", "patients"):
        (landing / f"{name}.csv.gz").write_bytes((shared / f"synthea_csv/{name}.csv.gz").read_bytes())
    (tmp_path / "airways.csv").write_text(
        EMPTY_LIST
        + "195662009,,Acute viral pharyngitis,x\n444814009,,Viral sinusitis,x\n10509002,,Acute bronchitis,x\n"
    )
    (tmp_path / "metabolic.csv").write_text(
        EMPTY_LIST + "59621000,,Hypertension,x\n44054006,,Type 2 diabetes,x\n15777000,,Prediabetes,x\n"
    )
    text = {"delimiter": ",", "quote": '"', "date_formats": ["%Y-%m-%d"]}
    columns = {"patient": "PATIENT", "date": "START", "code": "CODE"}
    values = merged(
        {name: SMALL[name] for name in ("encoder", "patients", "launcher")},
        {"encoder": {"max_epochs": 15, "tokens_per_step": 512}},
        terminology(shared),
        {
            "study": {"name": "Synthea", "store": str(tmp_path / "store")},
            "records": {
                "landing": str(landing.parent),
                "buckets": 2,
                "events": [
                    {"files": f"{name}.csv.gz", "columns": columns, **text} for name in ("conditions", "allergies")
                ],
                "patients": [
                    {
                        "files": "patients.csv.gz",
                        "columns": {"patient": "ID", "birth_date": "BIRTHDATE", "sex": "GENDER"},
                        "attributes": {"race": "RACE", "ethnicity": "ETHNICITY"},
                        **text,
                    }
                ],
            },
            "events": {"coverage_floor": 0.1},
            "concepts": {"concepts_of_interest": str(tmp_path / "metabolic.csv")},
            "embeddings": {
                "cohort": [
                    {"name": name, "concepts": str(tmp_path / f"{name}.csv")} for name in ("airways", "metabolic")
                ],
                "pooling": {"select": "all"},
            },
            "clusters": {"n": 4, "permutations": 40},
            "reports": {"title": "Synthea", "audited": ["race", "ethnicity"]},
        },
    )
    pipeline = Pipeline(settings.validate(values))
    records = pipeline.raw_records("2022-01-01")
    with gzip.open(shared / "synthea_csv/conditions.csv.gz", "rt") as stream:
        conditions = sum(1 for _ in csv.DictReader(stream))
    assert records.counts["rows_in"] > conditions
    assert records.counts["kept"] > 0.95 * records.counts["rows_in"]
    made = pipeline.make()
    html = made["cluster_reports"].file("report.html").read_text(encoding="utf-8")
    assert "Synthea" in html
    assert pipeline.store.current("cohort").counts["kept"] > 100
    ids = pl.read_csv(gzip.decompress((shared / "synthea_csv/patients.csv.gz").read_bytes()))["ID"].to_list()
    assert not [patient for patient in ids if patient in html]


def test_cprd_aurum_goes_through_records_and_mapping(shared: Path, tmp_path: Path) -> None:
    """Twelve made-up patients: tab separated, year of birth only, ids of up to 19 digits, codes through a dictionary."""
    landing = tmp_path / "landing" / "2021-06-01"
    landing.mkdir(parents=True)
    for path in (shared / "cprd_aurum_layout").glob("*.txt"):
        if "observation" in path.name or "patient_" in path.name:
            (landing / path.name).write_bytes(path.read_bytes())
    observations = [path.read_text().splitlines() for path in sorted(landing.glob("*observation*"))]
    observed = [row["medcodeid"] for lines in observations for row in csv.DictReader(lines, delimiter="\t")]
    known = {observed[0]: "195967001", observed[150]: "9014002"}
    dictionary = tmp_path / "medical.txt"
    dictionary.write_text(
        "MedCodeId\tTerm\tSnomedCTConceptId\n"
        + "".join(f"{code}\tterm\t{concept}\n" for code, concept in known.items())
    )
    values = merged(
        terminology(shared),
        {
            "study": {"name": "CPRD", "store": str(tmp_path / "store")},
            "records": {
                "landing": str(landing.parent),
                "buckets": 2,
                "events": [
                    {
                        "files": "*observation*.txt",
                        "code_system": "medcode",
                        "columns": {"patient": "patid", "date": "obsdate", "code": "medcodeid"},
                    }
                ],
                "limits": {"rejected_error": 0.5},  # the dates are random, and so often before birth
                "patients": [
                    {
                        "files": "*patient_*.txt",
                        "columns": {"patient": "patid", "birth_year": "yob", "birth_month": "mob", "sex": "gender"},
                        "sex_values": {"1": "M", "2": "F"},
                        "attributes": {"practice": "pracid"},
                    }
                ],
            },
            "events": {
                "coverage_floor": 0,
                "dictionaries": {
                    "medcode": {
                        "file": str(dictionary),
                        "code_column": "MedCodeId",
                        "snomed_column": "SnomedCTConceptId",
                    }
                },
            },
            "concepts": {"concepts_of_interest": "none.csv"},
            "embeddings": {"cohort": [{"name": "none", "concepts": "none.csv"}]},
        },
    )
    pipeline = Pipeline(settings.validate(values))
    records = pipeline.raw_records("2021-06-01")
    assert records.counts["rows_in"] == 300
    assert records.counts["patients"]["kept"] == 12
    assert set(records.counts["dropped"]) <= {"before_birth", "unknown_patient"}, (
        "the dates are random, and so often before birth"
    )
    pipeline.extract_catalog()
    events = pipeline.mapped_events()
    coverage = json.loads(events.file("coverage.json").read_text())
    assert coverage["by_namespace"]["not_in_dictionary"]["mapped_events"] == 0
    table = pl.read_csv(events.file("mapping.csv"), infer_schema=False)
    mapped = dict(table.filter(pl.col("concept").is_not_null()).select("code", "concept").iter_rows())
    in_records = {f"medcode:{code}" for code in known} & set(table["code"])
    assert set(mapped) == in_records
    assert in_records, "at least one of the two codes survives the random dates"
    people = pl.concat([pl.DataFrame(schemas.read(path)) for path in records.files("patients")])
    assert set(people["sex"]) <= {"M", "F", ""}
    assert people["birth_precision"].unique().to_list() == ["year"]


@pytest.mark.parametrize("code", ["150381000006115", "1488424013"])
def test_long_ids_stay_texts(code: str) -> None:
    from ehr_pipeline.records.layouts import ANY_CODE

    assert pl.Series([code]).str.contains(ANY_CODE).all()
