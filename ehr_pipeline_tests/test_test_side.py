"""Nothing that is learned has seen a patient of the test set: a code that only they have changes no byte of what is learned."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from ehr_pipeline.assets.identity import split_settings
from ehr_pipeline.checks import train_test_sides as checks
from ehr_pipeline.errors import UserError
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.export import forecast, rating_sheet
from ehr_pipeline.export.apply import whom_it_knows
from ehr_pipeline.forecasts.table import Forecasts
from ehr_pipeline.patients import split, train_test_sides, training_patients
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study.settings import Study
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.hashing import hash_of
from ehr_pipeline.terminology.snomed import with_check_digit
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline_tests.conftest import tiny_settings

pytestmark = pytest.mark.slow
CODE, CONCEPT = str(with_check_digit(np.array([998877600]))[0]), "C9999999"
DAYS = 20  # of each patient: far above vocabulary.min_appearances
LEARN = ("vocabulary", "encoder_checkpoint", "patient_embeddings")


def study_of(folder: Path, **split_by: Any) -> Study:
    return tiny_settings(
        folder,
        study={"store": str(folder / "store")},
        patients={"split": {"validation_share": 0.1, **split_by}},
        encoder={"max_epochs": 3},
    )


def with_code(source: Path, folder: Path, patients: list[str], *others: str) -> Path:
    """A copy of an extract whose terminology has one more concept, which some patients have on many days, and `others` with it."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("store"))
    row = f"{CONCEPT}|ENG|P|L1|PF|S1|Y|A1||{CODE}||SNOMEDCT_US|PT|{CODE}|Planted disorder|9|N||\n"
    with (folder / "terminology/MRCONSO.RRF").open("a", encoding="utf-8") as stream:
        stream.write(row)
    with (folder / "terminology/MRSTY.RRF").open("a", encoding="utf-8") as stream:
        stream.write(f"{CONCEPT}|T047|B2.2.1.2.1|Disease or Syndrome|AT1||\n")
    events = folder / "landing" / EXTRACT / "events_000.txt"
    with events.open("a", encoding="latin-1") as stream:
        for code in (CODE, *others):
            stream.writelines(f"{one}\t{day:02d}/03/2016\t{code}\n" for one in patients for day in range(1, DAYS))
    return folder


def people(source: Path, settings: Study, side: str) -> list[str]:
    """Patients of an extract who are on a side, born early enough for every planted event."""
    table = pl.read_csv(
        source / "landing" / EXTRACT / "patients.txt", separator="\t", encoding="latin-1", infer_schema=False
    )
    ids = table.filter(pl.col("year_of_birth").cast(pl.Int32) < 2010)["patient_id"].to_list()
    return [one for one in ids if split.side(one, split_settings(settings)) == side]


@pytest.fixture(scope="module")
def both(extract: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Pipeline]:
    """The tiny study with a test set, up to the vectors; and again where patients of the test set have other records.

    They have a code more that nobody else has, and on the same days one that is a pooled token.
    """
    root = tmp_path_factory.mktemp("sides")
    own = people(extract, study_of(root, test_share=0.1), "test")
    assert len(own) > 10
    plain = Pipeline(study_of(with_code(extract, root / "plain", []), test_share=0.1))
    plain.make(EXTRACT, until="patient_embeddings")
    planted = Pipeline(study_of(with_code(extract, root / "planted", own, pooled_code(plain)), test_share=0.1))
    planted.make(EXTRACT, until="patient_embeddings")
    return plain, planted


def pooled_code(pipeline: Pipeline) -> str:
    """The most frequent code of a pooled concept: more of it changes no concept's name."""
    store = pipeline.store.current
    chosen = json.loads(store("patient_embeddings").file("selected.json").read_text(encoding="utf-8"))
    concepts = Vocabulary.read(store("vocabulary").path).concepts
    names = [one.concept for one in concepts if one.token_id in chosen]
    mapping = Mapping.read(store("mapped_events").path).table.filter(pl.col("concept").is_in(names))
    return str(mapping.sort("events", "code", descending=True)["code"][0])


def test_a_code_that_only_test_patients_have_is_in_no_vocabulary_and_moves_no_weight(
    both: tuple[Pipeline, Pipeline],
) -> None:
    plain, planted = (pipeline.store.current for pipeline in both)
    counts = planted("vocabulary").counts["events"]
    assert counts["dropped"]["not_learned_from"] > plain("vocabulary").counts["events"]["dropped"]["not_learned_from"]
    assert planted("mapped_events").counts["kept"] > plain("mapped_events").counts["kept"]
    for asset, name in (
        ("vocabulary", "vocabulary.csv"),
        ("vocabulary", "dropped.csv"),
        ("encoder_checkpoint", "checkpoint/model.safetensors"),
        ("patient_embeddings", "transform.safetensors"),
        ("patient_embeddings", "selected.json"),
        ("patient_embeddings", "substitutes.csv"),
    ):
        assert file_hash(plain(asset).file(name)) == file_hash(planted(asset).file(name)), name
    assert CONCEPT not in {one.concept for one in Vocabulary.read(planted("vocabulary").path).concepts}
    assert CONCEPT not in planted("vocabulary").file("dropped.csv").read_text(encoding="utf-8")


def test_the_same_code_on_the_training_side_is_learned(extract: Path, tmp_path: Path) -> None:
    """The control: it would be seen."""
    own = people(extract, study_of(tmp_path, test_share=0.1), "train")[:12]
    pipeline = Pipeline(study_of(with_code(extract, tmp_path / "planted", own), test_share=0.1))
    made = pipeline.make(EXTRACT, until="vocabulary")["vocabulary"]
    (found,) = [one for one in Vocabulary.read(made.path).concepts if one.concept == CONCEPT]
    assert found.patients == 12


def test_the_counts_of_the_vocabulary_are_those_of_patients_who_are_learned_from(
    both: tuple[Pipeline, Pipeline],
) -> None:
    store = both[0].store
    left_out = train_test_sides.left_out(store.current("extract_catalog")).to_list()
    frames = [pl.DataFrame(schemas.read(path)) for path in store.current("mapped_events").files("events")]
    events = pl.concat(frames).with_columns(pl.col("patient_id", "concept").cast(pl.String))
    own = events.filter(~pl.col("patient_id").is_in(left_out)).group_by("concept")
    counted = own.agg(patients=pl.col("patient_id").n_unique(), appearances=pl.struct("patient_id", "date").n_unique())
    expected = {concept: (patients, times) for concept, patients, times in counted.iter_rows()}
    concepts = Vocabulary.read(store.current("vocabulary").path).concepts
    assert {one.concept: (one.patients, one.appearances) for one in concepts}.items() <= expected.items()


def test_hashes_show_whom_each_artifact_learned_from(both: tuple[Pipeline, Pipeline]) -> None:
    pipeline = both[1]
    store, key = pipeline.store, secret_key.of(pipeline.store.root)
    frames = [pl.DataFrame(schemas.read(path)) for path in store.current("data_split").files("split")]
    side = pl.concat(frames)
    for asset in LEARN:
        outcome = {check.name: check for check in pipeline.check(asset)}["test_side_unseen"]
        assert (outcome.passed, outcome.blocking) == (True, True)
    own = side.filter(pl.col("side").is_in(("train", "validation")))["patient_id"]
    seen = training_patients.read(store.current("encoder_checkpoint").path)
    assert sorted(seen.tolist()) == sorted(key.hashes(hash_of(own)).tolist())
    assert not (store.current("encoder_checkpoint").path / ".patients.npy").exists()
    assert not (store.current("vocabulary").path / ".learners").exists()


def test_cohort_patients_of_the_test_side_are_embedded(both: tuple[Pipeline, Pipeline]) -> None:
    store = both[0].store
    left_out = set(train_test_sides.left_out(store.current("extract_catalog")))
    cohort = set(schemas.read(store.current("cohort").file("cohort.arrow"))["patient_id"].to_pylist())
    vectors = [schemas.read(path)["patient_id"] for path in store.current("patient_embeddings").files("embeddings")]
    embedded = {patient for part in vectors for patient in part.to_pylist()}
    assert len(left_out & cohort & embedded) > 5


@pytest.mark.parametrize("asset", LEARN)
def test_an_artifact_that_saw_a_test_patient_is_blocked(
    both: tuple[Pipeline, Pipeline], asset: str, tmp_path: Path
) -> None:
    pipeline = both[0]
    ids = train_test_sides.left_out(pipeline.store.current("extract_catalog"))
    folder = tmp_path / asset
    training_patients.write(
        folder, secret_key.of(pipeline.store.root), [hash_of(ids[:1])], pipeline.store.current(asset).path
    )
    artifact = Artifact(folder, {"asset": asset})
    passed, message, _ = checks.test_side_unseen(artifact, pipeline.store, pipeline.study)
    assert not passed
    assert f"{asset} learned from" in message
    assert not checks.cannot_be_checked(artifact, pipeline.study)
    assert ids[0] not in message


def test_what_cannot_be_checked_says_which_file_would_allow_it(both: tuple[Pipeline, Pipeline], tmp_path: Path) -> None:
    pipeline = both[0]
    nothing, foreign = (Artifact(tmp_path / name, {"asset": "encoder_checkpoint"}) for name in ("nothing", "foreign"))
    training_patients.write(foreign.path, secret_key.of(tmp_path / "other"), [np.arange(3, dtype=np.uint64)])
    for artifact, says in (
        (nothing, r"its training patients are unknown: it has no notes/learned_from.arrow"),
        (foreign, r"ehr-pipeline key import"),
    ):
        passed, message, _ = checks.test_side_unseen(artifact, pipeline.store, pipeline.study)
        assert not passed
        assert "its training patients are unknown" in message
        assert says in message
        assert checks.cannot_be_checked(artifact, pipeline.study)
        model = artifact.path / "checkpoint"
        assert (
            "its training patients are unknown"
            in whom_it_knows(pipeline.study, model, pa.chunked_array([["1"]]))["training"]
        )


def test_embed_says_how_many_of_the_patients_the_model_knows(both: tuple[Pipeline, Pipeline]) -> None:
    pipeline = both[0]
    table = schemas.read(pipeline.store.current("data_split").files("split")[0])
    known = sum(side in ("train", "validation") for side in table["side"].to_pylist())
    model = pipeline.store.current("encoder_checkpoint").file("checkpoint")
    said = whom_it_knows(pipeline.study, model, table["patient_id"])["training"]
    assert said.endswith(f"on about {(known + 5) // 10 * 10} of these patients")


def test_another_split_makes_the_vocabulary_anew_and_none_goes_on_from_it(both: tuple[Pipeline, Pipeline]) -> None:
    pipeline = both[0]
    before = pipeline.store.current("vocabulary").manifest
    other = dataclasses.replace(pipeline.study.patients.split, test_share=0.3)
    study = dataclasses.replace(pipeline.study, patients=dataclasses.replace(pipeline.study.patients, split=other))
    assert Pipeline(study).code_version("vocabulary") != pipeline.code_version("vocabulary")
    assert Pipeline(study).code_version("mapped_events") == pipeline.code_version("mapped_events")
    assert "continues" not in before["inputs"]
    assert set(before["inputs"]) >= {"mapped_events", "extract_catalog"}


def test_forecasts_count_without_the_test_side_and_are_judged_on_it(
    both: tuple[Pipeline, Pipeline], tmp_path: Path
) -> None:
    made = [pipeline.asset("forecasts") for pipeline in both]
    for name in ("counted.npz", "counted.json"):
        assert file_hash(made[0].file(name)) == file_hash(made[1].file(name)), name
    pipeline, counts = both[0], made[0].counts
    assert counts["rows_in"] == pipeline.store.current("data_split").counts["test"]
    assert counts["kept"] > 10
    assert {row["list"] for row in Forecasts.read(made[0].path).forecasts} == {"new", "recurring", "any"}
    assert not [outcome for outcome in pipeline.check("forecasts") if outcome.blocking and not outcome.passed]
    opened = forecast.LoadedStudy.of(pipeline)
    name = sorted(opened.known.names.values())[0]
    answer = opened.answer(["age,code", f"34,{name}"], "F", "", "365_days", 5)
    assert [opened.forecaster.vocabulary.name(one.token) for one in answer.recurring] == [name]
    assert len(answer.new) == 5
    shown = "\n".join(forecast.text(opened, answer, "365_days"))
    assert name in shown
    assert forecast.UNCALIBRATED in shown, "the validation set is too small"
    with pytest.raises(UserError, match="a test set"):
        rating_sheet.write(opened, tmp_path / "sheet", 2, 1, "365_days")
