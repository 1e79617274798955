"""Codes that are not SNOMED's: a study of them needs no terminology, and goes to the report."""

import datetime
import json
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from ehr_pipeline import checks
from ehr_pipeline.assets import ASSETS, of_study
from ehr_pipeline.defs import run
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.events import coverage, resolve_lists
from ehr_pipeline.events.mapping import map_by_files
from ehr_pipeline.events.settings import EventsSettings, TableOfNames
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.planning import preflight
from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline.records.sources.meds import Meds, event_code
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.study import SMALL

EXTRACT = "2020-01-01"
GROUPS = (("E11.9", "I10", "N18.3", "H36.0"), ("J45.0", "L20.9", "J30.1", "H10.1"), ("F32.1", "F41.1", "G47.0", "R53"))
TOML = """
[study]
name = "ICD codes"
store = "store"
[records]
landing = "landing"
source = "meds"
buckets = 2
[events]
unmapped = "keep"
[vocabulary]
min_appearances = 5
min_size = 5
[[embeddings.cohort]]
name = "Everybody"
[clusters]
n = 3
permutations = 20
"""
TRAINING = {"tokens_per_step": 512, "max_epochs": 6, "warmup_steps": 2, "output_bias": "frequency"}
SPLIT = {"patients": {"split": {"validation_share": 0.1, "key": "tests"}}}


def write_meds(folder: Path, patients: int = 150) -> None:
    """A MEDS data set of patients of three groups, each with ICD codes of its own."""
    rng = np.random.default_rng(5)
    rows: list[tuple[int, datetime.datetime | None, str]] = []
    for patient in range(patients):
        own = GROUPS[patient % len(GROUPS)]
        born = datetime.datetime(1950 + patient % 30, 3, 4)
        rows += [(patient, None, f"GENDER//{'MF'[patient % 2]}"), (patient, born, "MEDS_BIRTH")]
        for day in sorted(rng.integers(0, 3000, 12).tolist()):
            code = own[rng.integers(len(own))] if rng.random() < 0.8 else f"Z{rng.integers(10, 30)}"
            rows.append((patient, datetime.datetime(2005, 1, 1) + datetime.timedelta(day), f"ICD10CM//{code}"))
    (folder / "data").mkdir(parents=True)
    names = {"subject_id": pl.Int64, "time": pl.Datetime("us"), "code": pl.String}
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(folder / "data/0.parquet")


def study(folder: Path, **overrides: Any) -> settings.Study:
    return settings.validate(
        settings.merged(tomllib.loads(TOML), {"encoder": SMALL["encoder"] | TRAINING}, SPLIT, overrides), base=folder
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, dict[str, Artifact]]:
    """The study with its data set and cohort made, without any file of terminology."""
    folder = tmp_path_factory.mktemp("icd")
    write_meds(folder / "landing" / EXTRACT)
    pipeline = Pipeline(study(folder))
    assert preflight.inspect(pipeline.study).problems == []
    return pipeline, pipeline.make(EXTRACT, until="data_split") | {"cohort": pipeline.cohort()}


@pytest.mark.slow
def test_a_study_of_icd_codes_without_the_umls_goes_to_the_report(made: tuple[Pipeline, dict[str, Artifact]]) -> None:
    pipeline = made[0]
    artifacts = pipeline.make(EXTRACT)
    mapped = artifacts["mapped_events"]
    assert mapped.counts["kept"] == mapped.counts["rows_in"] == 150 * 12
    assert artifacts["cohort"].counts["kept"] == artifacts["patient_dataset"].counts["patients"]["kept"] == 150
    assert artifacts["cohort"].counts["by_disease"] == {"Everybody": 150}
    assert artifacts["patient_embeddings"].counts["selected_concepts"] == artifacts["vocabulary"].counts["kept"]
    page = artifacts["cluster_reports"].file("report.html").read_text(encoding="utf-8")
    assert "Everybody" in page
    assert "<b>100.0 %</b>of events have a code that stands for a concept</div>" in page, (
        "none is left out of the clusters"
    )
    failed = [
        f"{asset}: {one.name}: {one.message}"
        for asset in list(ASSETS)[2:]
        for one in pipeline.check(asset)
        if one.blocking and not one.passed
    ]
    assert failed == []


def test_a_cohort_by_a_list_of_icd_codes(made: tuple[Pipeline, dict[str, Artifact]], tmp_path: Path) -> None:
    pipeline, _ = made
    (tmp_path / "list.csv").write_text(
        "code,cui,name,source\nICD10CM:E11.9,,Diabetes,x\nICD10CM:Q99,,never recorded,x\n"
    )
    diseases = [{"name": "Diabetes", "concepts": str(tmp_path / "list.csv")}]
    own = settings.with_overrides(pipeline.study, {"embeddings": {"cohort": diseases}})
    assert not any("list.csv" in problem for problem in preflight.inspect(own).problems)
    cohort = Pipeline(own).cohort()
    assert 40 <= cohort.counts["kept"] <= 50
    assert cohort.counts["lists"]["Diabetes"]["concepts_in_extract"] == 1
    Pipeline(pipeline.study).cohort()


def test_a_study_without_a_cohort_needs_none(made: tuple[Pipeline, dict[str, Artifact]]) -> None:
    pipeline, _ = made
    own = settings.with_overrides(pipeline.study, {"embeddings": {"cohort": []}})
    of_a_cohort = {"cohort", "patient_embeddings", "clusters", "patient_trajectories", "cluster_reports"}
    assert set(of_study(own)) == set(ASSETS) - of_a_cohort
    assert "cohort" not in run._selected(None, own)
    with pytest.raises(InputError, match=r"This study has no cohort.*\[\[embeddings.cohort\]\]"):
        Pipeline(own).cohort()


@pytest.mark.slow
def test_a_study_without_a_cohort_is_made_to_its_end(made: tuple[Pipeline, dict[str, Artifact]]) -> None:
    own = settings.with_overrides(made[0].study, {"embeddings": {"cohort": []}})
    assert set(Pipeline(own).make()) == set(of_study(own)) - {"raw_records"}


def test_dropped_codes_are_told_with_what_keeps_them(made: tuple[Pipeline, dict[str, Artifact]]) -> None:
    own = settings.with_overrides(made[0].study, {"events": {"unmapped": "drop"}})
    with pytest.raises(
        InputError, match=r'events.mrconso is not set.*ICD10CM about 1,800.*events.unmapped = "keep"'
    ) as error:
        Pipeline(own).mapped_events()
    assert "{" not in str(error.value)


@pytest.mark.parametrize("empty", [False, True])
def test_an_empty_terminology_is_enough_where_no_code_needs_one(tmp_path: Path, *, empty: bool) -> None:
    if empty:
        (tmp_path / "M").write_text("")
    own = EventsSettings(mrconso=str(tmp_path / "M"), unmapped="keep")
    table = map_by_files(pl.Series(["ICD10CM:E11.9", "omop:7"]), own)
    assert table["concept"].to_list() == ["ICD10CM:E11.9", "omop:7"]
    with pytest.raises(InputError):
        map_by_files(pl.Series(["ICD10CM:E11.9", "24079001"]), own)


def test_codes_that_name_no_concept_are_dropped_and_told_though_codes_are_kept(
    made: tuple[Pipeline, dict[str, Artifact]], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = {"24079001": "SCT:24079001", "24079002": None, "41292010": None}  # a concept, a mistyped one, a description
    table = map_by_files(pl.Series(list(codes)), EventsSettings(unmapped="keep"))
    assert dict(table.select("code", "concept").iter_rows()) == codes
    counted = table.with_columns(events=pl.lit(100), patients=pl.lit(50))
    pipeline, artifacts = made
    of_all = coverage.report(counted)
    monkeypatch.setattr(checks.data, "read_coverage", lambda _: of_all)
    _, message, _ = checks.data.mapping_coverage(artifacts["mapped_events"], Store(""), pipeline.study)
    assert "mistyped codes do not identify concepts; they are dropped even if unmapped codes are kept" in message
    of_all = coverage.report(counted.filter(pl.col("code") == "24079001"))
    _, message, _ = checks.data.mapping_coverage(artifacts["mapped_events"], Store(""), pipeline.study)
    assert "dropped" not in message


def test_what_is_kept_counts_but_hides_no_wrong_terminology(made: tuple[Pipeline, dict[str, Artifact]]) -> None:
    pipeline, artifacts = made
    (passed,) = (one for one in pipeline.check("mapped_events") if one.name == "mapping_coverage")
    assert passed.passed
    assert "0.0% of events are mapped; 100.0% are kept" in passed.message
    report = coverage.report(Mapping.read(artifacts["mapped_events"].path).table)
    international = {"events": 100, "mapped_events": 1, "kept_events": 99}
    wrong = {"kept_events": 99, "by_namespace": {"international": international}}
    own = settings.with_overrides(pipeline.study, {"events": {"mrconso": "M"}, "vocabulary": {"mrsty": "S"}})
    assert "international SNOMED codes" in " ".join(checks.data._hidden(report | wrong, own))
    assert not list(checks.data._hidden(report, own))


CODES = {
    "SNOMED//24079001": "24079001",
    "SNOMED/168537006.0": "168537006",
    "SNOMED//73211009//_Q_3": "73211009",
    "SNOMED//22298006//NEGATED": "SNOMED:22298006//NEGATED",
    "SNOMED/22298006/family history": "SNOMED:22298006/family_history",
    "SCT//22298006.0//_Q_3//NEGATED": "SNOMED:22298006//_Q_3//NEGATED",
    "SNOMEDCT_US//38341003": "38341003",
    "SCT//24079001": "24079001",
    "snomed:24079001": "24079001",
    "SNOMED-CT/24079001//value_[1,2)": "24079001",
    "SNOMED CT|24079001": "24079001",
    "http://snomed.info/sct|24079001": "24079001",
    "SCT//not a number": "SCT:not_a_number",
    "ICD10CM:E11.9": "ICD10CM:E11.9",
    "ICD10CM//E11.9//high": "ICD10CM:E11.9//high",
    "plain code": "meds:plain_code",
}


def test_blanks_in_codes_are_underscores_in_concepts_however_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("code,name\nDiabetes mellitus,sugar\n")
    (tmp_path / "list.csv").write_text("code,cui,name,source\nlocal:Diabetes mellitus,,x,x\n")
    own = EventsSettings(unmapped="keep", names=(TableOfNames(file=str(tmp_path / "names.csv")),))
    table = map_by_files(pl.Series(["local:Diabetes mellitus", "local:Diabetes  mellitus"]), own)
    assert table.select("concept", "name").unique().rows() == [("local:Diabetes_mellitus", "sugar")]
    (row,) = resolve_lists.resolve({"list": tmp_path / "list.csv"}, own)["list"]
    assert row.concepts == {"local:Diabetes_mellitus"}


def test_snomed_is_recognised_under_its_usual_names() -> None:
    table = pl.DataFrame({"code": list(CODES)}).with_columns(found=event_code(Meds()))
    assert dict(table.iter_rows()) == CODES


def test_codes_that_look_like_snomed_are_told() -> None:
    codes = ["MYSYS:24079001", "MYSYS:9014002", "LOINC:8331-1", "RxNorm:1049630", "RxNorm:1191"]
    table = map_by_files(pl.Series(codes), EventsSettings()).with_columns(events=pl.lit(10))
    found = coverage.systems(table)
    assert {name: coverage.are_snomed(row) for name, row in found.items()} == {
        "MYSYS": True,
        "LOINC": False,
        "RxNorm": False,
    }


def test_a_snomed_id_with_a_modifier_is_another_concept_and_told() -> None:
    codes = ["22298006", *filter(lambda code: code.startswith("SNOMED:"), CODES.values())]
    table = map_by_files(pl.Series(codes), EventsSettings(unmapped="keep")).with_columns(events=pl.lit(10))
    assert table["concept"].n_unique() == len(codes) == 4
    study: Any = SimpleNamespace(events=EventsSettings(), reports=SimpleNamespace(suppress_below=10))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / coverage.FILE).write_text(json.dumps({"systems": coverage.systems(table)}))
        passed, message, _ = checks.data.snomed_recognised(Artifact(Path(folder), {}), None, study)  # type: ignore[arg-type]
    assert not passed
    assert message.startswith("about 30 events have a SNOMED id with a modifier, such as //NEGATED.")


def test_meds_codes(case: Callable[[str], Path]) -> None:
    own = settings.load(case("meds_codes") / "settings.toml", {"reports": {"audited": []}})
    mapped = Pipeline(own).make(EXTRACT, until="mapped_events")["mapped_events"]
    codes = Mapping.read(mapped.path).table["code"].to_list()
    assert {"168537006", "73211009", "38341003", "24079001"} <= set(codes)
    assert not {"ill_formed_code"} & set(Pipeline(own).store.current("raw_records", EXTRACT).counts["dropped"])


def test_meds_without_a_birth(case: Callable[[str], Path]) -> None:
    own = settings.load(case("meds_birth_snomed") / "settings.toml")
    problem, *_ = (one for one in preflight.inspect(own).problems if "birth_codes" in one)
    assert "records.meds.birth_codes is MEDS_BIRTH" in problem
    assert "Copy" not in problem
    with pytest.raises(UserError, match="birth_codes"):
        Pipeline(own).raw_records(EXTRACT)


def test_omop_births_by_datetime(case: Callable[[str], Path]) -> None:
    own = settings.load(case("omop_birth_datetime") / "settings.toml")
    records = Pipeline(own).raw_records(EXTRACT)
    found = pl.concat(pl.read_ipc(path) for path in records.files("patients")).sort("patient_id")
    assert found.select(pl.col("birth_date").dt.to_string("%Y-%m-%d"), "birth_precision").rows() == [
        ("1950-05-06", "day"),
        ("1960-03-04", "day"),
    ]


def test_a_mangled_dictionary(case: Callable[[str], Path]) -> None:
    own = settings.load(case("dict_mangled") / "settings.toml")
    with pytest.raises(InputError, match=r"\[events.dictionaries\]") as error:
        Pipeline(own).make(EXTRACT, until="mapped_events")
    assert "{" not in str(error.value)


def test_a_selection_with_plus_takes_all_that_is_needed(case: Callable[[str], Path]) -> None:
    own = settings.load(case("select_plus") / "settings.toml")
    assert run._selected("+patient_dataset", own) == set(list(ASSETS)[: list(ASSETS).index("patient_dataset") + 1])


SELECTIONS = {
    "+vocabulary": {"raw_records", "extract_catalog", "mapped_events", "vocabulary"},
    "*vocabulary": {"raw_records", "extract_catalog", "mapped_events", "vocabulary"},
    "+key:vocabulary": {"raw_records", "extract_catalog", "mapped_events", "vocabulary"},
    "1+vocabulary": {"mapped_events", "vocabulary"},
    "clusters+": {"clusters", "patient_trajectories", "cluster_reports"},
    "clusters*": {"clusters", "patient_trajectories", "cluster_reports"},
    "clusters+1": {"clusters", "patient_trajectories", "cluster_reports"},
    "cohort, vocabulary": {"cohort", "vocabulary"},
}


@pytest.mark.parametrize("selection", SELECTIONS)
def test_selections_mean_what_they_mean_in_the_ui(selection: str) -> None:
    assert run._selected(selection, settings.load(settings.settings_path())) == SELECTIONS[selection]


def test_a_dictionary_is_asked_for_only_where_its_files_are(tmp_path: Path) -> None:
    """CPRD Aurum without issues of drugs needs no dictionary of products."""
    found = Preflight()
    values = {
        "records": {"landing": str(tmp_path), "source": "cprd_aurum", "buckets": 2},
        "study": {"name": "x", "store": "s"},
    }
    own = settings.validate(values)
    kinds = {kind.files.code_system: kind.where for kind in own.records.kinds.events}
    (drugs,) = (system for system in kinds if "prod" in system)
    preflight._systems(own, found)
    assert found.problems == []
    found.read.add(kinds[drugs])
    preflight._systems(own, found)
    (problem,) = found.problems
    assert repr(drugs) in problem


def test_codes_of_any_other_system_are_kept() -> None:
    table = map_by_files(pl.Series(["local:7", "local:8"]), EventsSettings(unmapped="keep"))
    assert table.select("concept", "step").rows() == [("local:7", "kept"), ("local:8", "kept")]
