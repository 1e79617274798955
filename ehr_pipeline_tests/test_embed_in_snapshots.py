"""`encoder.on_new_extract = "embed"` where each extract replaces the one before: who left goes, who stayed stays the same."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.clusters import assign
from ehr_pipeline.records import removals
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, unbalanced
from ehr_pipeline.study.settings import Study
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline_tests.second_extract import LATER, Grown, clusters_of, grow, run, vectors

pytestmark = pytest.mark.slow

GONE = 6
SNAPSHOT = {"mode": "snapshot"}


@dataclass(frozen=True)
class Snapshots:
    """The study after two snapshots."""

    grown: Grown
    gone: list[str]
    """Cohort patients whom the second snapshot lacks."""
    before: dict[str, Artifact]
    vectors: dict[str, bytes]
    """After the first snapshot, by patient; its artifacts are deleted with the second one."""
    clusters: dict[str, int]
    vocabulary: Vocabulary
    after: dict[str, Artifact]

    def study(self, **overrides: Any) -> Study:
        return study_of(self.grown, **overrides)


def study_of(grown: Grown, **overrides: Any) -> Study:
    study = grown.study("embed", **overrides)
    return replace(study, records=replace(study.records, **SNAPSHOT))


@pytest.fixture(scope="module")
def made(steady: Pipeline, extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    folder = tmp_path_factory.mktemp("snapshots")
    grown = grow(steady, extract, folder)
    shutil.rmtree(folder / "store")  # what it holds was made of extracts that add to each other
    landing = folder / "landing"
    gone = sorted(set(vectors(steady.store.current("patient_embeddings"))) - {*grown.changed, *grown.touched})[-GONE:]
    added = {path.name: path.read_text("latin-1").splitlines(keepends=True)[1:] for path in (landing / LATER).iterdir()}
    listed = {line.split("\t")[0] for line in added["patients.txt"] if line.split("\t")[0] not in grown.new}
    for path in sorted((landing / EXTRACT).iterdir()):
        head, *lines = path.read_text("latin-1").splitlines(keepends=True)
        stay = [line for line in lines if line.split("\t")[0] not in gone]
        new = [line for line in added[path.name] if path.name != "patients.txt" or line.split("\t")[0] not in listed]
        (landing / LATER / path.name).write_text(head + "".join(stay + new), "latin-1")
    later = landing / LATER
    later.rename(folder / "later")
    before = run(study_of(grown), EXTRACT)
    of = {asset: Pipeline(study_of(grown)).store.current(asset) for asset in before}
    known = (
        vectors(of["patient_embeddings"]),
        clusters_of(of["clusters"]),
        Vocabulary.read(of["vocabulary"].path),
    )
    (folder / "later").rename(later)
    return Snapshots(grown, gone, before, *known, run(study_of(grown), LATER))


def test_the_encoder_stays_and_everything_else_is_made_anew(made: Snapshots) -> None:
    assert {asset for asset, artifact in made.after.items() if artifact.skipped} == {"encoder_checkpoint"}
    assert made.after["encoder_checkpoint"].path.name == made.before["encoder_checkpoint"].path.name
    assert all(not unbalanced(artifact.counts) for artifact in made.after.values() if "kept" in artifact.counts)
    again = run(made.study(), LATER)
    assert {asset for asset, artifact in again.items() if not artifact.skipped} == set(), "a run without anything new"


def test_token_ids_are_only_appended(made: Snapshots) -> None:
    now = Vocabulary.read(made.after["vocabulary"].path)
    assert now.first(made.vocabulary.size).hash == made.vocabulary.hash
    assert made.grown.concept in now.token_of


def test_who_is_unchanged_keeps_vector_and_cluster_byte_for_byte(made: Snapshots) -> None:
    now, placed = vectors(made.after["patient_embeddings"]), clusters_of(made.after["clusters"])
    moved = {*made.grown.changed, *made.grown.new, *made.gone}
    stayed = set(made.vectors) - moved
    assert len(stayed) > 50
    assert all(now[patient] == made.vectors[patient] for patient in stayed)
    assert all(placed[patient] == made.clusters[patient] for patient in stayed)
    assert all(now[patient] != made.vectors[patient] for patient in made.grown.changed)
    assert set(made.grown.new) <= set(now)
    assert set(made.grown.new) <= set(placed)


def test_who_is_absent_leaves_every_artifact_and_has_no_vote(made: Snapshots) -> None:
    assert not set(made.gone) & set(vectors(made.after["patient_embeddings"]))
    assert not set(made.gone) & set(clusters_of(made.after["clusters"]))
    assert not set(made.gone) & set(assign.Model.read(made.after["clusters"].path).ids.to_pylist())
    store = made.grown.folder / "store"
    for path in store.rglob("*.arrow"):
        content = path.read_bytes()
        assert not [patient for patient in made.gone if f"{patient}".encode() in content], path
        assert not [patient for patient in made.gone if made.vectors[patient] in content], path


def test_the_checkpoint_is_flagged_and_the_rest_is_sound(made: Snapshots) -> None:
    pipeline = Pipeline(made.study())
    failed = {
        (asset, outcome.name): outcome.blocking
        for asset in STAGES
        for outcome in pipeline.check(asset, LATER if asset == "raw_records" else None)
        if not outcome.passed
    }
    assert failed.get(("encoder_checkpoint", "patients_present")) is False, "it has learnt from those who left"
    assert not any(failed.values()), failed


def test_the_catalog_tells_how_many_left(made: Snapshots) -> None:
    (left,) = json.loads(made.after["extract_catalog"].file(removals.FILE).read_text())
    assert (left["reason"], left["patients"]) == (removals.ABSENT, GONE)
    assert Pipeline(made.study()).store.partitions("raw_records") == [LATER]


def test_the_report_tells_how_many_were_assigned(made: Snapshots) -> None:
    table = schemas.read(made.after["clusters"].file("clusters.arrow"))
    assigned = {p for p, was in zip(table["patient_id"].to_pylist(), table["assigned"].to_pylist(), strict=True) if was}
    assert assigned == {*made.grown.new, *made.grown.changed}
    page = made.after["cluster_reports"].file("report.html").read_text(encoding="utf-8")
    assert "assigned" in page


def test_a_third_snapshot_of_the_same_people_changes_nobody(made: Snapshots, tmp_path: Path) -> None:
    shutil.copytree(made.grown.folder, tmp_path / "copy")
    grown = replace(made.grown, folder=tmp_path / "copy")
    shutil.copytree(grown.folder / "landing" / LATER, grown.folder / "landing" / "2019-06-01")
    again = run(study_of(grown), "2019-06-01")
    assert again["encoder_checkpoint"].skipped
    for asset in ("mapped_events", "patient_dataset", "patient_embeddings", "clusters"):
        assert again[asset].data_version == made.after[asset].data_version, asset
