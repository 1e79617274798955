import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from ehr_pipeline.clusters import baseline, build
from ehr_pipeline.clusters.methods import cluster
from ehr_pipeline.clusters.planted import PlantedGroups
from ehr_pipeline.clusters.truth import agreement
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings.vectors import HALVES, Vectors
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.clusters.test_methods import blobs
from ehr_pipeline_tests.encoder.data import write_shard


def test_visits_of_cohort_patients_in_the_order_of_the_cohort(tmp_path: Path) -> None:
    patients = [
        ("1950-07-01", "year", [("2000-01-01", [5, 6]), ("2001-01-01", [5])]),
        ("1950-07-01", "year", [("2000-01-01", [7])]),
    ]
    paths = [write_shard(tmp_path / f"0000{n}.arrow", patients) for n in range(2)]
    rows = [("x", "00001.arrow", 1), ("y", "00000.arrow", 0), ("z", "00001.arrow", 0)]
    cohort = Cohort(
        pl.DataFrame(rows, schema=["patient_id", "shard", "row"], orient="row").cast({"row": pl.Int32}).to_arrow()
    )
    assert baseline.visits(paths, cohort, 8).toarray()[:, 5:].tolist() == [[0, 0, 1], [2, 1, 0], [2, 1, 0]]
    halves = baseline.visits(paths, cohort, 8, lambda path, shard: shard.keep_visits(np.array([False, True, True])))
    assert halves.toarray()[:, 5:].tolist() == [[0, 0, 1], [1, 0, 0], [1, 0, 0]]


def test_the_baseline_separates_what_counts_separate() -> None:
    rng = np.random.default_rng(0)
    rates = np.ones((90, 12))
    rates[np.arange(90), np.arange(90) % 3] = 12
    vectors = baseline.vectors(csr_array(rng.poisson(rates).astype(np.float32)), 4, seed=0)
    labels = cluster(vectors, "spectral", 3, 10, 0)
    assert all(len(set(labels[group::3])) == 1 for group in range(3))


def test_agreement_with_planted_groups() -> None:
    vectors, truth = blobs()
    names = np.array(["a", "b", "c"])[truth]
    ids = [str(number) for number in range(len(truth))]
    planted = PlantedGroups(
        {i: str(name) for i, name in zip(ids, names, strict=True)}, {"a": ["C1"], "b": ["C2"], "c": ["C3"]}
    )
    noise = np.random.default_rng(0).normal(size=vectors.shape).astype(np.float32)
    labels = cluster(vectors, "spectral", 6, 10, 0)
    diseases = np.where(names == "a", "acne", "eczema")
    by_disease = np.stack([names == "a", names != "a"], axis=1).astype(np.float32) * 9 + noise[:, :2]
    spaces = {"this_run": vectors, "counts": noise, "diseases": by_disease}
    found = agreement(planted, ids, diseases, labels, spaces, method="spectral", neighbours=10, seed=0)
    full = {"adjusted_rand_index": 1.0, "within_diseases": 1.0, "homogeneity": 1.0}
    assert found["vectors"]["this_run"] == pytest.approx(full)
    assert found["vectors"]["counts"]["adjusted_rand_index"] < 0.1
    assert 0.3 < found["disease"] < 0.9
    repeated = found["vectors"]["diseases"]
    assert repeated["within_diseases"] < 0.1 < repeated["adjusted_rand_index"], (
        "it tells the disease and nothing beyond"
    )
    assert set(found["main_cluster"]) == {"a", "b", "c"}


def test_the_artifact_tells_of_every_embedded_patient(tiny: Pipeline, extract: Path) -> None:
    artifact = tiny.store.current("clusters")
    frame = pl.DataFrame(schemas.read(artifact.file("clusters.arrow")))
    assert frame.height == tiny.store.current("patient_embeddings").counts["kept"]
    assert set(frame["cluster"]) == set(range(1, 9))
    assert {
        "x",
        "y",
        "age",
        "mean_age",
        "concepts",
        "visits",
        "disease",
        "sex",
        "region",
        "stability",
        "cluster_agglomerative",
        "cluster_kmeans",
        "cluster_baseline",
    } <= set(frame.columns)
    assert np.isfinite(frame.select("x", "y", "age", "mean_age").to_numpy()).all()
    assert (frame["mean_age"] <= frame["age"] + 1).all()
    with (extract / "landing/2019-04-01/patients.txt").open(encoding="latin-1") as stream:
        told = {row["patient_id"]: row for row in csv.DictReader(stream, delimiter="\t")}
    for row in frame.iter_rows(named=True):
        assert (row["sex"], row["region"], row["practice"]) == tuple(
            told[row["patient_id"]][name] for name in ("sex", "region", "practice")
        )


def test_trust_and_the_other_methods_are_in_the_artifact(tiny: Pipeline) -> None:
    artifact = tiny.store.current("clusters")
    trusted = json.loads(artifact.file("trust.json").read_text(encoding="utf-8"))
    assert set(trusted["clusters"]) == {str(number) for number in range(1, 9)}
    assert all(0 <= row["jaccard"] <= 1 for row in trusted["clusters"].values())
    counted = artifact.counts["stability"]
    assert sum(counted.values()) == 8
    assert counted["unstable"] == sum(row["words"] == "unstable" for row in trusted["clusters"].values())
    with artifact.file("choice.csv").open() as stream:
        choice = list(csv.DictReader(stream))
    assert [int(row["n"]) for row in choice] == list(range(2, 31))
    assert all(row["converged"] == "true" for row in choice[:7])
    with artifact.file("comparison.csv").open() as stream:
        compared = {row["method"]: row for row in csv.DictReader(stream)}
    assert list(compared) == ["spectral", "agglomerative", "kmeans", "baseline"]
    assert float(compared["spectral"]["agreement"]) == 1
    assert artifact.counts["agreement_with_kmeans"] == pytest.approx(float(compared["kmeans"]["agreement"]), abs=1e-4)
    assert artifact.counts["eigenvectors"]["converged"] == 8


def test_halves_are_of_the_same_visits_in_vectors_and_counts(tiny: Pipeline) -> None:
    """The counts of both halves add up to the whole; and a patient has a half vector just when the half has a chosen concept."""
    artifacts = {asset: tiny.store.current(asset) for asset in STAGES if asset != "raw_records"}
    patients = build.Patients.of(artifacts, Vectors.read(artifacts["patient_embeddings"]).ids)
    halves = [patients.half(folder, tiny.study.study.seed) for folder in HALVES]
    assert (halves[0].counts + halves[1].counts - patients.visits()).nnz == 0
    for half in halves:
        assert np.array_equal(half.there, np.asarray(half.counts.sum(1)).ravel() > 0)
