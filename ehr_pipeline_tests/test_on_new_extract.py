"""What a new extract does to the model: embed, warm_start, retrain, over the whole chain."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.clusters import assign, overlap
from ehr_pipeline.embeddings import embed
from ehr_pipeline.encoder.initial_weights import TOKENS
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, unbalanced
from ehr_pipeline.study.settings import Study
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary
from ehr_pipeline_tests.conftest import tiny_settings
from ehr_pipeline_tests.second_extract import LATER, LONGER, Grown, clusters_of, grow, run, vectors

pytestmark = pytest.mark.slow

VALUES = ("embed", "warm_start", "retrain")
DATA = {"extract_catalog", "mapped_events", "vocabulary", "patient_dataset", "data_split"}


@pytest.fixture(scope="module")
def made(
    steady: Pipeline, extract: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Grown, dict[str, Artifact]]]:
    """The chain after the second extract, for each of the three values in a store of its own."""
    found = {}
    for does in VALUES:
        grown = grow(steady, extract, tmp_path_factory.mktemp(does))
        found[does] = grown, run(grown.study(does), EXTRACT, LATER)
    return found


Made = dict[str, tuple[Grown, dict[str, Artifact]]]


@pytest.mark.parametrize("does", VALUES)
def test_what_is_made_anew_and_what_is_skipped(made: Made, does: str) -> None:
    grown, artifacts = made[does]
    skipped = {asset for asset, artifact in artifacts.items() if artifact.skipped}
    assert skipped == ({"encoder_checkpoint"} if does == "embed" else set())
    again = run(grown.study(does), EXTRACT, LATER)
    assert {asset for asset, artifact in again.items() if not artifact.skipped} == set(), "a run without anything new"
    assert {asset: found.path for asset, found in again.items()} == {a: found.path for a, found in artifacts.items()}


@pytest.mark.parametrize("does", VALUES)
def test_every_check_that_blocks_passes(made: Made, does: str) -> None:
    pipeline = Pipeline(made[does][0].study(does))
    for asset in STAGES:
        for outcome in pipeline.check(asset, EXTRACT if asset == "raw_records" else None):
            assert outcome.passed or not outcome.blocking, (asset, outcome)
    assert all(not unbalanced(artifact.counts) for artifact in made[does][1].values() if "kept" in artifact.counts)


@pytest.mark.parametrize("does", VALUES)
def test_token_ids_are_only_appended(steady: Pipeline, made: Made, does: str) -> None:
    grown, artifacts = made[does]
    before, now = (
        Vocabulary.read(found.path) for found in (steady.store.current("vocabulary"), artifacts["vocabulary"])
    )
    assert [c.concept for c in now.concepts[: len(before.concepts)]] == [c.concept for c in before.concepts]
    assert now.size > before.size
    assert grown.concept in now.token_of
    assert [c.token_id for c in now.concepts] == list(range(FIRST_CONCEPT, now.size))
    assert now.first(before.size).hash == before.hash
    assert artifacts["vocabulary"].manifest["inputs"]["continues"] == before.hash


def test_embed_keeps_the_encoder_and_the_vectors_of_who_is_unchanged(steady: Pipeline, made: Made) -> None:
    grown, artifacts = made["embed"]
    assert artifacts["encoder_checkpoint"].path.name == steady.store.current("encoder_checkpoint").path.name
    embeddings = artifacts["patient_embeddings"]
    assert embeddings.manifest["inputs"]["continues"] == steady.store.current("patient_embeddings").data_version
    for folder in ("embeddings", "half_a", "half_b"):
        before, now = vectors(steady.store.current("patient_embeddings"), folder), vectors(embeddings, folder)
        assert {patient for patient in before if before[patient] != now.get(patient)} <= set(grown.changed), folder
        assert set(grown.new) & set(now)
        assert all(now[patient] == before[patient] for patient in grown.touched if patient in before)
    whole = vectors(embeddings)
    before = vectors(steady.store.current("patient_embeddings"))
    assert all(whole[patient] != before[patient] for patient in grown.changed)
    # Who has the record of another has the vector of that one, but for rounding.
    for patient in grown.new:
        one, other = (np.frombuffer(found, np.float32) for found in (whole[patient], before[patient[1:]]))
        assert np.allclose(one, other, atol=1e-4)
    tokens = embeddings.counts["tokens"]
    assert tokens["dropped"]["unknown_to_the_encoder"] >= len(grown.touched)


def test_only_the_new_and_changed_are_embedded(
    steady: Pipeline, extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown, asked = grow(steady, extract, tmp_path), embedded_patients(monkeypatch)
    run(without_trajectories(grown.study("embed")), EXTRACT, LATER)
    assert sum(asked) == len(embed.PARTS) * len(grown.new + grown.changed)


def without_trajectories(study: Study) -> Study:
    """The study without windows of time, which are embedded like patients."""
    return replace(study, trajectories=replace(study.trajectories, windows="off"))


def embedded_patients(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list to which each call of the encoder will add its number of patients."""
    asked, pooled = [], embed.pool_chunks

    def counted(model: Any, shard: Any, patients: Any, *others: Any) -> Any:
        asked.append(len(patients))
        return pooled(model, shard, patients, *others)

    monkeypatch.setattr(embed, "pool_chunks", counted)
    return asked


def test_embed_assigns_to_the_clusters_that_there_are(steady: Pipeline, made: Made) -> None:
    grown, artifacts = made["embed"]
    clusters, before = artifacts["clusters"], clusters_of(steady.store.current("clusters"))
    table, now = schemas.read(clusters.file("clusters.arrow")), clusters_of(clusters)
    assigned = {p for p, was in zip(table["patient_id"].to_pylist(), table["assigned"].to_pylist(), strict=True) if was}
    assert assigned == {*grown.new, *grown.changed}
    assert all(now[patient] == number for patient, number in before.items() if patient not in assigned)
    # The copies lie where their models lie, and those vote.
    assert np.mean([now[patient] == before[patient[1:]] for patient in grown.new]) > 0.8
    places = {
        name: dict(zip(t["patient_id"].to_pylist(), t["x"].to_pylist(), strict=True))
        for name, t in (("now", table), ("then", schemas.read(steady.store.current("clusters").file("clusters.arrow"))))
    }
    assert all(places["now"][patient] == x for patient, x in places["then"].items() if patient not in assigned)
    kept = assign.Model.read(clusters.path)
    assert set(kept.ids.to_pylist()) == set(before), "the patients that were clustered vote, with the vectors of then"
    shared = json.loads(clusters.file(overlap.FILE).read_text())
    assert shared["patients"] == len(before)
    assert shared["adjusted_rand_index"] > 0.9


def test_warm_start_goes_on_from_the_last_weights(steady: Pipeline, made: Made) -> None:
    artifacts = made["warm_start"][1]
    before, now = steady.store.current("encoder_checkpoint"), artifacts["encoder_checkpoint"]
    assert now.manifest["inputs"]["continues"] == before.data_version
    added = artifacts["vocabulary"].counts["appended"]
    assert now.counts["tokens_added"] == added > 0
    first = [
        json.loads(found.file("metrics.json").read_text())["epochs"][0]["validation_loss"] for found in (before, now)
    ]
    assert first[1] < first[0], "it begins where the other ended"
    shapes = [load_file(found.file("checkpoint/model.safetensors"))[TOKENS].shape for found in (before, now)]
    assert shapes[1][0] == shapes[0][0] + added


def test_retrain_names_nothing_that_it_went_on_from(made: Made) -> None:
    assert "continues" not in made["retrain"][1]["encoder_checkpoint"].manifest["inputs"]
    assert "continues" not in made["retrain"][1]["patient_embeddings"].manifest["inputs"]


@pytest.mark.parametrize("does", ["warm_start", "retrain"])
def test_a_new_space_says_how_its_clusters_overlap_with_the_old(steady: Pipeline, made: Made, does: str) -> None:
    artifacts = made[does][1]
    old, new = clusters_of(steady.store.current("clusters")), clusters_of(artifacts["clusters"])
    shared = json.loads(artifacts["clusters"].file(overlap.FILE).read_text())
    both = sorted(old.keys() & new.keys())
    table = np.array(shared["table"])
    assert table.sum() == shared["patients"] == len(both)
    for row, number in enumerate(shared["now"]):
        for column, other in enumerate(shared["before"]):
            assert table[row, column] == sum(new[p] == number and old[p] == other for p in both)
    assert artifacts["clusters"].manifest["inputs"]["earlier"] == steady.store.current("clusters").data_version
    assert not any(schemas.read(artifacts["clusters"].file("clusters.arrow"))["assigned"].to_pylist())


def test_the_same_history_gives_the_same_bytes(steady: Pipeline, extract: Path, made: Made, tmp_path: Path) -> None:
    again = run(grow(steady, extract, tmp_path).study("embed"), EXTRACT, LATER)
    for asset, artifact in made["embed"][1].items():
        assert again[asset].manifest["fingerprint"] == artifact.manifest["fingerprint"], asset
        if asset != "extract_catalog":
            assert again[asset].data_version == artifact.data_version, asset


def test_the_first_run_ever_trains(extract: Path, steady: Pipeline, tmp_path: Path) -> None:
    """To the same bytes with a warm start as the others do, since nothing is there to go on from."""
    shutil.copytree(steady.store.root / "records", tmp_path / "store" / "records")
    for stage in ("events", "vocabulary", "patients"):
        shutil.copytree(steady.store.root / stage, tmp_path / "store" / stage)
    own = {"on_new_extract": "warm_start", **LONGER}
    study = tiny_settings(extract, study={"store": str(tmp_path / "store")}, encoder=own)
    checkpoint = Pipeline(study).encoder_checkpoint()
    assert not checkpoint.skipped
    assert checkpoint.data_version == steady.store.current("encoder_checkpoint").data_version


def test_a_changed_setting_trains_whatever_new_extracts_do(made: Made, tmp_path: Path) -> None:
    grown, artifacts = made["embed"]
    shutil.copytree(grown.folder / "store", tmp_path / "store")
    study = grown.study("embed", study={"store": str(tmp_path / "store")}, patients={"min_visits": 4})
    pipeline = Pipeline(study)
    for asset in ("patient_dataset", "data_split", "encoder_checkpoint"):
        assert not pipeline.asset(asset).skipped, asset
    assert "continues" not in pipeline.store.current("encoder_checkpoint").manifest["inputs"]
    # Set back, everything is what it was, although two versions of the encoder lie in the store.
    back = run(grown.study("embed", study={"store": str(tmp_path / "store")}), EXTRACT, LATER)
    assert all(artifact.skipped for artifact in back.values())
    assert back["encoder_checkpoint"].path.name == artifacts["encoder_checkpoint"].path.name


def test_other_settings_of_the_vocabulary_give_it_an_order_of_its_own(made: Made, tmp_path: Path) -> None:
    grown = made["embed"][0]
    shutil.copytree(grown.folder / "store", tmp_path / "store")
    pipeline = Pipeline(
        grown.study("embed", study={"store": str(tmp_path / "store")}, vocabulary={"min_appearances": 12})
    )
    other = pipeline.vocabulary()
    assert "continues" not in other.manifest["inputs"]
    table = pl.read_csv(other.file("vocabulary.csv"))
    assert table["appearances"].is_sorted(descending=True)
    assert table["appearances"].min() >= 12  # type: ignore[operator]


def test_who_withdraws_leaves_vectors_clusters_and_voters(made: Made, tmp_path: Path) -> None:
    grown, artifacts = made["embed"]
    shutil.copytree(grown.folder / "store", tmp_path / "store")
    gone = [grown.changed[0], grown.touched[0], grown.new[0], sorted(clusters_of(artifacts["clusters"]))[40]]
    listed = tmp_path / "withdrawn.txt"
    listed.write_text("\n".join(gone) + "\n")
    study = grown.study("embed", study={"store": str(tmp_path / "store")}, records={"withdrawals": str(listed)})
    before = {patient: found for patient, found in vectors(artifacts["patient_embeddings"]).items() if patient in gone}
    assert set(before) == set(gone)
    now = run(study, EXTRACT, LATER)
    assert not set(gone) & set(vectors(now["patient_embeddings"]))
    assert not set(gone) & set(clusters_of(now["clusters"]))
    model = assign.Model.read(now["clusters"].path)
    assert not set(gone) & set(model.ids.to_pylist())
    for path in (tmp_path / "store" / "clusters").rglob("*.arrow"):
        assert not any(patient.encode() in path.read_bytes() for patient in gone), path
    for path in (tmp_path / "store" / "embeddings").rglob("*.arrow"):
        content = path.read_bytes()
        assert not any(vector in content for vector in before.values()), path
    flagged = {outcome.name: outcome.passed for outcome in Pipeline(study).check("encoder_checkpoint")}
    assert now["encoder_checkpoint"].skipped
    assert not flagged["patients_present"], "it has learnt from those who left, and is flagged"


def test_a_warm_start_hands_on_nothing_that_was_learnt_from_who_left(made: Made, tmp_path: Path) -> None:
    grown, artifacts = made["warm_start"]
    shutil.copytree(grown.folder / "store", tmp_path / "store")
    listed = tmp_path / "withdrawn.txt"
    listed.write_text("nobody whom the study knows\n")
    study = grown.study("warm_start", study={"store": str(tmp_path / "store")}, records={"withdrawals": str(listed)})
    kept = data_plane(study)
    assert kept.manifest["inputs"] == artifacts["encoder_checkpoint"].manifest["inputs"], "nobody has left"
    listed.write_text(grown.changed[0] + "\n")
    made_anew = data_plane(study)
    assert not made_anew.skipped
    assert "continues" not in made_anew.manifest["inputs"]
    flagged = {outcome.name: outcome.passed for outcome in Pipeline(study).check("encoder_checkpoint")}
    assert flagged["patients_present"]


def data_plane(study: Study) -> Artifact:
    """Everything up to the encoder, which is returned."""
    pipeline = Pipeline(study)
    for name in (EXTRACT, LATER):
        pipeline.raw_records(name)
    for asset in ("extract_catalog", "mapped_events", "vocabulary", "patient_dataset", "data_split"):
        pipeline.asset(asset)
    return pipeline.encoder_checkpoint()


def test_ten_extracts_at_once_are_as_one(steady: Pipeline, extract: Path, made: Made, tmp_path: Path) -> None:
    grown = grow(steady, extract, tmp_path)
    landing = tmp_path / "landing"
    names = [f"2019-05-{day:02}" for day in range(1, 11)]
    whole = {path.name: path.read_text("latin-1").splitlines(keepends=True) for path in (landing / LATER).iterdir()}
    for number, name in enumerate(names):
        (landing / name).mkdir(exist_ok=True)
        for file, (head, *lines) in whole.items():
            own = [line for line in lines if sum(line.split("\t")[0].encode()) % 10 == number]
            (landing / name / file).write_text(head + "".join(own), "latin-1")
    at_once = run(grown.study("embed"), EXTRACT, *names)
    for asset, artifact in made["embed"][1].items():
        if asset not in ("extract_catalog", "cluster_reports"):
            assert at_once[asset].data_version == artifact.data_version, asset


def test_an_extract_that_lands_twice_changes_nobody(made: Made, tmp_path: Path) -> None:
    grown, artifacts = copied(made, tmp_path)
    shutil.copytree(tmp_path / "landing" / LATER, tmp_path / "landing" / "2019-05-02")
    again = run(grown.study("embed"), EXTRACT, LATER, "2019-05-02")
    assert {asset for asset, artifact in again.items() if not artifact.skipped} == {
        *("extract_catalog", "mapped_events", "patient_dataset", "task_labels", "cluster_reports")
    }
    for asset in ("mapped_events", "patient_dataset", "task_labels", "patient_embeddings", "clusters"):
        assert again[asset].data_version == artifacts[asset].data_version


def test_a_correction_embeds_whom_it_concerns(
    steady: Pipeline, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown, artifacts = copied(made, tmp_path)
    patient = grown.changed[0]
    for path in (tmp_path / "landing" / LATER).glob("events*"):
        lines = path.read_text("latin-1").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith(patient)), "latin-1")
    asked = embedded_patients(monkeypatch)
    again = run(without_trajectories(grown.study("embed")), EXTRACT, LATER)
    assert sum(asked) == len(embed.PARTS), "one patient, whole and in halves"
    first, before, now = (
        vectors(found)
        for found in (
            steady.store.current("patient_embeddings"),
            artifacts["patient_embeddings"],
            again["patient_embeddings"],
        )
    )
    assert {each for each in before if before[each] != now[each]} == {patient}
    assert np.allclose(*(np.frombuffer(found[patient], np.float32) for found in (first, now)), atol=1e-4)
    assert clusters_of(again["clusters"]).keys() == clusters_of(artifacts["clusters"]).keys()


def copied(made: Made, folder: Path) -> tuple[Grown, dict[str, Artifact]]:
    """The study after its second extract, embedded, in a folder of a test's own."""
    grown, artifacts = made["embed"]
    shutil.copytree(grown.folder, folder, dirs_exist_ok=True)
    return replace(grown, folder=folder), artifacts


def test_every_asset_says_in_its_code_version_what_new_extracts_do_where_it_matters(made: Made) -> None:
    one, other = (Pipeline(made["embed"][0].study(does)) for does in ("embed", "retrain"))
    differ = {asset for asset in ASSETS if one.code_version(asset) != other.code_version(asset)}
    assert differ == {"encoder_checkpoint", "patient_embeddings", "clusters"}
